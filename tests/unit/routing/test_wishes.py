import contextlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.core.errors import InvalidRequest
from gatewayz.routing.preferences import NO_PREFERENCES, NO_WISHES, Preferences
from gatewayz.routing.wishes import read_preferences, take_wishes

BODY = {"model": "v/m", "messages": [{"role": "user", "content": "hi"}]}


def wishes(*headers: tuple[bytes, bytes], **fields: Any) -> Any:
    body = BODY | fields
    taken = take_wishes(body, headers)
    assert set(body) <= {*BODY, "session_id", "prompt_cache_key", "cache_control"}
    return taken


def test_a_request_without_wishes_costs_nothing_and_keeps_its_body() -> None:
    assert wishes() is NO_WISHES
    body = {**BODY, "temperature": 1, "tools": []}
    assert take_wishes(body, [(b"authorization", b"x")]) is NO_WISHES
    assert body == {**BODY, "temperature": 1, "tools": []}


def test_openrouters_object_is_read_in_full() -> None:
    got = wishes(
        provider={
            "order": ["anthropic", "google-vertex/us-east5"], "only": [], "ignore": ["deepinfra"],
            "allow_fallbacks": True, "require_parameters": False, "data_collection": "deny",
            "zdr": True, "enforce_distillable_text": False, "quantizations": ["fp8", "bf16"],
            "sort": {"by": "throughput", "partition": "none"},
            "preferred_min_throughput": {"p50": 50}, "preferred_max_latency": 2,
            "max_price": {"prompt": 1, "completion": "2.5", "request": 0, "image": 0.01},
        }
    ).preferences  # fmt: skip
    assert got == Preferences(
        order=("anthropic", "google-vertex/us-east5"), ignore=("deepinfra",),
        allow_fallbacks=True, require_parameters=False, deny_training=True, zdr=True,
        quantizations=frozenset({"fp8", "bf16"}), sort="throughput", partition="none",
        min_throughput={"p50": 50.0}, max_latency={"p50": 2.0},
        max_price={"input": 10**9, "output": 2_500_000_000, "request": 0, "image_in": 10**13},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "models"),
    [
        ({"models": ["a/b", "c/d", "a/b"], "route": "fallback"}, ("a/b", "c/d")),
        ({"fallbacks": ["a/b", {"model": "c/d"}]}, ("a/b", "c/d")),
        ({"providerOptions": {"gateway": {"models": ["a/b"]}, "openai": {"x": 1}}}, ("a/b",)),
        ({"models": None, "fallbacks": []}, ()),
    ],
)
def test_other_models_are_listed_in_every_spelling(
    fields: dict[str, Any], models: tuple[str, ...]
) -> None:
    assert wishes(**fields).models == models


@pytest.mark.parametrize(("theirs", "ours"), [("cost", "price"), ("tps", "throughput"),
                                              ("ttft", "latency")])  # fmt: skip
def test_an_ai_sdks_options_are_the_same_preferences(theirs: str, ours: str) -> None:
    options = {"gateway": {"order": ["a"], "only": ["a", "b"], "sort": theirs,
                           "zeroDataRetention": True, "disallowPromptTraining": True}}  # fmt: skip
    got = wishes(providerOptions=options).preferences
    assert got == Preferences(
        order=("a",), only=("a", "b"), sort=ours, zdr=True, deny_training=True  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_name_of_a_provider_puts_it_first_and_keeps_the_others() -> None:
    assert wishes(provider="groq").preferences == Preferences(order=("groq",))


def test_headers_say_what_a_body_cannot() -> None:
    got = wishes(
        (b"x-session-id", b"s1"), (b"idempotency-key", b"k-1"), (b"x-gatewayz-trace", b"1"),
        (b"x-gatewayz-coalesce", b"1"), (b"x-gatewayz-timeout", b"2.5"),
    )  # fmt: skip
    assert (got.session, got.idempotency_key, got.trace, got.coalesce, got.timeout_s) == (
        "s1", "k-1", "gatewayz_trace", True, 2.5,
    )  # fmt: skip
    assert wishes((b"x-openrouter-metadata", b"enabled")).trace == "openrouter_metadata"
    assert not wishes((b"x-openrouter-metadata", b"off"), provider="a").trace


@pytest.mark.parametrize("field", ["session_id", "prompt_cache_key"])
def test_what_names_the_conversation_stays_in_the_body(field: str) -> None:
    assert wishes(**{field: "s2"}).session == "s2"


def test_a_longer_cache_life_is_honoured() -> None:
    assert wishes(cache_control={"type": "ephemeral", "ttl": "1h"}).cache_life_s == 3600
    kept = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    short = {"name": "t", "cache_control": {"type": "ephemeral", "ttl": "5m"}}
    body = {**BODY, "system": [{"type": "text", "text": "y"}, kept], "tools": [short, 7, None]}
    assert take_wishes(dict(body), []).cache_life_s == 3600, "the longest of its beginning"
    assert take_wishes({**BODY, "tools": [short]}, []).cache_life_s == 300
    assert take_wishes({**BODY, "prompt_cache_retention": "24h"}, []).cache_life_s == 86_400
    assert take_wishes({**BODY, "system": "text", "tools": {"a": 1}}, []) is NO_WISHES


def test_other_limits_of_a_request() -> None:
    got = wishes(timeout=3, stream_continuation=True, fallback_max_price_ratio="any")
    assert (got.timeout_s, got.continuation) == (3.0, True)
    assert got.preferences.fallback_price_ratio == math.inf


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"provider": 3}, "provider"),
        ({"provider": "a b"}, "provider"),
        ({"provider": {"order": "openai"}}, "provider.order"),
        ({"provider": {"order": [1]}}, "provider.order[0]"),
        ({"provider": {"only": ["x"] * 65}}, "provider.only"),
        ({"provider": {"allow_fallbacks": 1}}, "provider.allow_fallbacks"),
        ({"provider": {"require_parameters": "yes"}}, "provider.require_parameters"),
        ({"provider": {"data_collection": "maybe"}}, "provider.data_collection"),
        ({"provider": {"zdr": "true"}}, "provider.zdr"),
        ({"provider": {"quantizations": ["fp7"]}}, "provider.quantizations"),
        ({"provider": {"sort": "speed"}}, "provider.sort"),
        ({"provider": {"sort": {"partition": "none"}}}, "provider.sort"),
        ({"provider": {"sort": {"by": "price", "partition": 1}}}, "provider.sort.partition"),
        ({"provider": {"sort": {"by": "balanced", "weights": {"x": 1}}}}, "provider.sort.weights"),
        ({"provider": {"split": {"a": 0}}}, "provider.split"),
        ({"provider": {"preferred_max_latency": {"p42": 1}}}, "provider.preferred_max_latency"),
        ({"provider": {"preferred_min_throughput": -1}}, "provider.preferred_min_throughput"),
        ({"provider": {"max_price": 3}}, "provider.max_price"),
        ({"provider": {"max_price": {"prompt": "x"}}}, "provider.max_price.prompt"),
        ({"provider": {"max_price": {"tokens": 1}}}, "provider.max_price"),
        ({"provider": {"fallback_max_price_ratio": 0.5}}, "provider.fallback_max_price_ratio"),
        ({"models": "a/b"}, "models"),
        ({"models": ["a/b", ""]}, "models[1]"),
        ({"models": ["a/b"] * 17}, "models"),
        ({"fallbacks": [{"name": "x"}]}, "fallbacks[0]"),
        ({"route": "best"}, "route"),
        ({"providerOptions": []}, "providerOptions"),
        ({"providerOptions": {"gateway": 1}}, "providerOptions.gateway"),
        ({"providerOptions": {"gateway": {"sort": "x"}}}, "providerOptions.gateway.sort"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "3"}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"stream_continuation": 1}, "stream_continuation"),
    ],
)
def test_a_wrong_preference_is_refused_by_its_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        take_wishes(BODY | fields)
    assert (refused.value.status, refused.value.param) == (400, param)


@pytest.mark.parametrize("key", [b"", b"a b", b"x" * 256, "ü".encode()])
def test_a_key_that_is_none_is_refused(key: bytes) -> None:
    with pytest.raises(InvalidRequest):
        take_wishes(dict(BODY), [(b"idempotency-key", key)])


def test_a_request_fills_from_its_keys_and_then_its_accounts_preferences() -> None:
    request = read_preferences({"sort": "price", "only": ["a", "b"], "zdr": False})
    key = read_preferences({"sort": "latency", "only": ["b", "c"], "max_price": {"prompt": 1}})
    account = read_preferences({"zdr": True, "data_collection": "deny", "ignore": ["x"]})
    got = request.over(key).over(account)
    assert (got.sort, got.only, got.max_price) == ("price", ("b",), {"input": 10**9})
    # What an account forbids, a request cannot allow.
    assert (got.zdr, got.deny_training, got.ignore) == (True, True, ("x",))
    assert read_preferences(None) is NO_PREFERENCES


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
known = st.sampled_from(
    ["order", "only", "sort", "max_price", "quantizations", "zdr", "split", "regions"]
)


@given(st.dictionaries(known, json_values), json_values, json_values)
def test_any_json_is_read_or_refused(provider: Any, models: Any, options: Any) -> None:
    body = {**BODY, "provider": provider, "models": models, "providerOptions": options}
    with contextlib.suppress(InvalidRequest):
        take_wishes(body)
