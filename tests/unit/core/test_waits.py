"""Long limits that share one timer."""

import asyncio

import pytest

from gatewayz.core import waits
from gatewayz.core.waits import Stopped, Waits


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "TICK_S", 0.005)


async def test_a_wait_ends_at_its_limit_and_others_go_on() -> None:
    limits = Waits(lambda: None)
    other = asyncio.Event()

    async def patient() -> str:
        with limits.within(60):
            await other.wait()
        return "done"

    task = asyncio.create_task(patient())
    with pytest.raises(TimeoutError), limits.within(0.01):
        await asyncio.Event().wait()
    assert not task.done()
    other.set()
    assert await task == "done"
    current = asyncio.current_task()
    assert current is not None and current.cancelling() == 0


async def test_every_wait_ends_when_the_process_stops() -> None:
    stop_at_s: list[float] = []
    limits = Waits(lambda: stop_at_s[0] if stop_at_s else None)

    async def endless() -> None:
        with limits.within():
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(endless()) for _ in range(3)]
    await asyncio.sleep(0)
    stop_at_s.append(0.0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [Stopped] * 3


async def test_a_cancellation_from_outside_stays_one() -> None:
    limits = Waits(lambda: None)

    async def endless() -> None:
        with limits.within(60):
            await asyncio.Event().wait()

    task = asyncio.create_task(endless())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_what_ends_in_time_leaves_no_timer_running() -> None:
    limits = Waits(lambda: None)
    with limits.within(60):
        await asyncio.sleep(0)
    await asyncio.sleep(0.02)
    assert limits.timer is None
