"""Providers that tests script: three raw upstreams in the dialect of chat completions, and what a
client of each dialect sends and shows.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.fakes.upstream import RawRequest, RawUpstream, Step, event_stream

ROW = """
[{slug}]
name = "{slug}"
dialect = "openai_chat"
base_url = "{url}/v1"
local = true
timeouts = {{ first_token_s = 0.4, idle_s = 0.4, total_s = 0.4 }}
"""
OFFER = """
[[models.offers]]
provider = "{slug}"
native_id = "{native}"
{price}
{more}
"""


@dataclass
class Fleet:
    """Named upstreams, and the text of the operator's file that describes them."""

    upstreams: dict[str, RawUpstream]
    text: str = ""
    calls: list[str] = field(default_factory=list)

    def model(self, model_id: str, *offers: tuple[str, float], native: str = "m", more: str = "",
              ) -> "Fleet":  # fmt: skip
        self.text += f'\n[[models]]\nid = "{model_id}"\n'
        for slug, price in offers:
            said = f"input = {price}\noutput = {price}" if price else "free = true"
            self.text += OFFER.format(slug=slug, native=native, price=said, more=more)
        return self

    def play(self, slug: str, *steps: Step, stream: Sequence[Step] | None = None) -> None:
        """What an upstream does: `stream` for streamed requests, the steps for others."""
        upstream = self.upstreams[slug]

        def act(request: RawRequest) -> Sequence[Step]:
            self.calls.append(slug)
            asked = orjson.loads(request.body or b"{}")
            return stream if stream is not None and asked.get("stream") else steps

        upstream.play = act

    def answer(self, slug: str, text: str = "Hello") -> None:
        self.play(slug, good_answer(text), stream=[event_stream(), good_stream(text)])

    def count(self, slug: str) -> int:
        return self.calls.count(slug)

    def stop(self) -> None:
        for upstream in self.upstreams.values():
            upstream.stop()


def fleet(*slugs: str) -> Iterator[Fleet]:
    """For fixtures: upstreams that all answer, until told otherwise."""
    made = Fleet({slug: RawUpstream() for slug in slugs})
    for slug, upstream in made.upstreams.items():
        made.text += ROW.format(slug=slug, url=upstream.url)
        made.answer(slug)
    try:
        yield made
    finally:
        made.stop()


# ------------------------------------------------------------------ what an upstream says

USAGE = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}


def good_answer(text: str = "Hello", *, usage: Any = USAGE) -> bytes:
    choice = {"index": 0, "finish_reason": "stop",
              "message": {"role": "assistant", "content": text}}  # fmt: skip
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [choice], "usage": usage}  # fmt: skip
    return closing(200, json.dumps(body).encode())


def closing(status: int, content: bytes, *headers: str, kind: str = "application/json") -> bytes:
    """A whole answer after which the connection ends, as this upstream's always do."""
    head = [f"HTTP/1.1 {status} X", f"content-type: {kind}", f"content-length: {len(content)}",
            "connection: close", *headers]  # fmt: skip
    return "\r\n".join(head).encode() + b"\r\n\r\n" + content


def refusal(status: int, body: Any = None, *headers: str) -> bytes:
    content = json.dumps(body or {"error": {"message": "no", "type": "x"}}).encode()
    return closing(status, content, *headers)


def chunk(delta: dict[str, Any] | None = None, *, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": choices} | more  # fmt: skip
    return b"data: " + json.dumps(body).encode() + b"\n\n"


ROLE = chunk({"role": "assistant", "content": ""})
STOP = chunk({}, finish="stop")
COUNT = chunk(usage=USAGE)
DONE = b"data: [DONE]\n\n"


def good_stream(text: str = "Hello") -> bytes:
    return ROLE + chunk({"content": text}) + STOP + COUNT + DONE


def tool_chunk(arguments: str, *, first: bool = False) -> bytes:
    call: dict[str, Any] = {"index": 0, "function": {"arguments": arguments}}
    if first:
        call |= {"id": "call_1", "type": "function"}
        call["function"]["name"] = "look"
    return chunk({"tool_calls": [call]})


# ------------------------------------------------------------------ what a client says and sees


@dataclass(frozen=True)
class Dialect:
    """How one kind of client asks, and how it tells a whole answer from a broken one."""

    name: str
    path: Callable[[str, bool], str]
    body: Callable[[str, bool], dict[str, Any]]
    done: Callable[[str], bool]  # the stream ended as a complete one does
    failed: Callable[[str], bool]  # … as one that failed
    said: Callable[[str, bool], str]


def _frames(text: str) -> list[dict[str, Any]]:
    found = []
    for line in text.splitlines():
        if line.startswith("data: {"):
            found.append(json.loads(line[6:]))
    return found


def _chat_said(text: str, stream: bool) -> str:
    if not stream:
        return str(json.loads(text)["choices"][0]["message"]["content"])
    return "".join((c.get("delta") or {}).get("content") or ""
                   for f in _frames(text) for c in f.get("choices") or ())  # fmt: skip


def _messages_said(text: str, stream: bool) -> str:
    if not stream:
        return "".join(block.get("text", "") for block in json.loads(text)["content"])
    return "".join(f["delta"].get("text", "") for f in _frames(text)
                   if f["type"] == "content_block_delta")  # fmt: skip


def _responses_said(text: str, stream: bool) -> str:
    if not stream:
        return "".join(part.get("text", "") for item in json.loads(text)["output"]
                       for part in item.get("content") or ())  # fmt: skip
    return "".join(f["delta"] for f in _frames(text) if f["type"] == "response.output_text.delta")


def _google_said(text: str, stream: bool) -> str:
    frames = _frames(text) if stream else [json.loads(text)]
    return "".join(part.get("text", "") for f in frames for c in f.get("candidates") or ()
                   for part in (c.get("content") or {}).get("parts") or ())  # fmt: skip


def _chat_body(model: str, stream: bool) -> dict[str, Any]:
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}


DIALECTS = (
    Dialect(
        "chat", lambda model, stream: "/v1/chat/completions", _chat_body,
        lambda text: text.rstrip().endswith("data: [DONE]"),
        lambda text: bool(_frames(text) and _frames(text)[-1].get("error")), _chat_said,
    ),
    Dialect(
        "openrouter", lambda model, stream: "/api/v1/chat/completions", _chat_body,
        lambda text: text.rstrip().endswith("data: [DONE]")
        and not any(f.get("error") for f in _frames(text)),
        lambda text: any(f.get("error") and f["choices"][0]["finish_reason"] == "error"
                         for f in _frames(text)), _chat_said,
    ),
    Dialect(
        "messages", lambda model, stream: "/v1/messages",
        lambda model, stream: _chat_body(model, stream) | {"max_tokens": 50},
        lambda text: '"type":"message_stop"' in text.replace(" ", ""),
        lambda text: "event: error" in text, _messages_said,
    ),
    Dialect(
        "responses", lambda model, stream: "/v1/responses",
        lambda model, stream: {"model": model, "stream": stream, "input": "hi"},
        lambda text: "response.completed" in text,
        lambda text: "response.failed" in text, _responses_said,
    ),
    Dialect(
        "google",
        lambda model, stream: f"/v1beta/models/{model}:"
        + ("streamGenerateContent?alt=sse" if stream else "generateContent"),
        lambda model, stream: {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
        lambda text: '"finishReason":"STOP"' in text.replace(" ", ""),
        lambda text: bool(_frames(text) and _frames(text)[-1].get("error")), _google_said,
    ),
)  # fmt: skip
