"""Where Stripe's events are worked on, and what becomes of one."""

from dataclasses import dataclass
from typing import Any

from stripe import StripeClient

from gatewayz.billing.slot import RedisAway, call_admit
from gatewayz.core.billing_settings import BillingSettings
from gatewayz.core.log import get_log
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.redis import RedisScripts

log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class Desk:
    """Stripe's API, our ledger, our terms; `redis` to tell the data plane at once."""

    client: StripeClient
    postgres: Postgres
    settings: BillingSettings
    redis: RedisScripts | None = None

    async def tell(self, account: str) -> None:
        """What processes know of the account is old from now on (D13). Never raises Redis' outage:
        the next lease tells them."""
        if self.redis is None:
            return
        row = await self.postgres.rpc("find_epoch", {"account": account})
        try:
            await call_admit(self.redis, account, "epoch", row["epoch"])
        except RedisAway:
            log.warning("epoch_not_pushed", account=account)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`applied`, or `ignored`; `detail` says why or how."""

    status: str
    detail: str | None = None


def id_of(held: Any) -> str | None:
    """The id of what may be an id or, expanded, the object itself."""
    if held is None or isinstance(held, str):
        return held
    return str(held["id"] if isinstance(held, dict) else held.id)
