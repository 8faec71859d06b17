"""A change of an account that the data plane must know of at once: its epoch, pushed (D13)."""

from gatewayz.billing.credits import Credits
from gatewayz.billing.slot import RedisAway
from gatewayz.core.log import get_log
from gatewayz.core.settings import Settings
from gatewayz.stores.open import Stores

log = get_log(__name__)


class Epochs:
    """Never raises for a Redis that is away: principals live 5 s then, and each new lease brings
    the epoch."""

    def __init__(self, stores: Stores, settings: Settings) -> None:
        self._credits = Credits(
            stores.postgres, stores.redis, lease_ttl_s=settings.credit.lease_ttl_s
        )

    async def push(self, account: str, epoch: int) -> None:
        try:
            await self._credits.push_epoch(account, epoch)
        except RedisAway:
            log.warning("epoch_not_pushed", account=account)
