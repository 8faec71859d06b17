"""What a client may send, and what of it a provider gets (F51–F53, F55, F58)."""

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.form import Target
from gatewayz.dialects.gateway_fields import GATEWAY_FIELDS
from gatewayz.dialects.openai_chat.request import (
    decode_request,
    encode_request,
)
from gatewayz.pricing.estimate import IMAGE_TOKENS, text_tokens

USER = {"role": "user", "content": "hello"}
TARGET = Target("native-1")


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "a/b", "messages": [USER], **fields}


def sent(target: Target = TARGET, limit: int | None = None, **fields: Any) -> dict[str, Any]:
    raw = encode_request(decode_request(body(**fields)), target, max_output_tokens=limit)
    made: dict[str, Any] = orjson.loads(raw)
    return made


def refuse(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode_request(body(**fields))
    assert caught.value.param
    assert caught.value.param.split("[")[0].split(".")[0] in fields
    assert caught.value.param in caught.value.message
    return caught.value


# ---------------------------------------------------------------- reading


def test_a_request_is_read() -> None:
    request = decode_request(
        body(stream=True, stream_options={"include_usage": True}, max_tokens=5,
             max_completion_tokens=3, n=2, user="u", session_id="s")
    )  # fmt: skip
    assert (request.model, request.stream, request.include_usage) == ("a/b", True, True)
    assert (request.max_output_tokens, request.n) == (3, 2)
    assert (request.user, request.session_id) == ("u", "s")
    plain = decode_request(body(max_tokens=None, n=None, stream=None, stream_options=None))
    assert (plain.max_output_tokens, plain.n, plain.stream) == (None, 1, False)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("value", [-1, 0, True, False, "12", 12.0, 1e3, 10**30, 2**31, [], {}])
def test_F52_a_limit_that_is_no_positive_integer_is_refused(name: str, value: Any) -> None:
    refuse(**{name: value})


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 2.1}, {"temperature": -0.1}, {"temperature": "1"}, {"temperature": True},
        {"top_p": 1.5}, {"presence_penalty": -3}, {"frequency_penalty": 3}, {"n": 0}, {"n": 1.0},
        {"n": 129}, {"n": True}, {"best_of": 0}, {"stream": 1}, {"stream": "true"},
        {"stream_options": []}, {"stream_options": {"include_usage": 1}}, {"stop": 1},
        {"stop": [1]}, {"stop": ["x"] * 17}, {"seed": 1.5}, {"seed": True}, {"logprobs": 1},
        {"top_logprobs": 21}, {"user": 1}, {"user": "x" * 513}, {"tools": {}}, {"tools": [1]},
        {"tools": [{}]}, {"tool_choice": 1}, {"response_format": "json"}, {"logit_bias": []},
        {"metadata": []}, {"session_id": 5}, {"parallel_tool_calls": "no"}, {"modalities": "text"},
        {"messages": []}, {"messages": "hi"}, {"messages": None}, {"messages": ["hi"]},
        {"messages": [{}]}, {"messages": [{"role": "root", "content": "x"}]},
        {"messages": [{"role": ["user"], "content": "x"}]},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "user", "content": {"type": "text"}}]},
        {"messages": [{"role": "user", "content": ["x"]}]},
        {"messages": [{"role": "user", "content": [{"text": "x"}]}]},
        {"model": ""}, {"model": None}, {"model": 5},
    ],
)  # fmt: skip
def test_F52_known_fields_are_checked_and_never_coerced(fields: dict[str, Any]) -> None:
    refuse(**fields)


def test_valid_fields_pass() -> None:
    decode_request(
        body(temperature=2, top_p=0, presence_penalty=-2, frequency_penalty=2.0, n=128, stop="x",
             seed=-5, logprobs=True, top_logprobs=20, tools=[{"type": "function"}],
             tool_choice="auto", response_format={"type": "text"}, metadata={}, unknown=[1])
    )  # fmt: skip
    for content in (None, "", [], [{"type": "text", "text": "x"}, {"type": "odd"}]):
        decode_request(body(messages=[{"role": "assistant", "content": content}]))
    decode_request(body(messages=[{"role": "tool", "tool_call_id": "x", "content": "1"}]))


NAMES = ["max_tokens", "n", "temperature", "stop", "stream", "tools", "user", "seed", "messages",
         "stream_options", "response_format", "model"]  # fmt: skip
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats()
values = st.recursive(
    scalars | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(NAMES), values, max_size=4))
def test_F52_nothing_a_client_sends_raises_anything_but_a_refusal(fields: dict[str, Any]) -> None:
    try:
        request = decode_request(body(**fields))
    except InvalidRequest:
        return
    assert request.max_output_tokens is None or request.max_output_tokens >= 1
    assert request.n >= 1 and request.prompt_tokens_estimate > 0


# ---------------------------------------------------------------- size


def tokens(*messages: dict[str, Any], **fields: Any) -> int:
    return decode_request(body(messages=list(messages), **fields)).prompt_tokens_estimate


def test_F53_text_images_audio_files_and_tools_all_weigh() -> None:
    plain = tokens(USER)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 90_000}}
    assert tokens({"role": "user", "content": [image]}) - plain < 2 * IMAGE_TOKENS
    assert tokens({"role": "user", "content": [image] * 3}) > 3 * IMAGE_TOKENS
    sound = {"data": base64.b64encode(bytes(160_000)).decode(), "format": "wav"}
    assert (
        tokens({"role": "user", "content": [{"type": "input_audio", "input_audio": sound}]}) > 1000
    )
    file = {"type": "file", "file": {"file_data": "A" * 400_000, "filename": "x.pdf"}}
    assert tokens({"role": "user", "content": [file]}) > 30_000
    tool = {"type": "function", "function": {"name": "f", "description": "does things " * 50}}
    assert tokens(USER, tools=[tool]) > plain + 100
    call = {"id": "c", "function": {"name": "f", "arguments": "x y z " * 50}}
    assert tokens({"role": "assistant", "tool_calls": [call]}) > plain + 50
    schema = {"type": "json_schema", "json_schema": {"schema": {"a": "b" * 400}}}
    assert tokens(USER, response_format=schema) > plain + 50


@given(st.lists(st.text(max_size=50), min_size=1, max_size=5))
def test_F55_the_estimate_is_never_below_its_texts(texts: list[str]) -> None:
    messages = [{"role": "user", "content": text} for text in texts]
    assert tokens(*messages) > sum(map(text_tokens, texts))
    parts = [{"type": "text", "text": text} for text in texts]
    assert tokens({"role": "user", "content": parts}) > sum(map(text_tokens, texts))


# ---------------------------------------------------------------- writing


def test_only_the_model_changes_and_unknown_fields_travel() -> None:
    assert sent(odd={"a": 1}, temperature=0.5) == {
        "model": "native-1", "messages": [USER], "odd": {"a": 1}, "temperature": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(GATEWAY_FIELDS))
def test_F58_fields_that_steer_or_belong_to_a_gateway_are_not_sent(name: str) -> None:
    typed = {"session_id": "s", "plugins": [], "transforms": []}
    value = typed.get(name, {"url": "http://169.254.169.254/"})
    assert name not in sent(**{name: value})


def test_F58_fields_of_other_gateways_credentials_are_not_sent() -> None:
    made = sent(aws_access_key_id="x", vertex_project="x", azure_ad_token="x", litellm_params={})
    assert set(made) == {"model", "messages"}


def test_the_clients_body_is_not_changed_by_writing_it() -> None:
    original = body(stream=True, max_tokens=5, temperature=9 / 5, seed=7)
    before = orjson.dumps(original)
    target = Target("n", drop=frozenset({"seed"}), rename={"max_tokens": "m"},
                    clamp={"temperature": (0, 1)})  # fmt: skip
    encode_request(decode_request(original), target, max_output_tokens=3)
    assert orjson.dumps(original) == before


def test_drop_rename_and_clamp_are_applied() -> None:
    target = Target(
        "n",
        drop=frozenset({"logit_bias"}),
        rename={"max_completion_tokens": "max_tokens", "seed": "random_seed"},
        clamp={"temperature": (0.0, 1.0), "top_p": (0.1, 1.0)},
    )
    made = sent(target, max_completion_tokens=9, seed=1, temperature=2, top_p=0, logit_bias={})
    assert made["max_tokens"] == 9 and made["random_seed"] == 1
    assert made["temperature"] == 1.0 and made["top_p"] == 0.1
    assert not {"logit_bias", "seed", "max_completion_tokens"} & set(made)


def test_the_output_limit_goes_where_the_client_put_it() -> None:
    assert sent(max_tokens=9)["max_tokens"] == 9
    assert sent(max_completion_tokens=9, limit=4) | {"messages": 0} == {
        "model": "native-1", "messages": 0, "max_completion_tokens": 4}  # fmt: skip
    assert sent(limit=7)["max_tokens"] == 7
    both = sent(max_tokens=9, max_completion_tokens=5)
    assert both["max_completion_tokens"] == 5 and "max_tokens" not in both
    assert "max_tokens" not in sent(max_tokens=None)
    renaming = Target("n", rename={"max_tokens": "max_completion_tokens"})
    assert sent(renaming, limit=7)["max_completion_tokens"] == 7


def test_usage_is_always_asked_of_streams_where_the_provider_knows_the_option() -> None:
    assert sent(stream=True)["stream_options"] == {"include_usage": True}
    other = {"include_usage": False, "include_obfuscation": False}
    assert sent(stream=True, stream_options=other)["stream_options"] == {
        "include_usage": True, "include_obfuscation": False}  # fmt: skip
    for kind in ("always", "none"):
        assert "stream_options" not in sent(Target("n", stream_usage=kind), stream=True)
    assert "stream_options" not in sent(stream_options=other)
