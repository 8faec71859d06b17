"""What the planner may know of how offers and providers fare: plain data at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# An outage of the last half minute: the breaker opened, or this many failures in a row.
OUTAGE_S = 30.0
DEMOTE_ERRORS = 0.10
DEMOTE_REQUESTS = 20
Percentiles = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Health:
    """One offer or provider. Times are of the process's monotonic clock; 0 means never.

    `latency` is seconds to the first content, `throughput` output tokens per second, both
    percentile → value over the last minutes, empty without data.
    """

    open_until_s: float = 0.0  # past it half open: one request may try
    cooling_until_s: float = 0.0
    outage_at_s: float = 0.0
    hidden: bool = False
    low_credit: bool = False
    shaky: bool = False  # was demoted, and too few requests went well since
    requests: int = 0  # of the last minute
    errors: int = 0
    latency: Percentiles = field(default_factory=dict)
    throughput: Percentiles = field(default_factory=dict)
    tools_valid: float | None = None  # share of tool calls whose arguments were JSON

    @property
    def well(self) -> bool:
        """Nothing that a plan would look at."""
        return not (
            self.open_until_s or self.cooling_until_s or self.outage_at_s or self.hidden
            or self.low_credit or self.shaky or self.errors
        )  # fmt: skip

    def half_open_at(self, now_s: float) -> bool:
        return 0.0 < self.open_until_s <= now_s

    @property
    def demoted(self) -> bool:
        return self.shaky or (
            self.requests >= DEMOTE_REQUESTS and self.errors >= self.requests * DEMOTE_ERRORS
        )


HEALTHY = Health()


@dataclass(frozen=True, slots=True)
class View:
    """All that is known at `now_s`: by offer id, and by provider slug (which has no slash)."""

    now_s: float = 0.0
    entries: Mapping[str, Health] = field(default_factory=dict)


NOTHING_KNOWN = View()
