"""Opens the stores that the settings name; the one place where a backend is chosen."""

from dataclasses import dataclass

from gatewayz.core.settings import Settings, check_serving
from gatewayz.stores.postgres import DirectPostgres, Postgres
from gatewayz.stores.queue import PostgresQueue, Queue
from gatewayz.stores.redis import RedisScripts, RespRedis
from gatewayz.stores.secrets import Secrets


@dataclass(frozen=True, slots=True)
class Stores:
    postgres: Postgres
    redis: RedisScripts
    queue: Queue
    secrets: Secrets

    async def close(self) -> None:
        await self.redis.close()
        await self.postgres.close()


def open_stores(settings: Settings) -> Stores:
    """Stores of this process; connects lazily. SettingsError when one is not configured."""
    check_serving(settings)
    postgres = DirectPostgres(
        settings.stores.database_url,
        timeout_s=settings.stores.rpc_timeout_ms / 1000,
        pooled=settings.pooled,
    )
    redis = RespRedis(settings.stores.redis_url, timeout_s=settings.stores.redis_timeout_ms / 1000)
    return Stores(postgres, redis, PostgresQueue(postgres), Secrets())
