"""Converse answers as the official clients of other dialects read them; and the agreement of whole
answers with streams, cut anywhere, of whatever a model may write.
"""

import base64
import json
from typing import Any

import anthropic
import openai
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayz.dialects.bedrock.codec import BEDROCK
from gatewayz.dialects.parts import Citation, Part, RedactedThinking, Text, Thinking, ToolCall
from gatewayz.dialects.registry import CLIENTS
from gatewayz.dialects.translated import read_answer
from tests.unit.dialects.exchanges import REPORT, Plain, gather, pieces, reply, run
from tests.unit.dialects.forms import names, plain_arguments, words
from tests.unit.dialects.test_bedrock_recordings import (
    ANSWERS,
    CLAUDE,
    PLAIN,
    START,
    STREAMS,
    Exchange,
    decode,
    delta,
    end,
    frame,
    plain,
    plain_stream,
    start,
    stop,
    through,
)
from tests.unit.dialects.test_official_clients import FINISHES, STREAMED, WHOLE

CALLED = {"openai_chat": "tool_calls", "anthropic": "tool_use"}


def _compare(got: Plain, text: str, thought: str, calls: Any, client: str) -> None:
    assert got.text == text
    if client == "anthropic":
        # Only this client is told of thoughts by a type of its own.
        assert got.thought == thought
    assert [[name, _object(arguments)] for name, arguments in got.calls] == calls
    assert got.finish in FINISHES[client]
    if calls:
        assert got.finish == CALLED[client]


def _object(arguments: Any) -> Any:
    return json.loads(arguments or "{}") if isinstance(arguments, str) else arguments


@pytest.mark.parametrize("exchange", ANSWERS, ids=str)
@pytest.mark.parametrize("client", WHOLE)
def test_an_official_client_reads_a_whole_answer(exchange: Exchange, client: str) -> None:
    read = plain(exchange.raw)
    answer = read_answer(BEDROCK, exchange.raw, PLAIN)
    body = CLIENTS[client].encode_answer(answer.generation, reply(), REPORT)
    _compare(WHOLE[client](body), read.text, read.thought, read.calls, client)


@pytest.mark.parametrize("exchange", STREAMS, ids=str)
@pytest.mark.parametrize("client", STREAMED)
def test_an_official_client_reads_a_stream(exchange: Exchange, client: str) -> None:
    read = plain_stream(exchange.raw)
    body = run(through(client), [exchange.raw])
    calls = [[name, _object(arguments)] for name, arguments in read.calls]
    _compare(STREAMED[client](body), read.text, read.thought, calls, client)


@pytest.mark.parametrize("client", STREAMED)
def test_an_official_client_sees_an_exception_in_a_stream(client: str) -> None:
    raw = START + delta(0, text="Half")
    raw += frame("throttlingException", {"message": "x"}, sort="exception")
    with pytest.raises((openai.APIError, anthropic.APIError)):
        STREAMED[client](run(through(client), [raw]))


# ---------------------------------------------------------------- whatever a model may write

STEADY = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
_urls = st.from_regex(r"https://example\.com/[a-z]{1,8}", fullmatch=True)
_sources = st.builds(lambda url: {"location": {"web": {"url": url}}}, _urls)
_citations = st.lists(
    _sources.map(
        lambda raw: Citation(url=raw["location"]["web"]["url"], dialect="bedrock", raw=raw)
    ),
    max_size=2,
).map(tuple)
_parts = st.lists(
    st.one_of(
        st.builds(Text, words, _citations),
        st.builds(Thinking, words, st.none() | words, st.just("anthropic")),
        st.builds(RedactedThinking, st.text("abcXYZ019+/=", min_size=1), st.just("anthropic")),
        st.builds(ToolCall, names, names, plain_arguments),
    ),
    max_size=5,
).map(tuple)


def _block(part: Part) -> Any:
    match part:
        case Text(text, citations) if citations:
            raws = [citation.raw for citation in citations]
            return {"citationsContent": {"content": [{"text": text}], "citations": raws}}
        case Text(text):
            return {"text": text}
        case Thinking(text, signature):
            signed = {} if signature is None else {"signature": signature}
            return {"reasoningContent": {"reasoningText": {"text": text, **signed}}}
        case RedactedThinking(data):
            hidden = base64.b64encode(data.encode()).decode()
            return {"reasoningContent": {"redactedContent": hidden}}
        case ToolCall(call_id, name, arguments):
            return {"toolUse": {"toolUseId": call_id, "name": name, "input": json.loads(arguments)}}
    raise AssertionError(part)


def _frames(index: int, part: Part, cut: int) -> bytes:
    """A block as a provider might stream it, its text in two pieces."""
    out = b""
    match part:
        case Text(text, citations):
            out += b"".join(delta(index, text=t) for t in (text[:cut], text[cut:]))
            out += b"".join(delta(index, citation=c.raw) for c in citations)
        case Thinking(text, signature):
            for piece in (text[:cut], text[cut:]):
                out += delta(index, reasoningContent={"text": piece})
            if signature is not None:
                out += delta(index, reasoningContent={"signature": signature})
        case RedactedThinking(data):
            hidden = base64.b64encode(data.encode()).decode()
            out += delta(index, reasoningContent={"redactedContent": hidden})
        case ToolCall(call_id, name, arguments):
            out += start(index, toolUse={"toolUseId": call_id, "name": name})
            for piece in (arguments[:cut], arguments[cut:]):
                out += delta(index, toolUse={"input": piece})
    return out + stop(index)


@STEADY
@given(parts=_parts, cuts=st.lists(st.integers(0, 5000), max_size=8), cut=st.integers(0, 20))
def test_a_whole_answer_and_its_stream_give_the_parts_that_were_written(
    parts: tuple[Part, ...], cuts: list[int], cut: int
) -> None:
    called = any(isinstance(part, ToolCall) for part in parts)
    content = list(map(_block, parts))
    reason = "tool_use" if called else "end_turn"
    body = {"output": {"message": {"content": content}}, "stopReason": reason}
    whole = BEDROCK.decode_answer(orjson.dumps(body), CLAUDE).choices[0]
    assert whole.parts == parts
    raw = START + b"".join(_frames(i, part, cut) for i, part in enumerate(parts)) + end(reason)
    read = gather(decode(pieces(raw, [c for c in cuts if c < len(raw)]), CLAUDE))[0]
    assert tuple(read.parts) == parts
    assert read.finish == whole.finish
