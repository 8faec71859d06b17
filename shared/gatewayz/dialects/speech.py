"""Spoken answers: asked for in one dialect's words, given in another's.

Raw samples are 16-bit at 24 kHz wherever a dialect gives them, and become a file where a caller
wants one; nothing is coded anew. Voices are the target's own: their names travel as they came.
"""

import base64
import binascii
import struct
from dataclasses import dataclass, replace
from typing import Any

from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.generation import Generation, GenerationRequest
from gatewayz.dialects.parts import Audio, Source

SAMPLES, FILE = "pcm16", "wav"
MIME = "audio/L16;codec=pcm;rate=24000"
RATE_HZ = 24_000
_SAMPLE_BYTES = 2
_CHAT = ("audio", "modalities")
_CONFIG = "generationConfig."
_GOOGLE = (_CONFIG + "responseModalities", _CONFIG + "speechConfig")


@dataclass(frozen=True, slots=True)
class Speech:
    """`format` is that of the caller; `where` the field that names it, or the wish itself."""

    voice: str | None
    format: str
    where: str


def take_speech(request: GenerationRequest) -> tuple[Speech | None, GenerationRequest]:
    """The wish for a spoken answer, out of the request; None where it says none that is known."""
    extras = request.extras
    if request.dialect == "openai_chat":
        speech, names = _of_chat(extras), _CHAT
    elif request.dialect == "google":
        speech, names = _of_google(extras), _GOOGLE
    else:
        return None, request
    if speech is None:
        return None, request
    left = {name: value for name, value in extras.items() if name not in names}
    return speech, replace(request, extras=left)


def _of_chat(extras: Any) -> Speech | None:
    shown, held = extras.get("modalities"), extras.get("audio")
    if type(shown) is not list or "audio" not in shown or not {"audio", "text"}.issuperset(shown):
        return None
    if type(held) is not dict or not {"voice", "format"}.issuperset(held):
        return None
    voice, form = held.get("voice"), held.get("format")
    if type(form) is not str or (voice is not None and type(voice) is not str):
        return None
    return Speech(voice, form, "audio.format")


def _of_google(extras: Any) -> Speech | None:
    shown, voice = extras.get(_GOOGLE[0]), extras.get(_GOOGLE[1])
    if type(shown) is not list or [str(each).upper() for each in shown] != ["AUDIO"]:
        return None
    if voice is None:
        return Speech(None, SAMPLES, _GOOGLE[0])
    for name in ("voiceConfig", "prebuiltVoiceConfig", "voiceName"):
        if type(voice) is not dict or voice.keys() != {name}:
            return None  # several voices, or words that nobody else knows
        voice = voice[name]
    return Speech(voice, SAMPLES, _GOOGLE[0]) if type(voice) is str else None


def speech_for_chat(speech: Speech) -> JsonObject:
    """The fields of a chat completion request."""
    voice = {} if speech.voice is None else {"voice": speech.voice}
    return {"modalities": ["text", "audio"], "audio": {**voice, "format": speech.format}}


def speech_for_google(speech: Speech) -> JsonObject:
    """The fields of a generationConfig."""
    config: JsonObject = {"responseModalities": ["AUDIO"]}
    if speech.voice is not None:
        voice = {"prebuiltVoiceConfig": {"voiceName": speech.voice}}
        config["speechConfig"] = {"voiceConfig": voice}
    return config


def spoken(generation: Generation, form: str) -> Generation:
    """An answer of raw samples as the file that its caller wants; ValueError when it has none."""
    if form != FILE:
        return generation
    choices = tuple(
        replace(
            choice,
            parts=tuple(_filed(p) if isinstance(p, Audio) else p for p in choice.parts),
        )
        for choice in generation.choices
    )
    return replace(generation, choices=choices)


def _filed(part: Audio) -> Audio:
    if part.format != SAMPLES:
        return part
    try:
        samples = base64.b64decode(part.source.value, validate=True)
    except binascii.Error:
        raise ValueError("no base64") from None
    data = base64.b64encode(_header(len(samples)) + samples).decode()
    return replace(part, source=Source("data", data, "audio/wav"), format=FILE)


def _header(size: int) -> bytes:
    """Of a RIFF file with one channel."""
    rate = RATE_HZ * _SAMPLE_BYTES
    layout = struct.pack("<HHIIHH", 1, 1, RATE_HZ, rate, _SAMPLE_BYTES, 8 * _SAMPLE_BYTES)
    return (
        b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<I", len(layout))
        + layout + b"data" + struct.pack("<I", size)
    )  # fmt: skip
