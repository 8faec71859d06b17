"""Stores for tests: one real Postgres and one real Valkey per test process, started when asked for.

Each test gets a database of its own, copied from a migrated template, and an empty Valkey.
"""

import asyncio
import itertools
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import asyncpg
import hypothesis
import pytest
import redis
from hypothesis.internal.conjecture import providers

from gatewayz.core.settings import Settings, load_settings
from gatewayz.local.migrate import migrate
from gatewayz.local.postgres import PostgresProcess, start_postgres
from gatewayz.local.valkey import ValkeyProcess, start_valkey

# How fast the machine is decides nothing here, and neither does luck: a change is judged on the
# same examples everywhere. New ones are looked for by `make explore`.
_STEADY = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("gatewayz", derandomize=True, **_STEADY)
hypothesis.settings.register_profile("explore", print_blob=True, **_STEADY)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "gatewayz")
hypothesis.settings.load_profile(PROFILE)
if PROFILE != "explore":
    # Else it also draws constants of the modules that are loaded, which are others in every run.
    providers._get_local_constants = lambda: providers._local_constants

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[1]
PEPPER = "test-pepper-test-pepper-test-pepper"
TEMPLATE = "gatewayz_template"
_numbers = itertools.count(1)


def _run(work: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine on a loop of its own, in a thread: the test's loop is not touched."""

    async def main() -> T:
        return await work()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(main())).result()


def _administer(server: str, *statements: str) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(server)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    _run(work)


def _named(server: str, database: str) -> str:
    return f"{server.rpartition('/')[0]}/{database}"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A process under test sets up logging for all of us; the next test may want to read it."""
    logger = logging.getLogger("gatewayz")
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


# A database a test is copied file by file: in memory that takes half the time of a whole run.
MEMORY = Path("/dev/shm")
MEMORY_BYTES = 2 * 1024**3


@pytest.fixture(scope="session")
def data_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the stores' files, in memory where there is room."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES:
        with tempfile.TemporaryDirectory(prefix="gatewayz-", dir=MEMORY) as folder:
            yield Path(folder)
    else:
        yield tmp_path_factory.mktemp("stores")


@pytest.fixture(scope="session")
def postgres(data_home: Path) -> Iterator[PostgresProcess]:
    """A running Postgres with a migrated template; shared by the tests of this process."""
    server = start_postgres(data_home / "postgres", durable=False)
    try:
        _administer(server.url, f"create database {TEMPLATE}")
        _run(lambda: migrate(_named(server.url, TEMPLATE)))
        yield server
    finally:
        server.stop()


@pytest.fixture
def database_url(postgres: PostgresProcess) -> Iterator[str]:
    """A fresh migrated database of the test's own."""
    name = f"t{next(_numbers)}"
    _administer(postgres.url, f"create database {name} template {TEMPLATE} strategy file_copy")
    yield _named(postgres.url, name)
    _administer(postgres.url, f"drop database {name} with (force)")


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    """A running Valkey; shared by the tests of this process."""
    server = start_valkey(tmp_path_factory.mktemp("valkey"), durable=False)
    yield server
    server.stop()


@pytest.fixture
def redis_url(valkey: ValkeyProcess) -> str:
    """A Valkey without keys and scripts."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
        client.script_flush()
    return valkey.url


@pytest.fixture
def environment(database_url: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    """The variables of a process that serves: for Settings and for subprocesses."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "GATEWAYZ_KEY_PEPPER": PEPPER,
        "GATEWAYZ_STAGE": "test",
        "GATEWAYZ_HOME": str(tmp_path / "home"),
        "CRON_SECRET": "test-cron-secret",
    }


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    return load_settings(environment)


@pytest.fixture(scope="session")
def client_python() -> str:
    """The interpreter of the environment that holds the SDKs as a caller has them."""
    separate = ROOT / ".venv-clients" / "bin" / "python"
    return str(separate) if separate.exists() else sys.executable
