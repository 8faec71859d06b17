import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import redis

from gatewayz.core.settings import Settings
from gatewayz.local.postgres import PostgresProcess
from tests.conftest import TEMPLATE, _administer, _named


@pytest.fixture
def fresh(postgres: PostgresProcess, settings: Settings) -> Iterator[Callable[[], Settings]]:
    """Settings of empty stores, as often as a test asks."""
    made: list[str] = []
    numbers = itertools.count(1)

    def make() -> Settings:
        name = f"simulated{next(numbers)}"
        _administer(postgres.url, f"create database {name} template {TEMPLATE} strategy file_copy")
        made.append(name)
        with redis.Redis.from_url(settings.stores.redis_url) as client:
            client.flushall()
            client.script_flush()
        stores = replace(settings.stores, database_url=_named(postgres.url, name))
        return replace(settings, stores=stores)

    yield make
    _administer(postgres.url, *[f"drop database {name} with (force)" for name in made])
