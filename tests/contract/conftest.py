from collections.abc import AsyncIterator

import pytest

from gatewayz.core.settings import load_settings
from gatewayz.stores.open import Stores, open_stores
from tests.managed import authenticator, supabase, upstash

__all__ = ["authenticator", "supabase", "upstash"]

KINDS = ["of one's own", "managed"]


@pytest.fixture(params=KINDS)
async def stores(
    request: pytest.FixtureRequest, environment: dict[str, str]
) -> AsyncIterator[Stores]:
    """The stores of a data plane, over connections of its own and over managed interfaces."""
    if request.param == "managed":
        for name in ("supabase", "upstash"):
            environment |= request.getfixturevalue(name).variables
        del environment["DATABASE_URL"], environment["REDIS_URL"]
        environment |= {"GATEWAYZ_REDIS_TIMEOUT_MS": "5000", "GATEWAYZ_RPC_TIMEOUT_MS": "10000"}
    opened = open_stores(load_settings(environment))
    yield opened
    await opened.close()
