"""Cache-aware affinity: which offer a conversation is pinned to, and what leaving it would cost.

A provider's prompt cache makes the beginning of a conversation cheap where it was last read.
Leaving is priced as that cache lost, before it is done. Pure; the pins stand in Redis.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from gatewayz.catalog.model import Offer
from gatewayz.core import clock
from gatewayz.pricing.price import Price
from gatewayz.routing.filters import Excluded
from gatewayz.routing.needs import Needs
from gatewayz.routing.preferences import Preferences
from gatewayz.routing.ranking import DEMOTED, OUTAGE, RESTING, TYPICAL_OUTPUT_TOKENS, Ranked

# A system prompt and a first message differ in their beginning, or the conversations are one.
MAX_HASHED_CHARS = 16_384
# Below this no provider caches, so there is nothing to lose.
MIN_CACHED_TOKENS = 1024
MAX_KEPT = 10_000


class Pin(NamedTuple):
    """Where a conversation is, and how many tokens of its beginning are cached there."""

    offer: str
    cached_tokens: int

    def written(self) -> str:
        return f"{self.offer} {self.cached_tokens}"

    @classmethod
    def read(cls, text: str) -> "Pin | None":
        offer, _, cached = text.rpartition(" ")
        return cls(offer, int(cached)) if offer and cached.isdigit() else None


class Pins:
    """The pins that this process knows; Redis has all of them."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, Pin]] = {}

    def find(self, name: str) -> Pin | None:
        kept = self._kept.get(name)
        return kept[1] if kept is not None and kept[0] > clock.monotonic_s() else None

    def keep(self, name: str, pin: Pin, life_s: float) -> None:
        if len(self._kept) >= MAX_KEPT:
            # Oldest first: dicts keep the order of insertion.
            for old in list(self._kept)[: MAX_KEPT // 10]:
                del self._kept[old]
        self._kept.pop(name, None)
        self._kept[name] = (clock.monotonic_s() + life_s, pin)


class Switch(NamedTuple):
    """Why a conversation left its offer, and what is reckoned to be lost (nano-USD)."""

    from_offer: str
    to_offer: str | None
    reason: str
    lost_nanos: int = 0


def conversation(
    account: str, model: str, body: Mapping[str, Any], session: str | None
) -> str | None:
    """The name of a request's conversation; None when it tells too little.

    What the caller names wins; else the account, the model, the first system and the first user
    message make it.
    """
    digest = hashlib.blake2s(digest_size=12)
    digest.update(f"{account}\0{model}\0".encode())
    if session is not None:
        digest.update(b"s" + session.encode("utf-8", "replace"))
        return digest.hexdigest()
    found = False
    for field in ("system", "systemInstruction", "instructions", "messages", "input", "contents"):
        value = body.get(field)
        if value is None:
            continue
        first = value if type(value) is not list or field == "system" else _beginning(value)
        if first:
            digest.update(_text_of(first))
            found = found or field in ("messages", "input", "contents")
    return digest.hexdigest() if found else None


def _beginning(messages: list[Any]) -> list[Any]:
    """The first system message and the first one that is none."""
    system = other = None
    for message in messages[:8]:
        role = message.get("role") if type(message) is dict else None
        if role in ("system", "developer"):
            system = system or message.get("content")
        elif type(message) is dict:
            other = message.get("content") or message.get("parts")
            break
    return [system, other]


def _text_of(value: Any) -> bytes:
    if type(value) is str:
        return value[:MAX_HASHED_CHARS].encode("utf-8", "surrogatepass")
    return repr(value)[:MAX_HASHED_CHARS].encode("utf-8", "surrogatepass")


def prompt_scaled(price: Price, prompt_tokens: int, cached_tokens: int) -> int:
    """What a prompt costs when its first `cached_tokens` are cached; nano-USD × 10^6."""
    cached = min(cached_tokens, prompt_tokens)
    of = price.of
    return cached * (of("cache_read") or 0) + (prompt_tokens - cached) * (of("input") or 0)


def total_scaled(offer: Offer, needs: Needs, cached_tokens: int = 0) -> int:
    """The whole request there, with a typical answer; nano-USD × 10^6."""
    price = offer.price
    assert price is not None  # filtered before
    limit = needs.max_output_tokens
    output = TYPICAL_OUTPUT_TOKENS if limit is None else min(limit, TYPICAL_OUTPUT_TOKENS)
    fixed = output * (price.of("output") or 0) + (price.of("request") or 0)
    return prompt_scaled(price, needs.prompt_tokens, cached_tokens) + fixed


def lost_nanos(pinned: Offer, needs: Needs, pin: Pin) -> int:
    """What the prompt costs more where nothing of it is cached, at the pinned offer's price."""
    assert pinned.price is not None
    whole = prompt_scaled(pinned.price, needs.prompt_tokens, 0)
    return (whole - prompt_scaled(pinned.price, needs.prompt_tokens, pin.cached_tokens)) // 10**6


def keep_pin(
    needs: Needs,
    ranked: list[Ranked],
    pin: Pin,
    preferences: Preferences,
    excluded: list[Excluded],
) -> tuple[bool, Switch | None]:
    """Puts the pinned offer first in `ranked` unless there is a reason to leave it.

    (kept, why it was left). A cheaper offer is one only when it is cheaper although it has to
    read the whole prompt anew.
    """
    place = next((i for i, r in enumerate(ranked) if r.offer.id == pin.offer), None)
    to = ranked[0].offer.id if ranked else None
    if place is None:
        reason = next((e.reason for e in excluded if e.offer == pin.offer), "offer_gone")
        return False, Switch(pin.offer, to, reason)
    pinned = ranked[place]
    lost = lost_nanos(pinned.offer, needs, pin)
    if place == 0:
        return True, None
    if preferences.order:
        return False, Switch(pin.offer, to, "order", lost)
    if ranked[0].group != pinned.group:
        # The model that was asked for is back: it comes before one that stood in for it.
        return False, Switch(pin.offer, to, "model", lost)
    if pinned.demerits & RESTING:
        return False, Switch(pin.offer, to, "breaker_open", lost)
    if pinned.demerits & OUTAGE:
        return False, Switch(pin.offer, to, "recent_outage", lost)
    if pinned.demerits & DEMOTED:
        return False, Switch(pin.offer, to, "error_rate", lost)
    best = ranked[0]
    if pinned.demerits <= max(best.demerits, 0) or pin.cached_tokens >= MIN_CACHED_TOKENS:
        stay = total_scaled(pinned.offer, needs, pin.cached_tokens)
        rivals = [r for r in ranked if r.demerits <= pinned.demerits and r is not pinned]
        cheapest = min(rivals, key=lambda r: r.price, default=None)
        if cheapest is None or stay <= cheapest.price:
            ranked.insert(0, ranked.pop(place))
            return True, None
        ranked.insert(0, ranked.pop(ranked.index(cheapest)))
        return False, Switch(pin.offer, cheapest.offer.id, "price", lost)
    return False, Switch(pin.offer, to, "demoted", lost)
