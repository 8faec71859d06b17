"""A limiter within one process, for as long as Redis is away: at most 500 keys, the least lately
seen goes first. It knows nothing of other containers, therefore it grants a part of a limit.
"""

from collections import OrderedDict

from gatewayz.core import clock
from gatewayz.core.errors import RateLimited

# How much of a key's limit one container grants by itself.
SHARE = 2
MINUTE_S = 60.0
MAX_KEYS = 500
# A key that nobody used for so long starts anew.
KEEP_S = 900.0


class LocalLimits:
    """GCRA on the monotonic clock: a bucket of `limit` that refills evenly within a period."""

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self._max_keys = max_keys
        # key → (tat, seen), seconds of the monotonic clock
        self._known: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def left(self, key: str, limit: int, period_s: float) -> int:
        """How many more could be taken now."""
        ahead_s = max(0.0, self._known.get(key, (0.0, 0.0))[0] - clock.monotonic_s())
        return max(0, int((period_s - ahead_s) * limit / period_s + 1e-9))

    def take(self, key: str, limit: int, period_s: float) -> float:
        """Take one; seconds to wait when there is none, else 0."""
        now_s = clock.monotonic_s()
        tat_s, seen_s = self._known.get(key, (now_s, now_s))
        if now_s - seen_s > KEEP_S:
            tat_s = now_s
        tat_s = max(tat_s, now_s)
        ahead_s = tat_s + period_s / limit - now_s
        # Half a microsecond for what adding up fractions leaves.
        if ahead_s > period_s + 5e-7:
            self._known[key] = (tat_s, now_s)
            self._known.move_to_end(key)
            return ahead_s - period_s
        self._known[key] = (tat_s + period_s / limit, now_s)
        self._known.move_to_end(key)
        if len(self._known) > self._max_keys:
            self._known.popitem(last=False)
        return 0.0


class StandIn:
    """Rates of keys while Redis is away. Paid keys go on within a part of their rate, and as far as
    a store can vouch for their credit: this never decides that."""

    def __init__(self) -> None:
        self._local = LocalLimits()

    def take(self, key: str, per_minute: int) -> None:
        """Count one request of a key; RateLimited beyond its part."""
        part = max(1, per_minute // SHARE)
        wait_s = self._local.take(key, part, MINUTE_S)
        if wait_s > 0:
            seconds = str(max(1, -int(-wait_s // 1)))
            raise RateLimited(
                f"The limit of {part} requests a minute is reached, which holds for the moment.",
                headers={
                    "Retry-After": seconds,
                    "RateLimit-Limit": str(part),
                    "RateLimit-Remaining": "0",
                    "RateLimit-Reset": seconds,
                    "X-RateLimit-Mode": "fallback",
                },
            )
