"""Recorded answers for the tests of this folder, and a plain reading of them to compare with."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from gatewayz.dialects.form import Style, UsageReport
from gatewayz.dialects.openai_chat.stream import ChatStream

ROOT = Path(__file__).resolve().parents[3]
KEPT = ROOT / "tests" / "recordings" / "openai_chat"
# A larger collection may stand beside the repository; nothing depends on it.
BESIDE = ROOT.parent / "shared" / "data" / "recordings"

CHAT_ID = "chatcmpl-01ARZ3NDEKTSV4RRFFQ69G5FAV"
MODEL = "maker/model"
REPORT = UsageReport(cost_nanos=1_230_000, prompt_tokens=11, completion_tokens=7)


@dataclass(frozen=True)
class Recording:
    name: str
    provider: str
    status: int
    headers: dict[str, str]
    raw: bytes
    is_stream: bool


def recordings(*, beside: bool = True) -> list[Recording]:
    paths = sorted(KEPT.glob("*.json"))
    if beside and BESIDE.is_dir():
        paths += sorted(BESIDE.glob("*/openai-chat__*.json"))
    return list(map(_load, paths))


def _load(path: Path) -> Recording:
    stored = json.loads(path.read_text("utf-8"))
    response = stored["response"]
    body = response.get("sse", response.get("body"))
    raw = body.encode() if isinstance(body, str) else orjson.dumps(body)
    name = path.stem if path.parent == KEPT else f"{path.parent.name}/{path.stem}"
    headers = {key.lower(): value for key, value in response.get("headers", {}).items()}
    return Recording(name, stored["provider"], response["status"], headers, raw, "sse" in response)


def streams(*, beside: bool = True) -> list[Recording]:
    return [r for r in recordings(beside=beside) if r.is_stream]


def stream(style: Style = "openai", *, include_usage: bool = False, n: int = 1) -> ChatStream:
    return ChatStream(
        chat_id=CHAT_ID,
        model=MODEL,
        provider="Provider",
        style=style,
        include_usage=include_usage,
        n=n,
    )


def run(reader: ChatStream, *blocks: bytes) -> bytes:
    """Everything the client gets."""
    out = b"".join([reader.feed(block) for block in blocks]) + reader.end()
    if reader.error is not None:
        return out + reader.fail(reader.error)
    return out + reader.close(REPORT)


def events(raw: bytes) -> Iterator[Any]:
    """JSON values of an event stream, read the plain way."""
    text = raw.decode().replace("\r\n", "\n")
    for event in text.split("\n\n"):
        lines = [line[5:].removeprefix(" ") for line in event.split("\n") if line[:5] == "data:"]
        if lines and lines != ["[DONE]"]:
            yield json.loads("\n".join(lines))


@dataclass
class Plain:
    """An answer put together from its chunks, without any of our code."""

    text: str = ""
    reasoning: str = ""
    calls: dict[tuple[int, int], list[str]] = field(default_factory=dict)
    finishes: dict[int, str] = field(default_factory=dict)
    usage: Any = None
    failed: bool = False


def plain(raw: bytes) -> Plain:
    read = Plain()
    last = 0
    for chunk in events(raw):
        read.failed = read.failed or bool(chunk.get("error"))
        read.usage = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage") or read.usage
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            read.text += delta.get("content") or ""
            read.reasoning += delta.get("reasoning_content") or delta.get("reasoning") or ""
            for call in delta.get("tool_calls") or ():
                last = call.get("index", last)
                parts = read.calls.setdefault((choice["index"], last), ["", ""])
                parts[0] += call["function"].get("name") or ""
                parts[1] += call["function"].get("arguments") or ""
            if choice.get("finish_reason"):
                read.finishes.setdefault(choice["index"], choice["finish_reason"])
    return read
