import pytest

from gatewayz.catalog.model import Offer
from gatewayz.core.errors import InvalidRequest
from gatewayz.pricing.price import Price
from gatewayz.routing.plan import plan


def offer(name: str, context: int | None) -> Offer:
    price = Price("v", {"input": 1, "output": 1})
    return Offer(name, "vendor/model", "p", name, price, context_tokens=context)


def test_offers_keep_the_catalogs_order_and_are_at_most_three() -> None:
    offers = tuple(offer(name, 1000) for name in "abcde")
    assert [o.id for o in plan(offers, prompt_tokens=10)] == ["a", "b", "c"]


def test_offers_too_small_for_the_prompt_are_left_out() -> None:
    offers = (offer("small", 100), offer("large", 1000), offer("unknown", None))
    assert [o.id for o in plan(offers, prompt_tokens=500)] == ["large", "unknown"]


def test_a_prompt_that_may_fit_is_tried_because_the_estimate_errs_upwards() -> None:
    offers = (offer("small", 100), offer("large", 1000))
    assert [o.id for o in plan(offers, prompt_tokens=2000)] == ["large"]


def test_a_prompt_that_cannot_fit_is_the_callers_to_shorten() -> None:
    with pytest.raises(InvalidRequest) as refused:
        plan((offer("a", 1000),), prompt_tokens=3003)
    assert refused.value.code == "context_length_exceeded"
