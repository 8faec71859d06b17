"""Recorded answers of every dialect that code reads, a plain reading of each, and the ways through.

The plain reading uses none of our code: it is what a careful person would take from the bytes.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from gatewayz.dialects.events import (
    ArgumentsDelta,
    BlockStart,
    BlockStop,
    CitationDelta,
    Ended,
    Event,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)
from gatewayz.dialects.form import Style, Target, UsageReport
from gatewayz.dialects.generation import Finish, Generation
from gatewayz.dialects.parts import Part, Refusal, Text, Thinking, ToolCall
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.registry import CLIENTS, UPSTREAMS
from gatewayz.dialects.translated import TranslatedStream
from tests.unit.dialects import recorded

KEPT = recorded.ROOT / "tests" / "recordings"
# The collection's name of a dialect → ours.
DIALECTS = {"openai-chat": "openai_chat", "anthropic-messages": "anthropic"}
REQUEST_ID = "req_01ARZ3NDEKTSV4RRFFQ69G5FAV"
MODEL = "maker/model"
TARGET = Target("native", provider="provider")
REPORT = UsageReport(cost_nanos=1_230_000, prompt_tokens=11, completion_tokens=7)


@dataclass(frozen=True)
class Exchange:
    name: str
    dialect: str
    status: int
    headers: dict[str, str]
    raw: bytes
    is_stream: bool
    request: Any

    def __str__(self) -> str:
        return self.name


def exchanges(*, beside: bool = True) -> list[Exchange]:
    """Those kept here, then those of a larger collection that may stand beside the repository."""
    found = [
        _load(path, ours)
        for ours in DIALECTS.values()
        for path in sorted((KEPT / ours).glob("*.json"))
    ]
    if beside and recorded.BESIDE.is_dir():
        for theirs, ours in DIALECTS.items():
            paths = sorted(recorded.BESIDE.glob(f"*/{theirs}__*.json"))
            known = {exchange.raw for exchange in found}
            found += [e for path in paths if (e := _load(path, ours)).raw not in known]
    return found


def _load(path: Path, dialect: str) -> Exchange:
    stored = json.loads(path.read_text("utf-8"))
    response = stored["response"]
    body = response.get("sse", response.get("body"))
    return Exchange(
        name=f"{path.parent.name}/{path.stem}",
        dialect=dialect,
        status=response["status"],
        headers={key.lower(): value for key, value in response.get("headers", {}).items()},
        raw=body.encode() if isinstance(body, str) else orjson.dumps(body),
        is_stream="sse" in response,
        request=stored.get("request", {}).get("body"),
    )


def answers(*, beside: bool = True) -> list[Exchange]:
    return [e for e in exchanges(beside=beside) if e.status < 300 and not e.is_stream]


def streams(*, beside: bool = True) -> list[Exchange]:
    return [e for e in exchanges(beside=beside) if e.is_stream]


def reply(style: Style = "openai", *, n: int = 1) -> Reply:
    return Reply(REQUEST_ID, MODEL, "Provider", style, include_usage=True, n=n)


def through(upstream: str, client: str, style: Style = "openai", *, n: int = 1) -> TranslatedStream:
    return TranslatedStream(
        UPSTREAMS[upstream].stream_decoder(TARGET, n=n),
        CLIENTS[client].stream_encoder(reply(style, n=n)),
        n=n,
    )


def run(reader: Any, blocks: Iterable[bytes]) -> bytes:
    """Everything the client gets."""
    out = b"".join([reader.feed(block) for block in blocks]) + reader.end()
    if reader.error is not None:
        return bytes(out + reader.fail(reader.error))
    return bytes(out + reader.close(REPORT))


# ---------------------------------------------------------------- a plain reading


@dataclass
class Plain:
    """What an answer says. `calls`: [name, arguments] in order; arguments of whole answers in
    dialects that have objects are objects."""

    text: str = ""
    thought: str = ""
    signatures: list[str] = field(default_factory=list)
    redacted: list[str] = field(default_factory=list)
    calls: list[list[Any]] = field(default_factory=list)
    refusal: str = ""
    finish: str | None = None
    usage: Any = None
    failed: bool = False


def plain(exchange: Exchange) -> Plain:
    return plain_bytes(exchange.dialect, exchange.raw, is_stream=exchange.is_stream)


def plain_bytes(dialect: str, raw: bytes, *, is_stream: bool) -> Plain:
    if dialect == "anthropic":
        return _anthropic_stream(raw) if is_stream else _anthropic(json.loads(raw))
    return _chat_stream(raw) if is_stream else _chat(json.loads(raw))


def _chat_stream(raw: bytes) -> Plain:
    read = recorded.plain(raw)
    return Plain(
        read.text,
        read.reasoning,
        calls=_chat_calls(raw),
        finish=read.finishes.get(0),
        usage=read.usage,
        failed=read.failed,
    )


def _chat_calls(raw: bytes) -> list[list[Any]]:
    """A call begins with an id that was not there before, or with an index when it has none."""
    calls: list[list[Any]] = []
    latest: dict[Any, list[Any]] = {}
    ids: set[str] = set()
    for chunk in recorded.events(raw):
        for choice in chunk.get("choices") or ():
            for call in (choice.get("delta") or {}).get("tool_calls") or ():
                key = call.get("index", call.get("id"))
                fresh = call.get("id") and call["id"] not in ids
                if choice.get("index"):
                    continue
                if fresh or key not in latest:
                    ids.add(call.get("id") or "")
                    latest[key] = ["", ""]
                    calls.append(latest[key])
                function = call["function"]
                latest[key][0] = latest[key][0] or function.get("name") or ""
                latest[key][1] += function.get("arguments") or ""
    return calls


def _chat(body: Any) -> Plain:
    read = Plain(failed=bool(body.get("error")), usage=body.get("usage"))
    for choice in (body.get("choices") or ())[:1]:
        read.finish = choice.get("finish_reason")
        message = choice["message"]
        content = message.get("content") or ""
        parts = [{"text": content}] if isinstance(content, str) else content
        read.text = "".join(part.get("text") or "" for part in parts)
        read.thought = message.get("reasoning_content") or message.get("reasoning") or ""
        read.refusal = message.get("refusal") or ""
        for call in message.get("tool_calls") or ():
            function = call["function"]
            read.calls.append([function["name"], function["arguments"] or ""])
    return read


def _anthropic(body: Any) -> Plain:
    read = Plain(finish=body["stop_reason"], usage=body["usage"])
    for block in body["content"]:
        match block["type"]:
            case "text":
                read.text += block["text"]
            case "thinking":
                read.thought += block["thinking"]
                read.signatures.append(block["signature"])
            case "redacted_thinking":
                read.redacted.append(block["data"])
            case "tool_use":
                read.calls.append([block["name"], block["input"]])
    return read


def _anthropic_stream(raw: bytes) -> Plain:
    read = Plain()
    kind = ""
    for event in recorded.events(raw):
        match event["type"]:
            case "message_start":
                read.usage = dict(event["message"]["usage"])
            case "content_block_start":
                block = event["content_block"]
                kind = block["type"]
                if kind == "tool_use":
                    read.calls.append([block["name"], ""])
                elif kind == "redacted_thinking":
                    read.redacted.append(block["data"])
            case "content_block_delta":
                delta = event["delta"]
                read.text += delta.get("text", "")
                read.thought += delta.get("thinking", "")
                if delta.get("signature"):
                    read.signatures.append(delta["signature"])
                if kind == "tool_use":
                    read.calls[-1][1] += delta.get("partial_json", "")
            case "message_delta":
                read.finish = event["delta"]["stop_reason"] or read.finish
                read.usage = {**read.usage, **event["usage"]}
            case "error":
                read.failed = True
    return read


# ---------------------------------------------------------------- events put together


@dataclass
class Gathered:
    """The parts and finish of one choice, from its events."""

    parts: list[Part] = field(default_factory=list)
    finish: Finish | None = None
    open: bool = False


def gather(events: Iterable[Event]) -> dict[int, Gathered]:
    """Put events together; asserts that they come in the order the form promises."""
    out: dict[int, Gathered] = {}
    for event in events:
        choice = getattr(event, "choice", None)
        if choice is None:
            continue
        into = out.setdefault(choice, Gathered())
        if isinstance(event, Ended):
            assert not into.open
            assert into.finish is None, "a choice ended twice"
            into.finish = event.finish
            continue
        if isinstance(event, BlockStart):
            assert not into.open, "two blocks are open"
            assert event.index == len(into.parts), "indexes have gaps"
            into.parts.append(event.part)
            into.open = True
            continue
        assert into.open
        assert event.index == len(into.parts) - 1
        if isinstance(event, BlockStop):
            into.open = False
        else:
            into.parts[-1] = _grown(into.parts[-1], event)
    return out


def _grown(part: Part, event: Event) -> Part:
    match part, event:
        case Text(text, citations), CitationDelta(_, citation):
            return Text(text, (*citations, citation), extras=part.extras)
        case Text(text, citations), TextDelta(_, more):
            return Text(text + more, citations, extras=part.extras)
        case Text(text, citations), SignatureDelta(_, signature, origin):
            return Text(text, citations, signature, origin, extras=part.extras)
        case Refusal(text), TextDelta(_, more):
            return Refusal(text + more)
        case Thinking(), ThinkingDelta(_, more):
            return Thinking(part.text + more, part.signature, part.origin, part.id)
        case Thinking(), SignatureDelta(_, signature, origin):
            signed = (part.signature or "") + signature or None
            return Thinking(part.text, signed, origin, event.id or part.id)
        case ToolCall(), ArgumentsDelta(_, more):
            return ToolCall(
                part.id,
                part.name,
                part.arguments + more,
                part.custom,
                part.signature,
                part.origin,
                extras=part.extras,
            )
        case ToolCall(), SignatureDelta(_, signature, origin):
            return ToolCall(part.id, part.name, part.arguments, part.custom, signature, origin)
    raise AssertionError(f"{event} cannot grow {part}")


def said(parts: Iterable[Part]) -> Plain:
    """Parts of the form in terms of a plain reading."""
    read = Plain()
    for part in parts:
        match part:
            case Text():
                read.text += part.text
            case Thinking():
                read.thought += part.text
                if part.signature is not None:
                    read.signatures.append(part.signature)
            case ToolCall():
                read.calls.append([part.name, part.arguments])
            case _:
                pass
    return read


def decoded(exchange: Exchange) -> Generation:
    return UPSTREAMS[exchange.dialect].decode_answer(exchange.raw, TARGET)


def decode_stream(exchange: Exchange, blocks: Iterable[bytes], *, n: int = 1) -> list[Event]:
    decoder = UPSTREAMS[exchange.dialect].stream_decoder(TARGET, n=n)
    out: list[Event] = []
    for block in blocks:
        out += decoder.feed(block)
    return out + decoder.end()


def shown(events: Iterable[Event]) -> list[str]:
    """Events as text: errors are only equal to themselves."""
    return list(map(repr, events))


def pieces(raw: bytes, edges: Iterable[int]) -> Iterator[bytes]:
    at = 0
    for edge in sorted(edges):
        yield raw[at:edge]
        at = edge
    yield raw[at:]
