"""Responses and legacy completions as calls: what admission sees, what goes out and back."""

import json
from typing import Any

import pytest

from gatewayz.core.errors import InvalidRequest, RateLimited
from gatewayz.dialects.exchange import TranslatedExchange
from gatewayz.dialects.form import Target
from gatewayz.dialects.openai_completions.exchange import CompletionsCall
from gatewayz.dialects.openai_responses.exchange import ResponsesCall
from gatewayz.dialects.passthrough import PassedExchange
from tests.unit.dialects import recorded
from tests.unit.dialects.exchanges import MODEL, REPORT, TARGET, reply
from tests.unit.dialects.test_responses_recordings import ANSWERS, STREAMS

BODY = {
    "model": MODEL,
    "input": "hi",
    "instructions": "Be brief.",
    "max_output_tokens": 99,
    "tools": [{"type": "function", "name": "f"}],
    "user": "u",
    "x_unknown": 1,
}
CHAT = {
    "choices": [{"index": 0, "message": {"content": "hey"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1},
}


def responses(**fields: Any) -> ResponsesCall:
    return ResponsesCall({**BODY, **fields}, {})


def sent(exchange: Any) -> Any:
    return json.loads(exchange.request.body)


def test_admission_sees_what_it_must_of_a_responses_request() -> None:
    call = responses(stream=True)
    assert (call.model, call.stream, call.max_output_tokens) == (MODEL, True, 99)
    assert (call.choices, call.candidates, call.end_user) == (1, 1, "u")
    assert call.prompt_tokens > 0


def test_a_body_passes_to_its_own_dialect_with_our_limit_in_it() -> None:
    exchange = responses().exchange("openai_responses", TARGET, reply(), 50)
    assert isinstance(exchange, PassedExchange)
    expected = {**BODY, "model": "native", "store": False, "max_output_tokens": 50}
    assert sent(exchange) == expected
    assert exchange.request.path == "/responses"
    answer = exchange.read_answer(ANSWERS[0].raw)
    body = json.loads(exchange.render_answer(answer, REPORT))
    assert (body["model"], body["usage"]["cost"]) == (MODEL, 0.00123)
    stream = exchange.open_stream()
    stream.feed(STREAMS[0].raw)
    assert stream.clean_end
    assert exchange.decode_error(429, {}, b"{}").status == 429


def test_models_of_another_family_are_reached_through_the_form() -> None:
    target = Target("native", provider="p", family="xai")
    exchange = responses().exchange("openai_responses", target, reply(), 50)
    assert isinstance(exchange, TranslatedExchange)
    assert sent(exchange)["max_output_tokens"] == 50
    assert sent(exchange)["x_unknown"] == 1


def test_an_answer_of_a_chat_model_repeats_the_settings_of_the_request() -> None:
    exchange = responses().exchange("openai_chat", TARGET, reply(), 50)
    body = sent(exchange)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["max_tokens"] == 50
    assert exchange.request.dropped == ("x_unknown",)
    answer = exchange.read_answer(json.dumps(CHAT).encode())
    response = json.loads(exchange.render_answer(answer, REPORT))
    assert response["output"][0]["content"][0]["text"] == "hey"
    assert (response["instructions"], response["max_output_tokens"]) == ("Be brief.", 99)
    assert [tool["name"] for tool in response["tools"]] == ["f"]


def test_a_failure_before_any_provider_is_a_stream_of_its_own() -> None:
    error = RateLimited("Slow down.")
    events = list(recorded.events(responses().error_frame(error, reply())))
    kinds = [event["type"] for event in events]
    assert kinds == ["response.created", "response.in_progress", "error", "response.failed"]
    status, body, _ = responses().encode_error(error, style="openai", request_id="req_x")
    assert (status, json.loads(body)["error"]["code"]) == (429, error.code)
    frame = CompletionsCall({"model": "m", "prompt": "a"}, {}).error_frame(error, reply())
    assert b"[DONE]" not in frame


def test_every_answer_to_every_prompt_is_counted() -> None:
    call = CompletionsCall({"model": "m", "prompt": ["a", "b"], "n": 2, "best_of": 3}, {})
    assert (call.choices, call.candidates) == (4, 6)
    call = CompletionsCall({"model": "m", "prompt": "a", "n": 2}, {})
    assert (call.choices, call.candidates) == (2, 2)


def test_a_completion_passes_to_its_own_dialect_and_is_translated_for_others() -> None:
    body = {"model": "m", "prompt": "Once", "max_tokens": 9, "x_unknown": 1}
    call = CompletionsCall(body, {})
    own = call.exchange("openai_completions", TARGET, reply(), 5)
    assert sent(own) == {**body, "model": "native", "max_tokens": 5}
    assert own.request.path == "/completions"
    chat = call.exchange("openai_chat", TARGET, reply(), 5)
    assert sent(chat)["messages"] == [{"role": "user", "content": "Once"}]
    answer = chat.read_answer(json.dumps(CHAT).encode())
    written = json.loads(chat.render_answer(answer, REPORT))
    assert (written["object"], written["choices"][0]["text"]) == ("text_completion", "hey")


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"prompt": ["a", "b"]}, "prompt", "Several prompts"),
        ({"prompt": [1, 2]}, "prompt", "token ids"),
        ({"suffix": "x"}, "suffix", "'suffix'"),
        ({"echo": True}, "echo", "'echo'"),
    ],
)
def test_what_a_chat_model_cannot_do_is_refused_in_the_callers_words(
    fields: Any, param: str, words: str
) -> None:
    call = CompletionsCall({"model": "m", "prompt": "a", **fields}, {})
    with pytest.raises(InvalidRequest, match=words) as refused:
        call.exchange("openai_chat", TARGET, reply(), 5)
    assert refused.value.param == param
