from typing import Any

import pytest

from gatewayz.routing.needs import Needs
from gatewayz.routing.pins import Pin, conversation
from gatewayz.routing.plan import Plan, plan
from gatewayz.routing.preferences import Preferences
from gatewayz.routing.view import Health, View
from tests.unit.routing.offers import group, offer

NEEDS = Needs(20_000)
DEAR = offer("dear", 2, cached=0.2)
PIN = Pin("dear/m", 19_000)


def made(*others: Any, pin: Pin = PIN, health: Any = None, **wanted: Any) -> Plan:
    view = View(1000.0, health or {})
    groups = (group(DEAR, *others),)
    return plan(NEEDS, groups, preferences=Preferences(**wanted), view=view, pin=pin)


def test_a_conversation_stays_where_its_beginning_is_cached() -> None:
    got = made(offer("cheap", 1.5), sort="price")
    assert (got.offers[0].provider, got.sticky, got.strategy) == ("dear", True, "sticky")
    assert got.switch is None


def test_it_leaves_for_what_is_cheaper_even_with_the_whole_prompt_read_anew() -> None:
    # Staying: 19,000 × 0.2 + 1,000 × 2 + 400 × 6 = 8,200. Leaving: 20,000 × 0.1 + 400 × 0.3.
    got = made(offer("bargain", 0.1), sort="price")
    assert got.offers[0].provider == "bargain" and not got.sticky
    assert got.switch is not None
    assert (got.switch.reason, got.switch.from_offer) == ("price", "dear/m")
    # What is lost is the discount on the cached part: 19,000 × 1.8 micro-dollars.
    assert got.switch.lost_nanos == 19_000 * 1800


@pytest.mark.parametrize(
    ("health", "reason"),
    [
        ({"dear/m": Health(open_until_s=1010.0)}, "breaker_open"),
        ({"dear": Health(open_until_s=1010.0)}, "breaker_open"),
        ({"dear/m": Health(cooling_until_s=1010.0)}, "cooling_down"),
        ({"dear/m": Health(outage_at_s=990.0)}, "recent_outage"),
        ({"dear/m": Health(requests=20, errors=5)}, "error_rate"),
    ],
)
def test_it_leaves_an_offer_that_fails_and_says_why(health: dict[str, Health], reason: str) -> None:
    got = made(offer("other", 2), health=health)
    assert got.offers[0].provider == "other"
    assert got.switch is not None and got.switch.reason == reason


def test_it_leaves_when_the_request_says_where_to_go() -> None:
    got = made(offer("other", 2), order=("other",))
    assert got.switch is not None and got.switch.reason == "order"
    excluded = made(offer("other", 2), ignore=("dear",))
    assert excluded.switch is not None and excluded.switch.reason == "ignore"


def test_an_offer_that_is_gone_is_left() -> None:
    got = plan(NEEDS, (group(offer("other", 2)),), pin=PIN)
    assert got.switch is not None and got.switch.reason == "offer_gone"


# ------------------------------------------------------------------ which conversation

CHAT = [{"role": "system", "content": "S"}, {"role": "user", "content": "first"}]


def name(account: str = "a", model: str = "m", session: str | None = None, **body: Any) -> Any:
    return conversation(account, model, body, session)


def test_a_conversation_is_its_beginning() -> None:
    later = [*CHAT, {"role": "assistant", "content": "x"}, {"role": "user", "content": "next"}]
    assert name(messages=CHAT) == name(messages=later)
    assert name(messages=CHAT) != name(messages=[CHAT[0], {"role": "user", "content": "other"}])
    assert name(messages=CHAT) != name(messages=[{"role": "system", "content": "T"}, CHAT[1]])
    assert name(messages=CHAT) != name(account="b", messages=CHAT)
    assert name(messages=CHAT) != name(model="n", messages=CHAT)


def test_what_the_caller_calls_it_wins() -> None:
    assert name(session="s", messages=CHAT) == name(session="s", messages=[])
    assert name(session="s", messages=CHAT) != name(session="t", messages=CHAT)
    assert name(session="s") != name(account="b", session="s")


@pytest.mark.parametrize(
    "body",
    [
        {"system": "S", "messages": [CHAT[1]]},
        {"instructions": "S", "input": "first"},
        {"systemInstruction": {"parts": [{"text": "S"}]},
         "contents": [{"role": "user", "parts": [{"text": "first"}]}]},
    ],
)  # fmt: skip
def test_every_dialect_has_its_beginning(body: dict[str, Any]) -> None:
    assert name(**body) is not None
    assert name(**body) == name(**body)
    assert name() is None
