"""The stores of a benchmark: durable Postgres and Valkey, an account, a key, a settle worker.

Runs as a process of its own with the `gatewayz` of the tree it is told to measure. Prints one JSON
line when ready, then answers one JSON line for each command on standard input; ends with it.
"""

import argparse
import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ACCOUNT = "acct_bench"
CREDIT_NANOS = 10**15  # a million dollars: no run comes near it
PEPPER = "benchmark-pepper-benchmark-pepper"
CONTEXT_TOKENS = 128_000
PROVIDERS = """\
[bench-upstream]
name = "Benchmark upstream"
dialect = "openai_chat"
base_url = "http://{upstream}/v1"
credential = "BENCH_UPSTREAM_KEY"
local = true
"""
MODEL = """
[[models]]
id = "{name}"
provider = "bench-upstream"
native_id = "{name}"
input = "0.25"
output = "1.25"
context = {context}
max_output = 8192
"""


def write_providers(file: Path, upstream: str, models: list[str]) -> None:
    """The provider row of the mock upstream and a priced model for each of its names."""
    rows = [MODEL.format(name=name, context=CONTEXT_TOKENS) for name in models]
    file.write_text(PROVIDERS.format(upstream=upstream) + "".join(rows))


async def open_for_business(settings: Any) -> str:
    """An account with credit; the text of a fresh key of it."""
    from gatewayz.accounts.keys import generate_key, hash_key
    from gatewayz.core.ids import new_id
    from gatewayz.stores.open import open_stores

    stores = open_stores(settings)
    rpc = stores.postgres.rpc
    key = generate_key(settings.stage)
    await rpc("prepare_partitions", {})
    await rpc("open_account", {"account": ACCOUNT, "name": "Benchmark", "stage": "test"})
    grant = {"op_id": new_id("op_"), "account": ACCOUNT, "amount_nanos": CREDIT_NANOS}
    await rpc("grant_credit", {**grant, "reason": "benchmark"})
    await rpc(
        "create_key",
        {
            "key_id": new_id("key_"),
            "account": ACCOUNT,
            "name": "benchmark",
            "hash": hash_key(key.text.encode(), settings.keys.pepper.encode()).hex(),
            "prefix": key.prefix,
        },
    )
    await stores.close()
    return key.text


async def answer(settings: Any, command: str) -> object:
    """`depth`: the queue of charges. `check`: the books, from zero."""
    from gatewayz.billing.settlement import CHARGES
    from gatewayz.stores.open import open_stores

    stores = open_stores(settings)
    try:
        if command == "depth":
            depth = await stores.queue.depth(CHARGES)
            return {name: getattr(depth, name) for name in depth.__slots__}
        check = {"from_zero": True}
        found = await stores.postgres.rpc("check_violations", check, timeout_s=120)
        balance = await stores.postgres.rpc("get_balance", {"account": ACCOUNT})
        return {"violations": found, **balance}
    finally:
        await stores.close()


async def settle(settings: Any) -> None:
    """The settle worker, until SIGTERM."""
    from functions.settle_charges.worker import worker
    from gatewayz.core.log import configure_logging
    from gatewayz.stores.open import open_stores

    configure_logging(settings.log_level)
    stopping = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
    stores = open_stores(settings)
    await worker.run(stores, stopping)
    await stores.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=("serve", "settle"))
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--upstream", default="")
    parser.add_argument("--models", default="")
    arguments = parser.parse_args()

    from gatewayz.core.settings import load_settings

    if arguments.role == "settle":
        return asyncio.run(settle(load_settings()))
    serve(arguments.home.resolve(), arguments.upstream, arguments.models.split(","))
    return None


def serve(home: Path, upstream: str, models: list[str]) -> None:
    from gatewayz.core.settings import load_settings
    from gatewayz.local.migrate import apply_migrations
    from gatewayz.local.postgres import start_postgres
    from gatewayz.local.valkey import start_valkey

    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o755)
    postgres = start_postgres(home / "postgres", durable=True)
    valkey = start_valkey(home / "valkey", durable=True)
    worker = None
    try:
        apply_migrations(postgres.url)
        write_providers(home / "providers.toml", upstream, models)
        environ = {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": valkey.url,
            "GATEWAYZ_KEY_PEPPER": PEPPER,
            "GATEWAYZ_STAGE": "test",
            "GATEWAYZ_HOME": str(home),
            "GATEWAYZ_PROVIDERS": str(home / "providers.toml"),
            "GATEWAYZ_LOG_LEVEL": "WARNING",
            "CRON_SECRET": secrets.token_hex(16),
        }
        settings = load_settings(environ)
        key = asyncio.run(open_for_business(settings))
        worker = subprocess.Popen(
            [sys.executable, __file__, "settle", "--home", str(home)],
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        pids = {"postgres": postgres.child.pid, "valkey": valkey.child.pid, "worker": worker.pid}
        print(json.dumps({"environ": environ, "key": key, "pids": pids}), flush=True)
        for line in sys.stdin:
            print(json.dumps(asyncio.run(answer(settings, line.strip()))), flush=True)
    finally:
        if worker is not None:
            worker.terminate()
            worker.wait()
        valkey.stop()
        postgres.stop()


if __name__ == "__main__":
    main()
