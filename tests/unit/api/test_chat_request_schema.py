"""The schema of the API document and the checks of the hot path agree on every body (D46)."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from gatewayz.api.openapi import build_document
from gatewayz.api.schemas.chat_request import ChatRequest
from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.openai_chat.request import _CHECKS, decode_request

ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2, 20, 21, 128, 129, 2**31 - 1, 2**31, 2**63 - 1, -(2**63),
    0.0, 0.5, 1.0, 12.0, 2.0, 2.5, -2.0, -2.1, 10.5, 1e300, "", "auto", "default", "flex", "x" * 64,
    "x" * 65, "x" * 256, "x" * 257, "é" * 512, "x" * 513, [], {}, [1], ["a"],
    ["a"] * 16, ["a"] * 17, [None], [{}], [{"type": "function"}], [{"type": 1}], {"type": "auto"},
    {"include_usage": True}, {"include_usage": None}, {"include_usage": 1},
    {"include_usage": "yes"},
]  # fmt: skip
FIELDS = sorted({*_CHECKS, *ChatRequest.model_fields, "future", "provider"} - {"model", "messages"})
text = st.text(st.characters(codec="utf-8"), max_size=8)
parts = st.lists(
    st.one_of(
        st.fixed_dictionaries({"type": st.sampled_from(["text", "image_url", 1, None])}),
        st.sampled_from([{}, None, "text", {"text": "x"}]),
    ),
    max_size=2,
)
messages = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {
                "role": st.sampled_from(
                    ["user", "assistant", "tool", "function", "System", "", None, 1]
                )
            },
            optional={"content": st.one_of(text, parts, st.sampled_from([None, 1, {}, False]))},
        ),
        st.sampled_from([{"role": "user", "content": "hello", "name": 1}, {}, None, "hello", []]),
    ),
    max_size=3,
)
plain = st.just([{"role": "user", "content": "hello"}])
bodies = st.fixed_dictionaries(
    {
        "model": st.one_of(
            st.just("a/b"), st.just("a/b"), text, st.sampled_from([None, 1, [], ""])
        ),
        "messages": st.one_of(plain, plain, messages, st.sampled_from([None, {}, "hello", []])),
    }
)
SCHEMA = {"$ref": "#/components/schemas/ChatRequest", "components": build_document()["components"]}
VALIDATOR = Draft202012Validator(SCHEMA)


def hot_path_takes(body: dict[str, Any]) -> bool:
    try:
        decode_request(body)
    except InvalidRequest:
        return False
    return True


def model_takes(body: dict[str, Any]) -> bool:
    try:
        ChatRequest.model_validate(body)
    except ValidationError:
        return False
    return True


def judge(body: dict[str, Any]) -> None:
    taken = hot_path_takes(body)
    assert model_takes(body) == taken, body
    if not any(isinstance(value, float) and value.is_integer() for value in body.values()):
        # JSON Schema knows no difference between 12 and 12.0; everybody else does.
        assert VALIDATOR.is_valid(body) == taken, body


@given(bodies, st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(ODD), max_size=3))
@settings(max_examples=300, deadline=None)
def test_schema_and_hot_path_agree(body: dict[str, Any], fields: dict[str, Any]) -> None:
    judge({**body, **fields})


def test_they_agree_on_every_field_with_every_odd_value() -> None:
    for field in FIELDS:
        for value in ODD:
            body = {"model": "a/b", "messages": [{"role": "user", "content": "x"}], field: value}
            taken = hot_path_takes(body)
            assert model_takes(body) == taken, (field, value)


def test_every_field_that_is_checked_is_described() -> None:
    assert _CHECKS.keys() <= ChatRequest.model_fields.keys()
