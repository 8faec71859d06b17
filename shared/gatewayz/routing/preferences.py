"""What a caller, a key or an account prefers of providers: OpenRouter's `provider` object in full.

Plain data; `read_preferences` in `wishes.py` makes it from a body. An absent field is None, so
that what a request leaves open a key's and then an account's stored preferences can fill.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

Sort = Literal["price", "latency", "throughput", "balanced", "exacto"]
Partition = Literal["model", "none"]
# A percentile's name → its bound: seconds for latency, tokens per second for throughput.
Bounds = Mapping[str, float]
PERCENTILES = ("p50", "p75", "p90", "p99")
QUANTIZATIONS = frozenset(
    {
        "int4", "int8", "fp4", "mxfp4", "nvfp4", "fp6", "fp8", "mxfp8", "fp16", "bf16", "fp32",
        "unknown",
    }
)  # fmt: skip
DEFAULT_PRICE_RATIO = 2.0
DEFAULT_WEIGHTS: Mapping[str, float] = {"price": 0.4, "latency": 0.3, "throughput": 0.3}


@dataclass(frozen=True, slots=True)
class Preferences:
    """`order`, `only` and `ignore` hold slugs of providers, or slug/region, slug/quantization or
    offer ids. `max_price`: class → nano-USD per 10^6 units. `split`: slug → share of first
    attempts. `weights` are those of the balanced order."""

    order: tuple[str, ...] | None = None
    only: tuple[str, ...] | None = None
    ignore: tuple[str, ...] | None = None
    allow_fallbacks: bool | None = None
    require_parameters: bool | None = None
    deny_training: bool | None = None  # data_collection: deny
    zdr: bool | None = None
    confidential: bool | None = None
    quantizations: frozenset[str] | None = None
    regions: tuple[str, ...] | None = None
    sort: Sort | None = None
    partition: Partition | None = None
    weights: Mapping[str, float] | None = None
    split: Mapping[str, float] | None = None
    min_throughput: Bounds | None = None
    max_latency: Bounds | None = None
    max_price: Mapping[str, int] | None = None
    fallback_price_ratio: float | None = None  # inf: any price is allowed
    free_only: bool | None = None  # the request was for a :free model

    @property
    def empty(self) -> bool:
        return self == NO_PREFERENCES

    def over(self, others: "Preferences") -> "Preferences":
        """These, and where they say nothing the `others`. What narrows is never widened: a key
        that forbids training cannot be talked out of it by a request."""
        if others.empty:
            return self
        merged = {}
        for each in fields(Preferences):
            mine, theirs = getattr(self, each.name), getattr(others, each.name)
            merged[each.name] = theirs if mine is None else mine
        for name in NARROWING:
            if getattr(others, name):
                merged[name] = True
        if self.only is not None and others.only is not None:
            merged["only"] = tuple(slug for slug in self.only if slug in others.only)
        if self.ignore is not None and others.ignore is not None:
            merged["ignore"] = tuple(dict.fromkeys(self.ignore + others.ignore))
        return Preferences(**merged)


NARROWING = ("deny_training", "zdr", "confidential", "free_only")
NO_PREFERENCES = Preferences()


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a request says of its own routing. `models` are the fallbacks, without the first."""

    preferences: Preferences = NO_PREFERENCES
    models: tuple[str, ...] = ()
    session: str | None = None  # what names the conversation, if the caller does
    cache_life_s: int | None = None  # of the prompt cache the request writes, if it says so
    timeout_s: float | None = None
    idempotency_key: str | None = None
    trace: str = ""  # the field in which the answer is to tell how it was routed
    coalesce: bool = False
    continuation: bool = False
    quote_id: str | None = None  # the prices of this quote are to be used


NO_WISHES = Wishes()
