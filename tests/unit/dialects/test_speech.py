"""Spoken answers between the two dialects that have them; a clear refusal in the others."""

import base64
import io
import wave
from typing import Any

import orjson
import pytest

from gatewayz.core.errors import InvalidRequest, UpstreamBroken
from gatewayz.dialects.form import Target
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.registry import CALLS
from gatewayz.providers.config import load_providers
from tests.unit.dialects.exchanges import REPORT, REQUEST_ID
from tests.unit.dialects.schemas import problems

SAMPLES = bytes(range(200)) * 2
DATA = base64.b64encode(SAMPLES).decode()
CHAT = {"messages": [{"role": "user", "content": "Say hi."}]}
PROMPT = {"contents": [{"role": "user", "parts": [{"text": "Say hi."}]}]}
GEMINI_PATH = {":path": "/v1beta/models/m:generateContent", ":query": ""}
MIME = "audio/L16;codec=pcm;rate=24000"
SPEAKS = Target("x", quirks=frozenset({"audio"}))
VOICE = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}}


def exchange(client: str, upstream: str, body: Any, target: Target = SPEAKS) -> Any:
    call = CALLS[client]({"model": "m", **body}, GEMINI_PATH if client == "google" else {})
    return call.exchange(upstream, target, Reply(REQUEST_ID, "m"), None)


def chat(form: str, **more: Any) -> Any:
    audio = {"voice": "Kore", "format": form}
    return {**CHAT, "modalities": ["text", "audio"], "audio": audio, **more}


def gemini(**config: Any) -> Any:
    return {**PROMPT, "generationConfig": {"responseModalities": ["AUDIO"], **config}}


SOUND = {"inlineData": {"mimeType": MIME, "data": DATA}}
SPOKEN = {
    "candidates": [
        {
            "content": {"role": "model", "parts": [SOUND]},
            "finishReason": "STOP", "index": 0,
        }
    ],
    "usageMetadata": {
        "promptTokenCount": 3, "candidatesTokenCount": 9, "totalTokenCount": 12,
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 9}],
    },
}  # fmt: skip


def test_a_chat_is_answered_by_a_voice_of_the_other_dialect() -> None:
    made = exchange("openai_chat", "google", chat("pcm16"))
    config = orjson.loads(made.request.body)["generationConfig"]
    assert config == {"responseModalities": ["AUDIO"], "speechConfig": VOICE}
    assert made.request.dropped == ()
    answer = made.read_answer(orjson.dumps(SPOKEN))
    assert dict(answer.counted().units) == {"input": 3, "output": 0, "audio_out": 9}
    body = orjson.loads(made.render_answer(answer, REPORT))
    sound = body["choices"][0]["message"]["audio"]
    assert (sound["data"], sound["transcript"]) == (DATA, "")
    assert problems("openai", "CreateChatCompletionResponse", body) == []


def test_who_wants_a_file_gets_one_with_the_same_samples() -> None:
    made = exchange("openai_chat", "google", chat("wav"))
    body = orjson.loads(made.render_answer(made.read_answer(orjson.dumps(SPOKEN)), REPORT))
    raw = base64.b64decode(body["choices"][0]["message"]["audio"]["data"])
    with wave.open(io.BytesIO(raw)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24000, 1, 2)
        assert file.readframes(file.getnframes()) == SAMPLES
    broken = orjson.loads(orjson.dumps(SPOKEN).replace(DATA.encode(), b"!!"))
    with pytest.raises(UpstreamBroken):
        made.read_answer(orjson.dumps(broken))


@pytest.mark.parametrize("fields", [chat("mp3"), chat("opus"), chat("wav", stream=True)])
def test_a_format_that_would_have_to_be_coded_is_refused_by_name(fields: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        exchange("openai_chat", "google", fields)
    assert refused.value.param == "audio.format"


def test_a_stream_of_samples_goes_on_piece_by_piece() -> None:
    made = exchange("openai_chat", "google", chat("pcm16", stream=True))
    stream = made.open_stream()
    out = stream.feed(b"data: " + orjson.dumps(SPOKEN) + b"\r\n\r\n")
    out += stream.end() + stream.close(REPORT)
    frames = [orjson.loads(line[6:]) for line in out.splitlines() if line.startswith(b"data: {")]
    sounds = [c["delta"]["audio"] for f in frames for c in f["choices"] if "audio" in c["delta"]]
    assert [sound["data"] for sound in sounds] == [DATA]
    assert sounds[0]["id"].startswith("audio_")


def test_the_other_way_round_with_the_text_of_what_is_spoken() -> None:
    made = exchange("google", "openai_chat", gemini(speechConfig=VOICE))
    body = orjson.loads(made.request.body)
    assert (body["modalities"], body["audio"]) == (
        ["text", "audio"],
        {"voice": "Kore", "format": "pcm16"},
    )
    sound = {"id": "audio_1", "data": DATA, "expires_at": 1, "transcript": "Hi."}
    message = {"role": "assistant", "content": None, "audio": sound}
    usage = {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12}
    raw = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
    answer = made.read_answer(orjson.dumps(raw))
    parts = orjson.loads(made.render_answer(answer, REPORT))["candidates"][0]["content"]["parts"]
    assert parts == [{"text": "Hi."}, {"inlineData": {"mimeType": MIME, "data": DATA}}]


def test_a_stream_the_other_way_round() -> None:
    body = gemini() | {"stream": True}
    stream = exchange("google", "openai_chat", body).open_stream()
    deltas: list[Any] = [
        {"audio": {"id": "audio_1", "transcript": "H"}}, {"audio": {"data": DATA}},
        {"audio": {"transcript": "i."}}, {"audio": {"data": DATA}},
    ]  # fmt: skip
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    out = b"".join([stream.feed(b"data: " + orjson.dumps(c) + b"\n\n") for c in chunks])
    out += stream.feed(b"data: [DONE]\n\n") + stream.end() + stream.close(REPORT)
    parts = [
        part
        for line in out.splitlines()
        if line.startswith(b"data: {")
        for candidate in orjson.loads(line[6:]).get("candidates", ())
        for part in candidate.get("content", {}).get("parts", ())
    ]
    assert "".join(part.get("text", "") for part in parts) == "Hi."
    assert [p["inlineData"]["data"] for p in parts if "inlineData" in p] == [DATA, DATA]


@pytest.mark.parametrize("upstream", ["anthropic", "bedrock", "cohere", "openai_responses"])
def test_who_cannot_speak_refuses(upstream: str) -> None:
    for client, body in (("openai_chat", chat("wav")), ("google", gemini())):
        with pytest.raises(InvalidRequest) as refused:
            exchange(client, upstream, body)
        assert refused.value.code == "unsupported_parameter"
        assert refused.value.param in (
            "audio", "modalities", "generationConfig.responseModalities",
        )  # fmt: skip


def test_a_server_that_is_not_known_to_speak_is_not_asked_to() -> None:
    with pytest.raises(InvalidRequest):
        exchange("google", "openai_chat", gemini(), Target("x"))


def test_words_that_only_one_of_them_has_are_refused() -> None:
    several = {"multiSpeakerVoiceConfig": {"speakerVoiceConfigs": []}}
    with pytest.raises(InvalidRequest) as refused:
        exchange("google", "openai_chat", gemini(speechConfig=several))
    assert str(refused.value.param).startswith("generationConfig.")


def test_the_rows_that_speak_say_so() -> None:
    speaking = {slug for slug, row in load_providers().items() if "audio" in row.quirks}
    assert {"openai", "azure-openai"} <= speaking
