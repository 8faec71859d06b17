"""Several calls as one answer: in order however their streams arrive, all or nothing."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.core.errors import UpstreamThrottled
from gatewayz.dialects.anthropic.codec import ANTHROPIC
from gatewayz.dialects.fan_out import Piece, fan_out
from gatewayz.dialects.form import Target, UsageReport
from gatewayz.dialects.openai_chat.codec import OPENAI_CHAT
from gatewayz.dialects.openai_completions.exchange import CompletionsCall
from gatewayz.dialects.protocol import Reply
from tests.fakes.agent import IN, OUT, Say, _stream_messages

REPORT = UsageReport(0, 0, 0)
CALL = {"model": "m", "prompt": ["a", "b", "c"], "max_tokens": 9}


def exchange() -> Any:
    forms = CompletionsCall(dict(CALL), {}).branches(single=True)
    reply = Reply("req_01M8AB0SA8HFQ5X34VCFEB5ZN2", "m", n=3)
    return fan_out(OPENAI_CHAT, ANTHROPIC, forms, Target("x"), reply, None)


def pieces(branch: int) -> list[Piece]:
    whole = b"".join(_stream_messages(Say(f"answer {branch}")))
    cuts = [whole[k : k + 70] for k in range(0, len(whole), 70)]
    return [Piece.of(branch, cut) for cut in cuts] + [Piece.of(branch, b"")]


def texts(stream: bytes) -> dict[int, str]:
    found: dict[int, str] = {}
    for line in stream.splitlines():
        if line.startswith(b"data: {"):
            for choice in orjson.loads(line[6:])["choices"]:
                found[choice["index"]] = found.get(choice["index"], "") + (
                    choice["delta"].get("content") or ""
                )
    return found


@given(st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_same_answers(random: Any) -> None:
    stream = exchange().open_stream()
    waiting = [pieces(branch) for branch in range(3)]
    out = b""
    while any(waiting):
        branch = random.choice([k for k in range(3) if waiting[k]])
        assert stream.error is None
        out += stream.feed(waiting[branch].pop(0))
    out += stream.end() + stream.close(REPORT)
    assert stream.clean_end
    assert texts(out) == {k: f"answer {k}" for k in range(3)}
    usage = stream.counted()
    assert (usage.input_tokens, usage.output_tokens) == (3 * IN, 3 * OUT)
    assert len(usage.calls) == 3


def test_what_is_not_whole_is_a_failure_and_has_no_usage_until_all_have_said_theirs() -> None:
    stream = exchange().open_stream()
    for piece in pieces(0):
        stream.feed(piece)
    assert (stream.done, stream.clean_end, stream.counted()) == (False, False, None)
    for piece in pieces(1)[:3]:
        stream.feed(piece)
    stream.end()
    assert stream.error is not None
    assert b"[DONE]" not in stream.fail(stream.error)


def test_a_call_that_cannot_be_opened_any_more_ends_the_stream_with_its_cause() -> None:
    stream = exchange().open_stream()
    stream.feed(pieces(0)[0])
    cause = UpstreamThrottled("Slow down.", provider="x")
    stream.feed(Piece.of(2, b"", cause))
    assert stream.error is cause


@pytest.mark.parametrize(("asked", "top"), [(0, None), (3, 3)])
def test_log_probabilities_are_asked_of_a_chat_in_its_words(asked: int, top: int | None) -> None:
    call = CompletionsCall({**CALL, "prompt": "a", "logprobs": asked}, {})
    sent = call.exchange("openai_chat", Target("x"), Reply("req_1", "m"), None)
    body = orjson.loads(sent.request.body)
    assert (body["logprobs"], body.get("top_logprobs")) == (True, top)
    lost = call.exchange("anthropic", Target("x"), Reply("req_1", "m"), None)
    assert lost.request.dropped == ("logprobs",)
