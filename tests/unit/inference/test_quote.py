"""A quote reads a body of any dialect, adds up exactly, and promises nothing it cannot keep."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.accounts.principals import Principal
from gatewayz.catalog.model import Known, Offer
from gatewayz.core.errors import InvalidRequest, StoreUnavailable
from gatewayz.inference.pinned import (
    at_pinned,
    find_pinned,
    is_quote_id,
    new_quote_id,
    pin_prices,
)
from gatewayz.inference.quote import Quote, expected_nanos, make_quote, maximum_nanos, show_quote
from gatewayz.inference.quoted import detect_dialect, dialect_named, read_asked
from gatewayz.pricing.price import Price
from gatewayz.routing.filters import REASONS
from gatewayz.stores.redis import RedisScripts
from tests.unit.catalog.views.shop import CATALOG, PROVIDERS, TIERED

NOBODY = cast("Principal", SimpleNamespace(routing=None))
HELLO: dict[str, Any] = {"role": "user", "content": "hello"}


def known(name: str, *variants: str) -> Known:
    return Known(
        cast("Any", CATALOG.find(name)), CATALOG.offers(name), CATALOG.servable(name), variants
    )


def quoted(body: dict[str, Any], *groups: Known, **more: Any) -> Quote:
    asked, _ = read_asked(body, [], principal=NOBODY, **more)
    return make_quote(asked, groups, PROVIDERS, at_ms=1_800_000_000_000)


@pytest.mark.parametrize(
    ("body", "dialect"),
    [
        ({"messages": [HELLO]}, "openai_chat"),
        ({"messages": [HELLO], "tools": [{"type": "function"}]}, "openai_chat"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "openai_chat"),
        ({"messages": [HELLO], "system": "x"}, "anthropic"),
        ({"messages": [HELLO], "stop_sequences": ["x"]}, "anthropic"),
        ({"messages": [HELLO], "thinking": {"type": "enabled"}}, "anthropic"),
        ({"messages": [HELLO], "tools": [{"name": "f", "input_schema": {}}]}, "anthropic"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "anthropic"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "anthropic"),
        ({"input": "x"}, "openai_responses"),
        ({"prompt": "x"}, "openai_completions"),
        ({"contents": []}, "google"),
        ({"generationConfig": {}}, "google"),
        ({"messages": None}, "openai_chat"),
        ({"messages": [7], "tools": "x"}, "openai_chat"),
    ],
)
def test_a_dialect_is_told_by_the_shape_of_the_body(body: dict[str, Any], dialect: str) -> None:
    assert detect_dialect(body) == dialect


def test_a_header_tells_messages_from_chat_and_nothing_tells_nothing() -> None:
    header = [(b"anthropic-version", b"2023-06-01")]
    assert detect_dialect({"messages": [HELLO]}, header) == "anthropic"
    with pytest.raises(InvalidRequest, match="none of our dialects"):
        detect_dialect({"model": "x"})


@pytest.mark.parametrize(
    ("word", "dialect"),
    [
        ("messages", "anthropic"), ("/v1/messages", "anthropic"), ("Anthropic", "anthropic"),
        ("/v1/chat/completions", "openai_chat"), ("responses", "openai_responses"),
        ("generateContent", "google"), ("openai_chat", "openai_chat"),
    ],
)  # fmt: skip
def test_a_dialect_may_be_named_by_its_route(word: str, dialect: str) -> None:
    assert dialect_named(word) == dialect


def test_every_reason_of_a_quote_is_in_the_vocabulary() -> None:
    made = quoted(
        {"model": "acme/big", "messages": [HELLO], "provider": {"only": ["second"]}},
        known("acme/big"), known("vault/quiet"), known("vault/unpriced"),
    )  # fmt: skip
    found = {each.offer: each.reason for each in made.plan.excluded}
    assert found == {
        "first/acme/big": "only",
        "third/vault/quiet": "not_configured",
        "first/vault/unpriced": "no_price",
    }
    assert set(found.values()) <= REASONS.keys()
    shown = show_quote(made, PROVIDERS, pinned=False)
    assert (shown["quote_id"], shown["expires_at"]) == (None, None)
    assert [each["offer"] for each in shown["candidates"]] == ["second/acme/big"]


def test_what_a_model_cannot_read_is_a_reason_too() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}
    body = {"model": "acme/small", "messages": [{"role": "user", "content": [picture]}]}
    made = quoted(body, known("acme/small"))
    assert made.offers == ()
    assert [each.reason for each in made.plan.excluded] == ["unfit"]


def test_a_long_prompt_is_quoted_at_its_tier() -> None:
    short = quoted({"model": "acme/big", "messages": [HELLO], "max_tokens": 10}, known("acme/big"))
    long = quoted(
        {"model": "acme/big", "messages": [{"role": "user", "content": "word " * 300_000}],
         "max_tokens": 10},
        known("acme/big"),
    )  # fmt: skip
    offer = CATALOG.offers("acme/big")[0]
    assert offer.price is TIERED
    for made, rate in ((short, 10**9), (long, 2 * 10**9)):
        tokens = made.asked.sized.prompt_tokens
        most = maximum_nanos(offer, made.asked)
        assert most == -(
            -(tokens * rate + 10 * (4 * 10**9 if made is short else 6 * 10**9)) // 10**6
        )


@given(
    prompt=st.text(max_size=200),
    limit=st.integers(1, 100_000),
    guess=st.integers(0, 200_000),
    n=st.integers(1, 4),
)
def test_the_expected_price_is_never_above_the_maximum(
    prompt: str, limit: int, guess: int, n: int
) -> None:
    made = quoted(
        {"model": "acme/big", "messages": [{"role": "user", "content": prompt}],
         "max_tokens": limit, "n": n},
        known("acme/big"),
        expected_output_tokens=guess,
    )  # fmt: skip
    for offer in made.offers:
        assert 0 <= expected_nanos(offer, made.asked) <= maximum_nanos(offer, made.asked)


# ---------------------------------------------------------------- pinned prices


class Memory:
    """Redis as far as a quote uses it."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    async def script(self, name: str, keys: Any, args: Any) -> Any:
        assert name == "quote_v1"
        if args[0] == "get":
            return self.values.get(keys[0], "")
        assert args[1] == 60_000
        self.values[keys[0]] = args[2]
        return "OK"


class Away:
    async def script(self, name: str, keys: Any, args: Any) -> Any:
        raise StoreUnavailable("Redis cannot be reached.")


async def test_pinned_prices_come_back_as_they_were_tiers_too() -> None:
    redis = cast("RedisScripts", Memory())
    quote_id = new_quote_id(1)
    offers = CATALOG.offers("acme/big")
    assert await pin_prices(redis, "acct_1", quote_id, offers)
    prices = await find_pinned(redis, "acct_1", quote_id)
    assert prices == {offer.id: offer.price for offer in offers}
    assert prices["first/acme/big"].at(300_000).of("input") == 2 * 10**9
    assert await find_pinned(redis, "acct_2", quote_id) == {}


async def test_only_an_offer_that_was_quoted_and_changed_gets_another_price() -> None:
    first, second = CATALOG.offers("acme/big")
    before = Price("p-before", {"input": 1, "output": 1})
    changed = at_pinned((first, second), {first.id: before, "else": before})
    assert changed[0].price is before
    assert changed[1] is second
    assert first.price is not None
    assert at_pinned((first,), {first.id: first.price})[0] is first
    unpriced = Offer("a/b", "a", "a", "b", None)
    assert at_pinned((unpriced,), {"a/b": before}) == (unpriced,)


async def test_without_redis_nothing_is_promised_and_nothing_fails() -> None:
    redis = cast("RedisScripts", Away())
    assert not await pin_prices(redis, "acct_1", new_quote_id(1), CATALOG.offers("acme/big"))
    assert await find_pinned(redis, "acct_1", new_quote_id(1)) == {}


@pytest.mark.parametrize("text", ["", "quote_", "q" * 32, "quote_" + "é" * 26, "quote_" + "!" * 26])
def test_an_id_that_is_none_of_ours_is_never_looked_up(text: str) -> None:
    assert not is_quote_id(text)
    assert is_quote_id(new_quote_id(1))
