"""What routing hands to a dialect and what a dialect hands back. Plain data, no behaviour."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

JsonObject = dict[str, Any]

Style = Literal["openai", "openrouter"]
StreamUsage = Literal["stream_options", "always", "none"]
# Of thoughts: nothing, their text but not the proof that a later turn needs, all of them.
Hides = Literal["", "text", "all"]

# Keys of `Target.usage`. Values are dotted paths from the answer's or chunk's root
# ("usage.cached_tokens"), for `…_outside` keys "true". Without a key the OpenAI places and their
# usual variants are tried.
USAGE_KEYS = frozenset(
    {
        "input",  # all input tokens
        "output",  # all output tokens
        "cached_input",
        "cache_write",
        "reasoning",
        "audio_in",
        "audio_out",
        "cached_outside",  # cached tokens are not inside the input count
        "cache_write_outside",
        "reasoning_outside",  # reasoning tokens are not inside the output count
        "audio_outside",  # audio tokens are not inside the input count
        "cost_usd",  # what the provider says the answer cost, in USD
        "cost_usd_ticks",  # the same in 1e-10 USD
    }
)


@dataclass(frozen=True, slots=True)
class Target:
    """One offer as a dialect sees it: its model id and how its provider differs from the norm."""

    native_id: str
    drop: frozenset[str] = frozenset()
    rename: Mapping[str, str] = field(default_factory=dict)
    clamp: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    stream_usage: StreamUsage = "stream_options"
    usage: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    provider: str = ""  # its slug, for errors
    family: str = ""  # whose thoughts its models take back; "" is the dialect's own
    quirks: frozenset[str] = frozenset()  # flags that a dialect's writer or reader implements
    max_output_tokens: int | None = None  # what the model can write at most, if known
    reasons: bool | None = None  # False: asking it to reason would be refused
    dialect: str = ""  # in which it is called; "" is its provider's main one


class UsageReport(NamedTuple):
    """What was charged, for the answer's `usage`. Token counts are those that were billed."""

    cost_nanos: int
    prompt_tokens: int
    completion_tokens: int
    upstream_cost_nanos: int | None = None
    estimated: bool = False
    provider: str = ""
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    units: Mapping[str, int] = {}  # what was billed, by class
    prompt_cost_nanos: int = 0  # of the cost, what is not for what was written
    cache_savings_nanos: int = 0  # what the cached tokens would have cost more
    byok: bool = False  # served by the caller's own provider key
