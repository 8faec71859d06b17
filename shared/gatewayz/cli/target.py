"""Which gateway a command is about: the environment's, else the one running from this home."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from gatewayz.core.settings import Settings, SettingsError, load_settings
from gatewayz.local.account import ACCOUNT
from gatewayz.local.environment import adopt
from gatewayz.local.errors import LocalError
from gatewayz.local.home import Home, Running
from gatewayz.stores.open import Stores, open_stores

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """`url`, `key` and `running` are known of a running local stack only."""

    settings: Settings
    url: str = ""
    key: str = ""
    running: Running | None = None

    def account(self, given: str) -> str:
        """The account named, else the local stack's own."""
        if given:
            return given
        if not self.url:
            raise LocalError("Name the account: --account NAME")
        return ACCOUNT


def find_target() -> Target:
    """LocalError when neither the environment nor this home has a gateway."""
    settings = load_settings()
    if settings.stores.database_url or settings.stores.supabase_url:
        return Target(settings)
    home = Home.of(settings)
    running = home.running()
    if running is None:
        raise LocalError(
            f"No gateway runs from {home.path}: start one (make run), or set DATABASE_URL,"
            " REDIS_URL and GATEWAYZ_KEY_PEPPER."
        )
    adopt(running.environment)
    return Target(load_settings(), running.url, home.key_file.read_text().strip(), running)


async def with_stores(target: Target, work: Callable[[Stores], Awaitable[T]]) -> T:
    """Do `work` with the target's stores, and close them."""
    try:
        stores = open_stores(target.settings)
    except SettingsError as error:
        raise LocalError(str(error)) from None
    try:
        return await work(stores)
    finally:
        await stores.close()
