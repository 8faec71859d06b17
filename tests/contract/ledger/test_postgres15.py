"""The oldest Postgres we promise: migrations from zero and the money path on the real server."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gatewayz.local import process
from gatewayz.local.migrate import MIGRATIONS, migrate
from gatewayz.local.postgres import NOBODY
from tests.contract.ledger.conftest import Ledger

# Where Debian's package has it.
PROGRAMS = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture
def oldest() -> Iterator[str]:
    """The URL of a fresh server of that version; as root it runs as the user that owns nothing."""
    if not (PROGRAMS / "postgres").exists():
        pytest.skip(f"Postgres 15 is not installed: there is no {PROGRAMS}")
    folder = tempfile.mkdtemp(dir="/var/tmp")
    nobody: dict[str, Any] = {}
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    data = folder + "/data"
    how = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    fast = [text for name in ("fsync", "synchronous_commit") for text in ("-c", f"{name}=off")]
    where = ["-p", str(port), "-h", "127.0.0.1", "-k", ""]
    try:
        subprocess.run(
            [PROGRAMS / "initdb", "-D", data, *how],
            cwd="/", check=True, stdout=subprocess.DEVNULL, **nobody,
        )  # fmt: skip
        server = subprocess.Popen(
            [PROGRAMS / "postgres", "-D", data, *where, *fast],
            cwd="/", stderr=subprocess.DEVNULL,
            preexec_fn=process.die_with_parent(signal.SIGINT), **nobody,
        )  # fmt: skip
        pid_file = Path(data, "postmaster.pid")
        ready = lambda: pid_file.exists() and "ready" in pid_file.read_text()  # noqa: E731
        assert process.wait_until(ready, timeout_s=20)
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        process.stop(server, signal.SIGINT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def test_migrations_and_money_run_on_postgres_15(oldest: str) -> None:
    assert await migrate(oldest) == sorted(file.name for file in MIGRATIONS.glob("*.sql"))
    connection: asyncpg.Connection[Any] = await asyncpg.connect(oldest)
    try:
        version = await connection.fetchval("show server_version_num")
        assert 150000 <= int(version) < 160000
        ledger = Ledger(connection, oldest)
        await ledger.open("ann", 10**10)
        lease = (await ledger.reserve("ann", need=1000, want=5000))["lease"]
        first, second = ledger.message(700, lease=lease), ledger.message(0, outcome="empty")
        assert await ledger.settle(first, second) == ["posted", "posted"]
        assert await ledger.settle(first, second) == ["duplicate", "duplicate"]
        queued = [{"id": "m1", "body": first}]
        assert await ledger.rpc("send_messages", queue="charges", messages=queued) == {"sent": 1}
        received = await ledger.rpc("receive_messages", queue="charges", limit=10)
        assert received[0]["body"] == json.loads(json.dumps(first))
        await ledger.rpc("close_lease", lease=lease)
        balance = await ledger.balance("ann")
        assert (balance["available_nanos"], balance["charged_nanos"]) == (10**10 - 700, 700)
        await ledger.rpc("prepare_partitions")
        assert (await ledger.rpc("make_checkpoint"))["made"]
        assert await ledger.violations() == []
    finally:
        await connection.close()
