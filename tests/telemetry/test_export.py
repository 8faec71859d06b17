"""A collector that is away, slow or refuses costs requests nothing, and memory is bounded."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gatewayz.core.settings import Settings, SettingsError
from gatewayz.net.http import HttpClient
from gatewayz.telemetry import export
from gatewayz.telemetry.collector import open_exporter, read_headers
from gatewayz.telemetry.export import Exporter
from gatewayz.telemetry.trace import Tracer
from tests.telemetry.conftest import Collector
from tests.world import World


def exporter(url: str) -> Exporter:
    return Exporter(HttpClient(connect_timeout_s=0.2), url, {}, b"".join, media="text/plain")


class TestAway:
    """Nobody listens at the collector's address."""

    @pytest.fixture
    def telemetry(self) -> dict[str, Any]:
        return {}

    @pytest.fixture
    def collector(self) -> Collector:
        return Collector(url="http://127.0.0.1:9")  # the discard port: refused

    @pytest.mark.parametrize("stream", [False, True])
    async def test_every_request_is_served_and_settled(
        self, world: World, collector: Collector, stream: bool
    ) -> None:
        account = await world.account()
        answers = await asyncio.gather(*(world.post(account, stream=stream) for _ in range(20)))
        assert [answer.status_code for answer in answers] == [200] * 20
        await world.settle()
        assert len(await world.requests(account)) == 20
        assert await world.violations() == []


async def test_a_collector_that_hangs_is_waited_for_by_nobody(
    world: World, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In lock-step: the collector answers only when the requests have theirs."""
    held = asyncio.Event()
    entered = asyncio.Event()
    take = Collector.__call__
    loop = asyncio.get_running_loop()

    async def hang(self: Collector, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            loop.call_soon_threadsafe(entered.set)
            while not held.is_set():
                await asyncio.sleep(0.01)
        await take(self, scope, receive, send)

    monkeypatch.setattr(Collector, "__call__", hang)
    account = await world.account()
    first = await world.post(account)
    await asyncio.wait_for(entered.wait(), 10)
    more = [await world.post(account) for _ in range(5)]
    assert [answer.status_code for answer in (first, *more)] == [200] * 6
    assert collector.spans == []
    held.set()
    collector.wait(lambda seen: len(seen.named("POST")) == 6)


async def test_what_is_not_taken_waits_within_bounds_and_the_oldest_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(export, "MAX_BUFFERED_BYTES", 100)
    mine = exporter("http://127.0.0.1:9/")
    for number in range(50):
        mine.add(b"%010d" % number)
    assert mine.dropped == 40
    await mine.close(within_s=0.5)
    assert sum(map(len, mine._waiting)) <= 100
    assert mine._waiting[-1] == b"%010d" % 49
    assert mine.sent == 0


async def test_it_is_asked_again_after_a_growing_pause_and_loses_nothing(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAUSE_S", (0.01, 0.05))
    collector.answer = 503
    mine = exporter(collector.url)
    mine.add(b"one")
    for _ in range(200):
        await asyncio.sleep(0.01)
        if collector.refused >= 3:
            break
    assert collector.refused >= 3
    assert mine.dropped == 0
    collector.answer = 200
    for _ in range(200):
        await asyncio.sleep(0.01)
        if mine.sent:
            break
    assert [body for _, _, body in collector.calls] == [b"one"]
    await mine.close()


async def test_what_a_collector_refuses_for_good_is_counted_and_let_go(
    collector: Collector,
) -> None:
    collector.answer = 400
    mine = exporter(collector.url)
    mine.add(b"bad")
    await mine.close()
    assert (mine.dropped, mine.sent) == (1, 0)


async def test_many_parts_leave_in_few_calls(collector: Collector) -> None:
    mine = exporter(collector.url)
    for number in range(100):
        mine.add(b"%03d" % number)
    await mine.close()
    assert mine.sent == 100
    assert b"".join(body for _, _, body in collector.calls) == b"".join(
        b"%03d" % number for number in range(100)
    )
    assert len(collector.calls) == 1


async def test_what_is_added_between_two_invocations_leaves_with_the_next(
    collector: Collector,
) -> None:
    """As on Lambda, where metrics are flushed once the loop has stopped."""
    mine = exporter(collector.url)
    await asyncio.to_thread(mine.add, b"between")
    assert collector.calls == []
    mine.add(b" and after")
    await mine.close()
    assert b"".join(body for _, _, body in collector.calls) == b"between and after"


# ---------------------------------------------------------------- settings


def test_headers_are_read_as_the_standard_writes_them() -> None:
    assert read_headers("Authorization=Basic%20abc%3D, x-scope=a=b") == {
        "authorization": "Basic abc=",
        "x-scope": "a=b",
    }
    with pytest.raises(SettingsError):
        read_headers("nonsense")


@pytest.mark.parametrize("field", [{}, {"endpoint": "http://c:4318", "traces": "none"}])
def test_without_a_collector_there_is_no_tracer(settings: Settings, field: dict[str, str]) -> None:
    off = replace(settings, telemetry=replace(settings.telemetry, **field))
    assert Tracer.of(off, HttpClient()) is None


def test_signals_go_where_the_standard_says(settings: Settings) -> None:
    on = replace(settings.telemetry, endpoint="https://c.example/otlp/", headers="a=b")
    made = open_exporter(replace(settings, telemetry=on), HttpClient(), "traces", b"".join)
    assert made is not None
    assert made._url == "https://c.example/otlp/v1/traces"
    assert made._headers == {"content-type": "application/x-protobuf", "a": "b"}
    bad = replace(settings.telemetry, endpoint="collector:4317")
    with pytest.raises(SettingsError):
        open_exporter(replace(settings, telemetry=bad), HttpClient(), "traces", b"".join)
