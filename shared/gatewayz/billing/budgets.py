"""What Redis counts of an account's budgets, brought up to what Postgres knows.

Guarantees that what was spent through private leases while Redis was away counts before Redis
judges that account again. Nothing that Redis counts is ever lowered.
"""

from gatewayz.billing.slot import call_admit
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.redis import RedisScripts


async def load_budgets(postgres: Postgres, redis: RedisScripts, account: str) -> None:
    """For a Redis that has none of them: the first loader writes. RedisAway, GatewayError."""
    await call_admit(redis, account, "load", *await _used(postgres, account))


async def raise_budgets(postgres: Postgres, redis: RedisScripts, account: str) -> None:
    """For a Redis that missed some of what was spent. RedisAway, before Postgres is asked."""
    await call_admit(redis, account, "raise")
    await call_admit(redis, account, "raise", *await _used(postgres, account))


async def _used(postgres: Postgres, account: str) -> list[str | int]:
    """field, nano-USD or count, and so on: of the periods under way."""
    rows = await postgres.rpc("load_budgets", {"account": account})
    return [part for row in rows for part in row]


class Apart:
    """Accounts that this process served past Redis, which has yet to hear of it."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}

    def note(self, account: str, *, limited: bool) -> None:
        """A private lease of the account was asked for, whatever came of it."""
        if limited:
            self._times[account] = self._times.get(account, 0) + 1

    def __contains__(self, account: str) -> bool:
        return account in self._times

    async def catch_up(self, postgres: Postgres, redis: RedisScripts, account: str) -> None:
        """Before the account is admitted by Redis. RedisAway, GatewayError: still to be done."""
        times = self._times.get(account)
        await raise_budgets(postgres, redis, account)
        # What was noted meanwhile may not have been read.
        if self._times.get(account) == times:
            self._times.pop(account, None)
