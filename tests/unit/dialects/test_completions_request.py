"""Legacy completion requests: prompts of every kind, and what only this dialect can do."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.anthropic.codec import ANTHROPIC
from gatewayz.dialects.form import Target
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.openai_chat.codec import OPENAI_CHAT
from gatewayz.dialects.openai_completions.codec import OPENAI_COMPLETIONS as COMPLETIONS
from gatewayz.dialects.openai_completions.wire import NAME
from gatewayz.dialects.openai_completions.write_request import forward_request
from gatewayz.dialects.openai_responses.codec import OPENAI_RESPONSES
from gatewayz.dialects.parts import Message, Opaque, Text
from tests.unit.dialects import forms
from tests.unit.dialects.forms import maybe, words

TARGET = Target("native")
OTHERS = (OPENAI_CHAT, ANTHROPIC, OPENAI_RESPONSES)


def read(prompt: Any = "Once", **fields: Any) -> GenerationRequest:
    return COMPLETIONS.decode_request({"model": "m", "prompt": prompt, **fields})


def sent(request: GenerationRequest, target: Target = TARGET) -> Any:
    return orjson.loads(COMPLETIONS.encode_request(request, target).body)


def test_a_prompt_is_what_a_user_says_to_a_chat_model() -> None:
    request = read("Once", max_tokens=9, stop="\n", temperature=0.5)
    assert request.messages == (Message("user", (Text("Once"),)),)
    assert orjson.loads(OPENAI_CHAT.encode_request(request, TARGET).body) == {
        "model": "native",
        "messages": [{"role": "user", "content": "Once"}],
        "max_tokens": 9,
        "stop": ["\n"],
        "temperature": 0.5,
    }
    assert read(["Once"]).messages == request.messages


@pytest.mark.parametrize(
    ("prompt", "count"),
    [("a", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2)],
)
def test_every_kind_of_prompt_reaches_its_own_dialect(prompt: Any, count: int) -> None:
    request = read(prompt, n=2)
    assert request.n == 2 * count
    body = sent(request)
    assert (body["prompt"], body["n"]) == (prompt, 2)


@pytest.mark.parametrize("prompt", [None, [], 5, [1, "a"], [[]], [[1], "a"], [True], {}, [1.5]])
def test_a_prompt_of_another_kind_is_refused(prompt: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(prompt)
    assert refused.value.param == "prompt"


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"prompt": ["a", "b"]}, "prompts"),
        ({"prompt": [1, 2]}, "tokens"),
        ({"prompt": [[1], [2]]}, "tokens"),
        ({"suffix": "end"}, "suffix"),
        ({"echo": True}, "echo"),
        ({"best_of": 3}, "best_of"),
        ({"logprobs": 0}, "logprobs"),
    ],
)
def test_what_only_this_dialect_can_do_is_refused_elsewhere_by_its_name(
    fields: Any, word: str
) -> None:
    request = read(**fields)
    body = sent(request)
    for name, value in fields.items():
        assert body[name] == value
    for other in OTHERS:
        with pytest.raises(InvalidRequest, match=f"'{word}'") as refused:
            other.encode_request(request, TARGET)
        assert refused.value.param


@pytest.mark.parametrize(
    "fields", [{"suffix": ""}, {"echo": False}, {"best_of": 2, "n": 2}, {"logprobs": None}]
)
def test_what_says_nothing_is_taken_everywhere(fields: Any) -> None:
    OPENAI_CHAT.encode_request(read(**fields), TARGET)


@pytest.mark.parametrize(
    "fields",
    [
        {"best_of": 1, "n": 2},
        {"logprobs": True},
        {"logprobs": 99},
        {"max_tokens": "9"},
        {"stop": [1]},
        {"echo": 1},
        {"suffix": 1},
        {"stream_options": []},
        {"model": ""},
    ],
)
def test_a_field_that_does_not_fit_is_named(fields: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(**fields)
    assert refused.value.param in fields


def test_a_conversation_is_no_prompt() -> None:
    body: Any = {"model": "m", "messages": [{"role": "system", "content": "s"}]}
    with pytest.raises(InvalidRequest) as refused:
        COMPLETIONS.encode_request(OPENAI_CHAT.decode_request(body), TARGET)
    assert refused.value.param == "messages"
    body["messages"] = [{"role": "user", "content": "Once"}]
    body.update(stream=True, logprobs=True, top_logprobs=2)
    assert sent(OPENAI_CHAT.decode_request(body)) == {
        "model": "native",
        "prompt": "Once",
        "logprobs": 2,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    body["tools"] = [{"type": "function", "function": {"name": "f"}}]
    with pytest.raises(InvalidRequest) as refused:
        COMPLETIONS.encode_request(OPENAI_CHAT.decode_request(body), TARGET)
    assert refused.value.param == "tools"


def test_a_callers_own_body_passes_as_it_is() -> None:
    body = {
        "model": "m",
        "prompt": ["a", "b"],
        "logprobs": 1,
        "stream": True,
        "x_unknown": 1,
        "provider": {"order": ["p"]},
    }
    passed = orjson.loads(forward_request(body, COMPLETIONS.decode_request(body), TARGET).body)
    expected = {**body, "model": "native", "stream_options": {"include_usage": True}}
    del expected["provider"]
    assert passed == expected


@st.composite
def requests(draw: Any) -> GenerationRequest:
    tokens = st.lists(st.integers(0, 10**5), min_size=1, max_size=3)
    prompt, count = draw(
        st.one_of(
            words.map(lambda text: (Text(text), 1)),
            st.lists(words, min_size=2, max_size=3).map(
                lambda texts: (Opaque(NAME, {"type": "prompts", "prompts": texts}), len(texts))
            ),
            st.lists(tokens, min_size=1, max_size=3).map(
                lambda lists: (Opaque(NAME, {"type": "tokens", "tokens": lists}), len(lists))
            ),
        )
    )
    asked = {"suffix": words, "echo": st.just(True), "best_of": st.just(9)}
    asked["logprobs"] = st.integers(0, 5)
    promises = [
        Opaque(NAME, {"type": name, name: draw(values)})
        for name, values in asked.items()
        if draw(st.booleans())
    ]
    stream = draw(st.booleans())
    return GenerationRequest(
        dialect=NAME,
        model="native",
        messages=(Message("user", (prompt, *promises)),),
        max_output_tokens=draw(maybe(st.integers(1, 10**6))),
        temperature=draw(maybe(st.floats(0, 2))),
        top_p=draw(maybe(st.floats(0, 1))),
        top_k=draw(maybe(st.integers(-1, 99))),
        stop=draw(st.lists(words, max_size=3).map(tuple)),
        seed=draw(maybe(st.integers(-9, 9))),
        n=draw(st.integers(1, 3)) * count,
        presence_penalty=draw(maybe(st.floats(-2, 2))),
        frequency_penalty=draw(maybe(st.floats(-2, 2))),
        logit_bias=draw(maybe(st.just({"50256": -100}))),
        stream=stream,
        include_usage=stream,
        user=draw(maybe(words)),
        extras=draw(forms.extras),
    )


@settings(max_examples=60, deadline=None)
@given(request=requests())
def test_a_request_is_the_same_after_writing_and_reading(request: GenerationRequest) -> None:
    written = COMPLETIONS.encode_request(request, TARGET)
    assert written.dropped == ()
    assert COMPLETIONS.decode_request(orjson.loads(written.body)) == request
    for other in OTHERS:
        try:
            other.encode_request(request, TARGET)
        except InvalidRequest as error:
            assert error.param  # noqa: PT017
