"""ERROR lines reach a service that speaks Sentry's protocol, scrubbed; browsers' reports by us."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from sentry_sdk.envelope import Envelope

from gatewayz import VERSION
from gatewayz.core.log import also_handle, bind, configure_logging, get_log
from gatewayz.core.settings import Settings, SettingsError
from gatewayz.net.http import HttpClient
from gatewayz.telemetry.sentry import MAX_PER_MINUTE, Reporter, read_dsn
from tests.telemetry.conftest import Collector
from tests.world import World

KEY = "a" * 32
log = get_log("gatewayz.tests.reports")


@pytest.fixture
async def reporter(settings: Settings, collector: Collector) -> AsyncIterator[Reporter]:
    dsn = collector.url.replace("http://", f"http://{KEY}@") + "/7"
    own = replace(settings.telemetry, sentry_dsn=dsn, commit="0123456789abcdef")
    made = Reporter(replace(settings, telemetry=own), HttpClient())
    configure_logging()
    also_handle("reports", made)
    yield made
    also_handle("reports", None)
    await made.exporter.close()


async def sent(reporter: Reporter, collector: Collector) -> list[Any]:
    await reporter.exporter.close()
    events = []
    for path, headers, body in collector.calls:
        assert path == "/api/7/envelope/"
        assert f"sentry_key={KEY}" in headers["x-sentry-auth"]
        (item,) = Envelope.deserialize(body).items
        assert item.type == "event"
        events.append(item.get_event())
    return events


async def test_a_crash_is_an_event_of_this_release(
    reporter: Reporter, collector: Collector
) -> None:
    try:
        raise ValueError("what went wrong")
    except ValueError:
        log.exception("request_crashed", request_id="req_1")
    (event,) = await sent(reporter, collector)
    assert event["level"] == "error"
    assert event["logentry"]["formatted"] == "request_crashed"
    assert event["tags"] == {"event": "request_crashed", "request_id": "req_1"}
    assert event["release"] == f"gatewayz@{VERSION}+0123456789ab"
    assert event["environment"] == "test"
    (crash,) = event["exception"]["values"]
    assert (crash["type"], crash["value"]) == ("ValueError", "what went wrong")
    assert "test_reports.py" in event["extra"]["trace"]


async def test_F88_no_key_prompt_or_header_leaves_with_a_report(
    reporter: Reporter, collector: Collector
) -> None:
    secret = "sk-" + "b" * 40
    try:
        raise ValueError(f"refused: Authorization=Bearer {secret}")
    except ValueError:
        log.exception("worker_crashed", detail_of=f"https://u:{secret}@host/?key={secret}")
    await sent(reporter, collector)
    text = b"".join(body for _, _, body in collector.calls)
    assert secret.encode() not in text
    assert b"worker_crashed" in text


async def test_only_errors_are_reported(reporter: Reporter, collector: Collector) -> None:
    log.info("quiet")
    log.warning("attempt_failed")
    assert await sent(reporter, collector) == []


async def test_a_storm_of_one_error_is_a_few_reports(
    reporter: Reporter, collector: Collector
) -> None:
    for _ in range(5 * MAX_PER_MINUTE):
        log.error("redis_refused")
    log.error("another")
    events = await sent(reporter, collector)
    assert len(events) == MAX_PER_MINUTE + 1


async def test_lines_of_another_thread_are_reported_too(
    reporter: Reporter, collector: Collector
) -> None:
    await asyncio.to_thread(log.error, "from_a_thread")
    await asyncio.sleep(0)
    assert len(await sent(reporter, collector)) == 1
    bind()


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://k@o1.ingest.sentry.io/42", "https://o1.ingest.sentry.io/api/42/envelope/"),
        ("https://k@host:9000/path/42", "https://host:9000/path/api/42/envelope/"),
    ],
)
def test_an_address_is_read_as_the_protocol_has_it(text: str, url: str) -> None:
    assert read_dsn(text).url == url


@pytest.mark.parametrize("text", ["", "https://host/1", "https://k@host", "https://k@host/x"])
def test_an_address_that_is_none_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_dsn(text)
    assert not text or text not in str(refused.value)


class TestTunnel:
    @pytest.fixture
    def telemetry(self, collector: Collector) -> dict[str, Any]:
        dsn = collector.url.replace("http://", "http://webkey@") + "/9"
        return {"tunnel_dsn": dsn, "traces": "none", "meters": "none"}

    def report(self, dsn: str) -> bytes:
        head = {"dsn": dsn, "event_id": "0" * 32}
        item = {"type": "event"}
        return "\n".join(map(json.dumps, (head, item, {"message": "x"}))).encode()

    async def test_a_report_of_our_project_is_passed_on_as_it_is(
        self, world: World, collector: Collector
    ) -> None:
        body = self.report(world.settings.telemetry.tunnel_dsn)
        answer = await world.client.post("/monitoring", content=body)
        assert answer.json() == {"passed_on": True}
        ((path, headers, passed),) = collector.calls
        assert (path, passed) == ("/api/9/envelope/", body)
        assert headers["content-type"] == "application/x-sentry-envelope"
        assert "authorization" not in headers and "cookie" not in headers

    async def test_nothing_goes_anywhere_else(self, world: World, collector: Collector) -> None:
        for place in ("webkey@127.0.0.1:9/9", "webkey@169.254.169.254/9", "x@h/9"):
            answer = await world.client.post("/monitoring", content=self.report(f"http://{place}"))
            assert answer.status_code == 403
        for body in (b"", b"nonsense", b"{}\n", b'{"dsn": 1}\nx', b"[]\n{}"):
            answer = await world.client.post("/monitoring", content=body)
            assert answer.status_code == 400, body
        body = self.report(world.settings.telemetry.tunnel_dsn) + b"x" * 1024 * 1024
        assert (await world.client.post("/monitoring", content=body)).status_code == 413
        assert collector.calls == []


async def test_without_the_setting_there_is_no_tunnel(world: World) -> None:
    assert (await world.client.post("/monitoring", content=b"{}")).status_code == 404
