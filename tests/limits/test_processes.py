"""Two processes on one Redis, and machines whose clocks are wrong: one limit, exactly."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gatewayz.accounts.limits_address import Rule, count
from gatewayz.billing.credits import Ask, Credits
from gatewayz.billing.refusals import LimitReached
from gatewayz.core import clock
from gatewayz.core.ids import new_request_id
from gatewayz.core.money import NANOS_PER_USD as USD
from gatewayz.core.settings import Settings
from gatewayz.stores.open import Stores, open_stores
from tests.conftest import ROOT

A = "acct_a"
LINES = "rm 40 - requests:key:1\nrD 30 - requests:key:1\nrc 25 - key1"

PROCESS = """
import asyncio, sys
from gatewayz.billing.credits import Ask, Credits
from gatewayz.billing.refusals import LimitReached
from gatewayz.core.ids import new_request_id
from gatewayz.core.settings import load_settings
from gatewayz.stores.open import open_stores

async def main():
    stores = open_stores(load_settings())
    credits = Credits(stores.postgres, stores.redis, lease_ttl_s=2400)
    sys.stdin.readline()

    async def one():
        ask = Ask(new_request_id(), "acct_a", 1, 1000, 60.0, "{}", lines=sys.argv[1])
        try:
            await credits.admit(ask)
        except LimitReached:
            return 0
        return 1

    print(sum(await asyncio.gather(*(one() for _ in range(30)))), flush=True)
    await credits.finish_background()
    await stores.close()

asyncio.run(main())
"""


async def _open(stores: Stores) -> None:
    rpc = stores.postgres.rpc
    await rpc("open_account", {"account": A, "name": A, "stage": "test"})
    await rpc("grant_credit", {"op_id": "g", "account": A, "amount_nanos": USD, "reason": "x"})


async def test_two_processes_share_one_limit(
    settings: Settings, environment: dict[str, str]
) -> None:
    stores = open_stores(settings)
    await _open(stores)
    await stores.close()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, LINES], cwd=ROOT, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment | {"PYTHONPATH": str(ROOT / "shared")},
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    served = [int((await asyncio.to_thread(process.communicate))[0]) for process in processes]
    assert sum(served) == 25, served
    assert [process.returncode for process in processes] == [0, 0]


@contextmanager
def skewed(minutes: int) -> Iterator[None]:
    class Wrong(clock.SystemClock):
        def now_ms(self) -> int:
            return time.time_ns() // 1_000_000 + minutes * 60_000

        def monotonic_s(self) -> float:
            return time.monotonic() + minutes * 60

    before = clock.use(Wrong())
    try:
        yield
    finally:
        clock.use(before)


@pytest.mark.parametrize("minutes", [10, -10])
async def test_the_clock_of_a_process_decides_nothing(settings: Settings, minutes: int) -> None:
    stores = open_stores(settings)
    await _open(stores)
    right, wrong = (
        Credits(stores.postgres, stores.redis, lease_ttl_s=2400),
        Credits(stores.postgres, stores.redis, lease_ttl_s=2400),
    )

    async def one(credits: Credits) -> bool:
        lines = "rm 6 - requests:key:1\nrD 9 - requests:key:1\nnD 5000 - key:1:daily"
        ask = Ask(new_request_id(), A, 1, 1000, 60.0, "{}", lines=lines)
        try:
            hold = await credits.admit(ask)
        except LimitReached:
            return False
        labels.add(hold.scopes)
        await credits.finish(hold, 10)
        return True

    labels: set[object] = set()
    served = 0
    for number in range(12):
        if number % 2:
            with skewed(minutes):
                served += await one(wrong)
        else:
            served += await one(right)
    assert served == 6
    assert len(labels) == 1
    rule = Rule("address", 5, 60, "rate")
    allowed = 0
    for number in range(10):
        with skewed(minutes if number % 2 else 0):
            allowed += (await count(stores.redis, rule, "192.0.2.1")).allowed
    assert allowed == 5
    await right.finish_background()
    await wrong.finish_background()
    await stores.close()
