"""A model that plays an agent's part in any of the six upstream dialects, for tests of tool loops.

`play` answers requests of a RawUpstream by the next step of a script: which step is known from how
many tool results the request holds, so that every request is answered by what it says alone.
"""

import base64
import json
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from tests.fakes.upstream import RawRequest, Step, answer

DIALECTS = ("openai_chat", "openai_responses", "anthropic", "google", "bedrock", "cohere")
EVENTS = "text/event-stream"
IN, OUT = 11, 7


@dataclass(frozen=True)
class Call:
    """`arguments` is JSON text, byte for byte."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Say:
    text: str
    calls: tuple[Call, ...] = ()


@dataclass
class Heard:
    """What of a history reached the model: calls as [name, arguments], results as
    [text, is it marked as an error], pictures."""

    calls: list[list[Any]] = field(default_factory=list)
    results: list[list[Any]] = field(default_factory=list)
    pictures: int = 0


Script = dict[int, Say]


class Agent:
    """`script` holds what is said when so many results are there, or makes one of the request;
    `heard` is what came, in order."""

    def __init__(self, script: Script | Callable[[Any], Script]) -> None:
        self.script = script
        self.heard: list[Heard] = []

    def play(self, request: RawRequest) -> Sequence[Step]:
        path = request.line.split()[1]
        dialect = next(name for name in DIALECTS if path.startswith(f"/{name}/"))
        body = request.json
        heard = _HEAR[dialect](body)
        self.heard.append(heard)
        script = self.script(body) if callable(self.script) else self.script
        said = script[max(n for n in script if n <= len(heard.results))]
        streams = body.get("stream") is True or "stream" in path.rpartition("/")[2].lower()
        if not streams:
            return [answer(json.dumps(_WHOLE[dialect](said)).encode())]
        kind = "application/vnd.amazon.eventstream" if dialect == "bedrock" else EVENTS
        return [answer(b"".join(_STREAM[dialect](said)), kind=kind)]


# ---------------------------------------------------------------- what was heard


def _texts(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or ())


def _hear_chat(body: Any) -> Heard:
    heard = Heard()
    for message in body["messages"]:
        content = message.get("content")
        for call in message.get("tool_calls") or ():
            heard.calls.append([call["function"]["name"], call["function"]["arguments"]])
        if message["role"] == "tool":
            heard.results.append([_texts(_documents(content)), False])
        elif isinstance(content, list):
            heard.pictures += sum(part["type"] == "image_url" for part in content)
    return heard


def _documents(content: Any) -> Any:
    """Of a tool's result that is given as documents, their texts."""
    if isinstance(content, list) and content and "document" in content[0]:
        return "".join(json.dumps(part["document"]["data"]) for part in content)
    return content


def _hear_responses(body: Any) -> Heard:
    heard = Heard()
    for item in body["input"] if isinstance(body["input"], list) else ():
        match item.get("type"):
            case "function_call":
                heard.calls.append([item["name"], item["arguments"]])
            case "function_call_output":
                output = item["output"]
                heard.results.append([_texts(output), False])
                if isinstance(output, list):
                    heard.pictures += sum(p["type"] == "input_image" for p in output)
            case _:
                parts = item.get("content")
                if isinstance(parts, list):
                    heard.pictures += sum(p["type"] == "input_image" for p in parts)
    return heard


def _hear_messages(body: Any) -> Heard:
    heard = Heard()
    for message in body["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else ():
            match block["type"]:
                case "tool_use":
                    heard.calls.append([block["name"], block["input"]])
                case "tool_result":
                    content = block["content"]
                    heard.results.append([_texts(content), bool(block.get("is_error"))])
                    if isinstance(content, list):
                        heard.pictures += sum(b["type"] == "image" for b in content)
                case "image":
                    heard.pictures += 1
    return heard


def _hear_google(body: Any) -> Heard:
    heard = Heard()
    for content in body["contents"]:
        for part in content["parts"]:
            if call := part.get("functionCall"):
                heard.calls.append([call["name"], call.get("args") or {}])
            elif result := part.get("functionResponse"):
                response = result["response"]
                heard.results.append([json.dumps(response), "error" in response])
                heard.pictures += len(result.get("parts") or ())
            heard.pictures += "inlineData" in part
    return heard


def _hear_converse(body: Any) -> Heard:
    heard = Heard()
    for message in body["messages"]:
        for block in message["content"]:
            if call := block.get("toolUse"):
                heard.calls.append([call["name"], call["input"]])
            elif result := block.get("toolResult"):
                content = result["content"]
                texts = [b.get("text") or json.dumps(b.get("json", "")) for b in content]
                heard.results.append(["".join(texts), result.get("status") == "error"])
                heard.pictures += sum("image" in b for b in content)
            heard.pictures += "image" in block
    return heard


_HEAR: dict[str, Callable[[Any], Heard]] = {
    "openai_chat": _hear_chat,
    "openai_responses": _hear_responses,
    "anthropic": _hear_messages,
    "google": _hear_google,
    "bedrock": _hear_converse,
    "cohere": _hear_chat,
}


# ---------------------------------------------------------------- whole answers


def _function(call: Call) -> Any:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _chat(said: Say) -> Any:
    message: Any = {"role": "assistant", "content": said.text or None}
    if said.calls:
        message["tool_calls"] = [_function(call) for call in said.calls]
    finish = "tool_calls" if said.calls else "stop"
    return {
        "id": "c-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": IN, "completion_tokens": OUT, "total_tokens": IN + OUT},
    }  # fmt: skip


def _responses(said: Say) -> Any:
    output: list[Any] = []
    if said.text:
        part = {"type": "output_text", "text": said.text, "annotations": []}
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
        output.append({**item, "content": [part]})
    for index, call in enumerate(said.calls):
        output.append(
            {
                "type": "function_call", "id": f"fc_{index}", "call_id": call.id,
                "name": call.name, "arguments": call.arguments, "status": "completed",
            }
        )  # fmt: skip
    usage = {"input_tokens": IN, "output_tokens": OUT, "total_tokens": IN + OUT}
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "model": "m",
        "status": "completed", "output": output, "usage": usage,
    }  # fmt: skip


def _messages(said: Say) -> Any:
    content: list[Any] = [{"type": "text", "text": said.text}] if said.text else []
    for call in said.calls:
        given = json.loads(call.arguments)
        content.append({"type": "tool_use", "id": call.id, "name": call.name, "input": given})
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content,
        "stop_reason": "tool_use" if said.calls else "end_turn", "stop_sequence": None,
        "usage": {
            "input_tokens": IN, "output_tokens": OUT, "cache_read_input_tokens": 0,
            "cache_creation_input_tokens": 0,
        },
    }  # fmt: skip


def _google(said: Say) -> Any:
    parts: list[Any] = [{"text": said.text}] if said.text else []
    parts += [
        {"functionCall": {"name": call.name, "args": json.loads(call.arguments)}}
        for call in said.calls
    ]
    return {
        "candidates": [
            {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
        ],
        "usageMetadata": {
            "promptTokenCount": IN, "candidatesTokenCount": OUT, "totalTokenCount": IN + OUT,
        },
        "modelVersion": "m", "responseId": "g-1",
    }  # fmt: skip


def _converse(said: Say) -> Any:
    content: list[Any] = [{"text": said.text}] if said.text else []
    for call in said.calls:
        given = json.loads(call.arguments)
        content.append({"toolUse": {"toolUseId": call.id, "name": call.name, "input": given}})
    return {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": "tool_use" if said.calls else "end_turn",
        "usage": {"inputTokens": IN, "outputTokens": OUT, "totalTokens": IN + OUT},
        "metrics": {"latencyMs": 1},
    }


def _cohere(said: Say) -> Any:
    message: Any = {"role": "assistant"}
    if said.calls:
        message["tool_plan"] = said.text
        message["tool_calls"] = [_function(call) for call in said.calls]
    else:
        message["content"] = [{"type": "text", "text": said.text}]
    return {
        "id": "co-1", "message": message,
        "finish_reason": "TOOL_CALL" if said.calls else "COMPLETE",
        "usage": {"tokens": {"input_tokens": IN, "output_tokens": OUT}},
    }  # fmt: skip


_WHOLE: dict[str, Callable[[Say], Any]] = {
    "openai_chat": _chat,
    "openai_responses": _responses,
    "anthropic": _messages,
    "google": _google,
    "bedrock": _converse,
    "cohere": _cohere,
}


# ---------------------------------------------------------------- streams


def _data(value: Any, kind: str = "") -> bytes:
    named = f"event: {kind}\n" if kind else ""
    return f"{named}data: {json.dumps(value)}\n\n".encode()


def _halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


def _stream_chat(said: Say) -> Iterator[bytes]:
    def chunk(delta: Any, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        held = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        return _data({**held, "choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    for piece in _halves(said.text):
        yield chunk({"content": piece})
    for index, call in enumerate(said.calls):
        head = {"index": index, **_function(call)}
        head["function"] = {"name": call.name, "arguments": ""}
        yield chunk({"tool_calls": [head]})
        for piece in _halves(call.arguments):
            more = {"index": index, "function": {"arguments": piece}}
            yield chunk({"tool_calls": [more]})
    yield chunk({}, "tool_calls" if said.calls else "stop")
    usage = {"prompt_tokens": IN, "completion_tokens": OUT, "total_tokens": IN + OUT}
    yield _data({"id": "c-1", "model": "m", "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _stream_responses(said: Say) -> Iterator[bytes]:
    done = _responses(said)
    number = iter(range(1000))

    def event(kind: str, **fields: Any) -> bytes:
        return _data({"type": kind, "sequence_number": next(number), **fields}, kind)

    yield event("response.created", response={**done, "status": "in_progress", "output": []})
    for index, item in enumerate(done["output"]):
        at = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            part = {"type": "output_text", "text": "", "annotations": []}
            begun = {**item, "content": [], "status": "in_progress"}
            yield event("response.output_item.added", output_index=index, item=begun)
            yield event("response.content_part.added", **at, content_index=0, part=part)
            for piece in _halves(said.text):
                yield event("response.output_text.delta", **at, content_index=0, delta=piece)
            yield event("response.output_text.done", **at, content_index=0, text=said.text)
            whole = item["content"][0]
            yield event("response.content_part.done", **at, content_index=0, part=whole)
        else:
            begun = {**item, "arguments": "", "status": "in_progress"}
            yield event("response.output_item.added", output_index=index, item=begun)
            for piece in _halves(item["arguments"]):
                yield event("response.function_call_arguments.delta", **at, delta=piece)
            given = item["arguments"]
            yield event("response.function_call_arguments.done", **at, arguments=given)
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=done)


def _stream_messages(said: Say) -> Iterator[bytes]:
    done = _messages(said)

    def event(kind: str, **fields: Any) -> bytes:
        return _data({"type": kind, **fields}, kind)

    begun = {**done, "content": [], "stop_reason": None}
    yield event("message_start", message={**begun, "usage": {**done["usage"], "output_tokens": 1}})
    for index, block in enumerate(done["content"]):
        text = block["type"] == "text"
        empty = {**block, **({"text": ""} if text else {"input": {}})}
        yield event("content_block_start", index=index, content_block=empty)
        given = said.text if text else said.calls[index - bool(said.text)].arguments
        kind, name = ("text_delta", "text") if text else ("input_json_delta", "partial_json")
        for piece in _halves(given):
            yield event("content_block_delta", index=index, delta={"type": kind, name: piece})
        yield event("content_block_stop", index=index)
    ended = {"stop_reason": done["stop_reason"], "stop_sequence": None}
    yield event("message_delta", delta=ended, usage={"output_tokens": OUT})
    yield event("message_stop")


def _stream_google(said: Say) -> Iterator[bytes]:
    done = _google(said)
    for piece in _halves(said.text):
        content = {"role": "model", "parts": [{"text": piece}]}
        yield _data({"candidates": [{"content": content, "index": 0}], "modelVersion": "m"})
    parts = [part for part in done["candidates"][0]["content"]["parts"] if "text" not in part]
    done["candidates"][0]["content"]["parts"] = parts or [{"text": ""}]
    yield _data(done)


def _frame(kind: str, data: Any) -> bytes:
    texts = {
        ":event-type": kind, ":content-type": "application/json", ":message-type": "event",
    }  # fmt: skip
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(text)) + text.encode()
        for name, text in texts.items()
    )
    payload = json.dumps(data).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return body + struct.pack(">I", crc32(body))


def _stream_converse(said: Say) -> Iterator[bytes]:
    yield _frame("messageStart", {"role": "assistant"})
    at = 0
    if said.text:
        for piece in _halves(said.text):
            delta = {"contentBlockIndex": at, "delta": {"text": piece}}
            yield _frame("contentBlockDelta", delta)
        yield _frame("contentBlockStop", {"contentBlockIndex": at})
        at += 1
    for call in said.calls:
        named = {"toolUse": {"toolUseId": call.id, "name": call.name}}
        yield _frame("contentBlockStart", {"contentBlockIndex": at, "start": named})
        for piece in _halves(call.arguments):
            delta = {"contentBlockIndex": at, "delta": {"toolUse": {"input": piece}}}
            yield _frame("contentBlockDelta", delta)
        yield _frame("contentBlockStop", {"contentBlockIndex": at})
        at += 1
    yield _frame("messageStop", {"stopReason": "tool_use" if said.calls else "end_turn"})
    usage = {"inputTokens": IN, "outputTokens": OUT, "totalTokens": IN + OUT}
    yield _frame("metadata", {"usage": usage, "metrics": {"latencyMs": 1}})


def _stream_cohere(said: Say) -> Iterator[bytes]:
    def event(kind: str, index: int | None = None, **message: Any) -> bytes:
        value: Any = {"type": kind, "delta": {"message": message}}
        if index is not None:
            value["index"] = index
        return _data(value, kind)

    yield _data({"type": "message-start", "id": "co-1", "delta": {"message": {}}}, "message-start")
    if said.calls:
        for piece in _halves(said.text):
            yield event("tool-plan-delta", tool_plan=piece)
    else:
        yield event("content-start", 0, content={"type": "text", "text": ""})
        for piece in _halves(said.text):
            yield event("content-delta", 0, content={"text": piece})
        yield event("content-end", 0)
    for index, call in enumerate(said.calls):
        begun = {**_function(call), "function": {"name": call.name, "arguments": ""}}
        yield event("tool-call-start", index, tool_calls=begun)
        for piece in _halves(call.arguments):
            yield event("tool-call-delta", index, tool_calls={"function": {"arguments": piece}})
        yield event("tool-call-end", index)
    finish = "TOOL_CALL" if said.calls else "COMPLETE"
    usage = {"tokens": {"input_tokens": IN, "output_tokens": OUT}}
    ended = {"type": "message-end", "delta": {"finish_reason": finish, "usage": usage}}
    yield _data(ended, "message-end")
    yield b"data: [DONE]\n\n"


_STREAM: dict[str, Callable[[Say], Iterator[bytes]]] = {
    "openai_chat": _stream_chat,
    "openai_responses": _stream_responses,
    "anthropic": _stream_messages,
    "google": _stream_google,
    "bedrock": _stream_converse,
    "cohere": _stream_cohere,
}
# A picture that every dialect takes.
PNG = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f"
    b"\x15\xc4\x89\x00\x00\x00\nIDATx\x9cc\x00\x01\x00\x00\x05\x00\x01\r\n-\xb4\x00\x00\x00\x00IEND"
    b"\xaeB`\x82"
).decode()
PROVIDER = """
[agent-{slug}]
name = "Agent {slug}"
dialect = "{dialect}"
base_url = "{url}/{dialect}"
local = true
[[models]]
id = "{slug}/agent"
provider = "agent-{slug}"
native_id = "agent"
input = 0.5
output = 1.5
"""


def providers(url: str) -> str:
    """The text of a provider file: model `{dialect with dashes}/agent` for each dialect."""
    return "".join(
        PROVIDER.format(slug=dialect.replace("_", "-"), dialect=dialect, url=url)
        for dialect in DIALECTS
    )
