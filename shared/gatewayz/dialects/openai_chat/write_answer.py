"""The internal form → a whole chat completion for a client, in both styles (D25)."""

import orjson

from gatewayz.core.ids import public_id
from gatewayz.dialects.form import JsonObject, Style, UsageReport
from gatewayz.dialects.generation import Choice, Generation
from gatewayz.dialects.openai_chat.finishes import write_finish
from gatewayz.dialects.openai_chat.frames import created_s
from gatewayz.dialects.openai_chat.layout import usage_object
from gatewayz.dialects.openai_chat.read_message import NAME
from gatewayz.dialects.openai_chat.thoughts import can_return, details, texts
from gatewayz.dialects.openai_chat.usage import encode_usage
from gatewayz.dialects.openai_chat.write_message import write_annotations, write_call, write_part
from gatewayz.dialects.parts import (
    Audio,
    Image,
    Part,
    RedactedThinking,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from gatewayz.dialects.protocol import Reply

ID_PREFIXES: dict[Style, str] = {"openai": "chatcmpl-", "openrouter": "gen-"}


def write_generation(generation: Generation, reply: Reply, report: UsageReport) -> bytes:
    chat_id = public_id(reply.request_id, ID_PREFIXES[reply.style])
    own = generation.dialect == NAME
    body: JsonObject = {
        "id": chat_id,
        "object": "chat.completion",
        "created": generation.created_s or created_s(chat_id),
        "model": reply.model,
    }
    if reply.style == "openrouter":
        body["provider"] = reply.provider
    body["choices"] = [
        _choice(choice, index, reply.style, own=own)
        for index, choice in enumerate(generation.choices)
    ]
    for choice in body["choices"]:
        sound = choice["message"].get("audio")
        if sound is not None:
            # Clients demand all of them; nothing is kept here that could expire.
            known = {"id": sound_id(chat_id), "expires_at": body["created"], "transcript": ""}
            choice["message"]["audio"] = {**known, **sound}
    if own:
        body.update({k: v for k, v in generation.extras.items() if k not in body})
        if generation.service_tier is not None:
            body["service_tier"] = generation.service_tier
    if reply.style == "openrouter":
        body.setdefault("system_fingerprint", None)
    raw = generation.raw_usage if own else None
    if raw is None and generation.usage is not None:
        raw = usage_object(generation.usage)
    body["usage"] = encode_usage(raw, report, reply.style)
    return orjson.dumps(body)


def sound_id(chat_id: str) -> str:
    return "audio_" + chat_id[-12:].lower()


def _choice(choice: Choice, index: int, style: Style, *, own: bool) -> JsonObject:
    message = write_answer_message(choice.parts, style, own=own)
    finish = write_finish(choice.finish, "tool_calls" in message)
    native = choice.finish and choice.finish.native
    if finish == "content_filter" and native == "refusal" and message["refusal"] is None:
        message["refusal"] = message["content"] or ""
    written: JsonObject = {
        "index": index,
        "message": message,
        "logprobs": choice.logprobs,
        "finish_reason": finish,
    }
    if style == "openrouter":
        written["native_finish_reason"] = native
    return written


def write_answer_message(parts: tuple[Part, ...], style: Style, *, own: bool) -> JsonObject:
    spoken = [p for p in parts if isinstance(p, Text)]
    refusals = [p.text for p in parts if isinstance(p, Refusal)]
    thoughts: list[Thinking | RedactedThinking] = [
        p for p in parts if isinstance(p, Thinking | RedactedThinking)
    ]
    message: JsonObject = {
        "role": "assistant",
        "content": "".join(p.text for p in spoken) if spoken else None,
        "refusal": "".join(refusals) if refusals else None,
    }
    thought = "".join(texts(thoughts))
    if thought:
        message["reasoning" if style == "openrouter" else "reasoning_content"] = thought
    if thoughts and (style == "openrouter" or can_return(thoughts)):
        message["reasoning_details"] = details(thoughts)
    if annotations := write_annotations(spoken):
        message["annotations"] = annotations
    if images := [write_part(p) for p in parts if isinstance(p, Image)]:
        message["images"] = [image for image in images if image is not None]
    for part in parts:
        if isinstance(part, Audio):
            message["audio"] = {"data": part.source.value, **(part.extras if own else {})}
    calls = [p for p in parts if isinstance(p, ToolCall)]
    if calls:
        message["tool_calls"] = [{**write_call(p), **(p.extras if own else {})} for p in calls]
    return message
