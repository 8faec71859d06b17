"""Thoughts in the text of an answer: put apart where a provider is flagged so, else left alone."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.dialects.events import Event
from gatewayz.dialects.form import Target
from gatewayz.dialects.openai_chat.think_tags import THINK_OPEN, THINK_TAGS
from gatewayz.dialects.registry import UPSTREAMS
from tests.unit.dialects.exchanges import gather, said

CASES = [
    (THINK_TAGS, "<think>a</think>b", "a", "b"),
    (THINK_TAGS, "\n <think>a</think>", "a", ""),
    (THINK_TAGS, "plain <think>x</think>", "", "plain <think>x</think>"),
    (THINK_TAGS, "<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
    (THINK_TAGS, "<think>never closed", "never closed", ""),
    (THINK_TAGS, "<thin", "", "<thin"),
    (THINK_OPEN, "a</think>b", "a", "b"),
    ("", "<think>a</think>b", "", "<think>a</think>b"),
]


def _target(quirk: str) -> Target:
    return Target("n", quirks=frozenset({quirk} if quirk else ()))


def _stream(pieces: list[str], quirk: str) -> list[Event]:
    decoder = UPSTREAMS["openai_chat"].stream_decoder(_target(quirk))
    out: list[Event] = []
    for piece in pieces:
        chunk = {"choices": [{"index": 0, "delta": {"content": piece}}]}
        out += decoder.feed(b"data: " + orjson.dumps(chunk) + b"\n\n")
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    out += decoder.feed(b"data: " + orjson.dumps(end) + b"\n\ndata: [DONE]\n\n")
    return out + decoder.end()


@pytest.mark.parametrize(("quirk", "text", "thought", "rest"), CASES)
def test_a_whole_answer_is_put_apart(quirk: str, text: str, thought: str, rest: str) -> None:
    message = {"role": "assistant", "content": text}
    body = {"choices": [{"message": message, "finish_reason": "stop"}]}
    answer = UPSTREAMS["openai_chat"].decode_answer(orjson.dumps(body), _target(quirk))
    read = said(answer.choices[0].parts)
    assert (read.thought, read.text) == (thought, rest)


@pytest.mark.parametrize(("quirk", "text", "thought", "rest"), CASES)
@given(data=st.data())
def test_F34_a_stream_is_put_apart_however_it_was_cut(
    quirk: str, text: str, thought: str, rest: str, data: st.DataObject
) -> None:
    edges = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    pieces = [text[a:b] for a, b in zip([0, *edges], [*edges, len(text)], strict=True)]
    read = said(gather(_stream([p for p in pieces if p], quirk))[0].parts)
    assert (read.thought, read.text) == (thought, rest)
