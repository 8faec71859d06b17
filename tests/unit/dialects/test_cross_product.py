"""Every recorded answer of every upstream dialect for a client of every dialect: the official
client reads it, and it is what the dialect's owner publishes. What an answer says is known from
the plain readings of test_*_recordings; here it only has to arrive.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import anthropic
import openai
import orjson
import pytest
from google.genai import errors as google_errors

from gatewayz.core.errors import UpstreamError
from gatewayz.dialects.form import Style
from gatewayz.dialects.generation import Finish
from gatewayz.dialects.parts import Part, Refusal, Text, Thinking, ToolCall
from gatewayz.dialects.registry import CLIENTS, UPSTREAMS
from gatewayz.dialects.translated import read_answer
from tests.unit.dialects import recorded, test_google_clients, test_responses_clients
from tests.unit.dialects.exchanges import KEPT, REPORT, TARGET, Plain, gather, reply, run, through
from tests.unit.dialects.schemas import problems
from tests.unit.dialects.test_bedrock_recordings import ANSWERS as CONVERSE_ANSWERS
from tests.unit.dialects.test_bedrock_recordings import STREAMS as CONVERSE_STREAMS
from tests.unit.dialects.test_official_clients import STREAMED, WHOLE

COLLECTIONS = {
    "openai_chat": "openai-chat",
    "anthropic": "anthropic-messages",
    "google": "gemini-generatecontent",
    "openai_responses": "openai-responses",
    "cohere": "cohere-v2-chat",
}
CLIENT_ERRORS = (openai.APIError, anthropic.APIError, google_errors.APIError)
CUT = ("length", "context")


@dataclass(frozen=True)
class Recorded:
    name: str
    dialect: str
    raw: bytes
    is_stream: bool

    def __str__(self) -> str:
        return self.name


def _recorded() -> Iterator[Recorded]:
    """Those kept here, then those of a larger collection that may stand beside the repository."""
    seen: set[bytes] = set()
    for dialect, theirs in COLLECTIONS.items():
        paths = sorted((KEPT / dialect).glob("*.json"))
        if recorded.BESIDE.is_dir():
            paths += sorted(recorded.BESIDE.glob(f"*/{theirs}__*.json"))
        for path in paths:
            response = json.loads(path.read_text("utf-8"))["response"]
            body = response.get("sse", response.get("body"))
            raw = body.encode() if isinstance(body, str) else orjson.dumps(body)
            if response["status"] < 300 and raw not in seen:
                seen.add(raw)
                yield Recorded(f"{dialect}/{path.stem}", dialect, raw, "sse" in response)
    for found, is_stream in ((CONVERSE_ANSWERS, False), (CONVERSE_STREAMS, True)):
        for other in found:
            yield Recorded(f"bedrock/{other.name}", "bedrock", other.raw, is_stream)


RECORDED = list(_recorded())
ANSWERS = [r for r in RECORDED if not r.is_stream]
STREAMS = [r for r in RECORDED if r.is_stream]


# ---------------------------------------------------------------- how each client reads


def _response(response: Any) -> Plain:
    read = Plain(response.output_text, finish=response.status)
    for item in response.output:
        match item.type:
            case "function_call":
                assert item.call_id
                read.calls.append([item.name, item.arguments])
            case "message":
                refused = [p.refusal for p in item.content if p.type == "refusal"]
                read.refusal += "".join(refused)
    return read


def _responses_whole(body: bytes) -> Plain:
    client = test_responses_clients._client(body, "application/json")
    return _response(client.responses.create(model="m", input="?"))


def _responses_streamed(body: bytes) -> Plain:
    last = None
    with test_responses_clients._client(body, "text/event-stream").responses.stream(
        model="m", input="?"
    ) as stream:
        for event in stream:
            last = event
    assert last is not None
    if last.type == "response.failed":
        raise openai.APIError("failed", request=None, body=None)  # type: ignore[arg-type]
    return _response(last.response)


READ_WHOLE: dict[str, Callable[[bytes], Plain]] = {
    **WHOLE,
    "openai_responses": _responses_whole,
    "google": test_google_clients._whole,
}
READ_STREAM: dict[str, Callable[[bytes], Plain]] = {
    **STREAMED,
    "openai_responses": _responses_streamed,
    "google": test_google_clients._streamed,
}


def _object(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value or "{}")
    except json.JSONDecodeError:
        return {"_raw": value}


def _compare(got: Plain, parts: list[Part], finish: Finish | None, client: str) -> None:
    spoken: tuple[type[Part], ...] = (Text,) if client.startswith("openai") else (Text, Refusal)
    text = "".join(p.text for p in parts if isinstance(p, spoken))  # type: ignore[attr-defined]
    assert got.text == text
    calls = [part for part in parts if isinstance(part, ToolCall)]
    assert [name for name, _ in got.calls] == [call.name for call in calls]
    for [_, arguments], call in zip(got.calls, calls, strict=True):
        if isinstance(arguments, str):
            assert arguments == call.arguments  # byte for byte where a dialect has text
        elif finish is None or finish.reason not in CUT:
            assert arguments == _object(call.arguments)
    if client in ("anthropic", "google"):
        assert got.thought == "".join(p.text for p in parts if isinstance(p, Thinking))
    assert got.finish


# ---------------------------------------------------------------- whole answers and streams


@cache
def _decoded(recording: Recorded) -> Any:
    return read_answer(UPSTREAMS[recording.dialect], recording.raw, TARGET).generation


@pytest.mark.parametrize("recording", ANSWERS, ids=str)
@pytest.mark.parametrize("client", READ_WHOLE)
def test_the_official_client_reads_a_whole_answer(recording: Recorded, client: str) -> None:
    try:
        generation = _decoded(recording)
    except UpstreamError:
        return  # an error in an answer of status 200, told before anything was written
    body = CLIENTS[client].encode_answer(generation, reply(), REPORT)
    choice = generation.choices[0]
    _compare(READ_WHOLE[client](body), list(choice.parts), choice.finish, client)


@pytest.mark.parametrize("recording", STREAMS, ids=str)
@pytest.mark.parametrize("client", READ_STREAM)
def test_the_official_client_reads_a_stream(recording: Recorded, client: str) -> None:
    reader = through(recording.dialect, client)
    body = run(reader, [recording.raw])
    if reader.error is not None:
        with pytest.raises(CLIENT_ERRORS):
            READ_STREAM[client](body)
        return
    decoder = UPSTREAMS[recording.dialect].stream_decoder(TARGET)
    said = gather([*decoder.feed(recording.raw), *decoder.end()])[0]
    _compare(READ_STREAM[client](body), said.parts, said.finish, client)


# ---------------------------------------------------------------- the published schemas

# (who publishes it, our client dialect, style) → the schemas of a whole answer and of a frame.
PUBLISHED: dict[tuple[str, str, Style], tuple[str, str]] = {
    ("openai", "openai_chat", "openai"): (
        "CreateChatCompletionResponse", "CreateChatCompletionStreamResponse",
    ),
    ("openrouter", "openai_chat", "openrouter"): ("ChatResult", "ChatStreamChunk"),
    ("openai", "openai_responses", "openai"): ("Response", "ResponseStreamEvent"),
    ("openrouter", "openai_responses", "openrouter"): ("OpenResponsesResult", "StreamEvents"),
    ("openrouter", "anthropic", "openrouter"): ("MessagesResult", "MessagesStreamEvents"),
    ("openai", "openai_completions", "openai"): (
        "CreateCompletionResponse", "CreateCompletionResponse",
    ),
}  # fmt: skip


def _frames(out: bytes) -> Iterator[Any]:
    for block in out.split(b"\n\n"):
        data = block.rpartition(b"data: ")[2]
        if data.startswith(b"{"):
            yield json.loads(data)


@pytest.mark.parametrize(("owner", "client", "style"), PUBLISHED, ids=str)
def test_whole_answers_are_what_the_owner_of_a_dialect_publishes(
    owner: str, client: str, style: Style
) -> None:
    schema = PUBLISHED[owner, client, style][0]
    checked = 0
    for recording in ANSWERS:
        if recording.dialect == client:
            continue  # a provider's own words travel, also those that nobody published
        try:
            generation = _decoded(recording)
        except UpstreamError:
            continue
        body = CLIENTS[client].encode_answer(generation, reply(style), REPORT)
        assert problems(owner, schema, json.loads(body)) == [], recording.name
        checked += 1
    assert checked > 20


@pytest.mark.parametrize(("owner", "client", "style"), PUBLISHED, ids=str)
def test_frames_are_what_the_owner_of_a_dialect_publishes(
    owner: str, client: str, style: Style
) -> None:
    schema = PUBLISHED[owner, client, style][1]
    checked = 0
    for recording in STREAMS:
        if recording.dialect == client:
            continue
        reader = through(recording.dialect, client, style)
        out = run(reader, [recording.raw])
        if reader.error is not None:
            continue
        frames = list(_frames(out))
        # Most frames are alike: the first, the last and some between show every kind.
        for frame in [*frames[:12], *frames[12:-12:25], *frames[-12:]]:
            assert problems(owner, schema, frame) == [], recording.name
            checked += 1
    assert checked > 100
