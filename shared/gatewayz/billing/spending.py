"""What each account spent lately in this process: how large a step of credit it may want (D4).

Guarantees bounded memory: who spent nothing lately is forgotten, then who came first.
"""

from dataclasses import dataclass

from gatewayz.core import clock

WINDOW_S = 60.0
MAX_ACCOUNTS = 10_000


@dataclass(slots=True)
class _Spend:
    since_s: float
    nanos: int = 0
    before_nanos: int = 0


class Spending:
    def __init__(self) -> None:
        self._spends: dict[str, _Spend] = {}

    def __len__(self) -> int:
        return len(self._spends)

    def lately(self, account: str) -> int:
        """Nano-USD of the window under way and the one before it."""
        spend = self._spends.get(account)
        return spend.nanos + spend.before_nanos if spend else 0

    def add(self, account: str, nanos: int) -> None:
        now_s = clock.monotonic_s()
        spend = self._spends.get(account)
        if spend is None:
            if len(self._spends) >= MAX_ACCOUNTS:
                self._forget(now_s)
            spend = self._spends[account] = _Spend(now_s)
        elif now_s - spend.since_s > WINDOW_S:
            spend.since_s, spend.before_nanos, spend.nanos = now_s, spend.nanos, 0
        spend.nanos += nanos

    def _forget(self, now_s: float) -> None:
        """Drop who spent nothing lately; when these are too few, those that came first."""
        lately = [
            (account, spend)
            for account, spend in self._spends.items()
            if now_s - spend.since_s <= 2 * WINDOW_S
        ]
        self._spends = dict(lately[-(MAX_ACCOUNTS // 2) :])
