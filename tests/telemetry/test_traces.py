"""A traced request shows every hop with the right parent, in a collector that others wrote."""

import logging
from dataclasses import replace
from typing import Any

import orjson
import pytest

from gatewayz.core.log import json_line
from gatewayz.core.metrics import flush_metrics
from gatewayz.core.settings import Settings
from gatewayz.local.sandbox import Sandbox
from gatewayz.net.http import HttpClient
from gatewayz.telemetry.control import finish_traces
from gatewayz.telemetry.trace import Tracer
from tests.telemetry.conftest import Collector, Seen
from tests.world import World

CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, CALLER = CLIENT.split("-")[1:3]
SERVER, CALL, PRODUCER, CONSUMER = 2, 3, 4, 5


async def whole(world: World, collector: Collector, *, hops: int) -> list[Seen]:
    """The spans of what was asked, to the ledger."""
    await world.settle()
    await finish_traces()
    collector.wait(lambda seen: len(seen.spans) >= hops)
    return collector.spans


def tree(spans: list[Seen]) -> dict[str, str]:
    """Each span's name, and its parent's."""
    names = {each.id: each.name for each in spans} | {CALLER: "client", "": "nobody"}
    return {each.name: names[each.parent] for each in spans}


@pytest.mark.parametrize("stream", [False, True])
async def test_every_hop_hangs_below_the_one_before(
    world: World, collector: Collector, stream: bool
) -> None:
    account = await world.account()
    headers = {"traceparent": CLIENT, "tracestate": "vendor=1"}
    answer = await world.post(account, stream=stream, headers=headers)
    assert answer.status_code == 200
    spans = await whole(world, collector, hops=5)
    assert {each.trace for each in spans} == {TRACE}
    assert tree(spans) == {
        "POST /v1/chat/completions": "client",
        "chat sandbox/echo": "POST /v1/chat/completions",
        "send charges": "POST /v1/chat/completions",
        "process charges": "send charges",
        "settle_charges ledger": "process charges",
    }
    assert [collector.one(name).kind for name in ("POST", "chat s", "send", "process", "ledger")] \
        == [SERVER, CALL, PRODUCER, CONSUMER, CALL]  # fmt: skip
    assert not any(each.error for each in spans)
    assert collector.one("POST").state == "vendor=1"
    request, call, send = (collector.one(name) for name in ("POST", "chat s", "send"))
    assert request.start <= call.start <= call.end <= request.end
    assert request.start <= send.start <= send.end <= request.end
    assert send.end <= collector.one("process").end


async def test_a_span_says_what_the_conventions_of_generative_ai_ask(
    world: World, collector: Collector
) -> None:
    account = await world.account()
    answer = (await world.post(account)).json()
    await whole(world, collector, hops=5)
    call, request = collector.one("chat s").values, collector.one("POST").values
    assert call["gen_ai.operation.name"] == "chat"
    assert call["gen_ai.provider.name"] == "sandbox"
    assert call["gen_ai.request.model"] == call["gen_ai.response.model"] == "sandbox/echo"
    assert call["gen_ai.usage.input_tokens"] == answer["usage"]["prompt_tokens"]
    assert call["gen_ai.usage.output_tokens"] == answer["usage"]["completion_tokens"]
    assert call["gen_ai.response.finish_reasons"] == ["stop"]
    (row,) = await world.requests(account)
    assert request["gatewayz.request_id"] == row["request_id"]
    assert request["gatewayz.charge_nanos"] == row["charge_nanos"] > 0
    assert request["http.response.status_code"] == 200
    resource = collector.one("POST").resource
    assert resource["service.name"] == "gatewayz"
    assert resource["deployment.environment.name"] == "test"
    text = b"".join(body for _, _, body in collector.calls)
    assert b"hello" not in text, "a prompt is told only where a setting says so"
    assert account.key.encode() not in text


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failover_shows_both_attempts(
    world: World, collector: Collector, stream: bool
) -> None:
    account = await world.account()
    answer = await world.post(
        account, "sandbox/mock-err500", models=["sandbox/echo"], stream=stream
    )
    assert answer.status_code == 200
    await whole(world, collector, hops=6)
    failed, served = collector.one("mock-err500"), collector.one("chat sandbox/echo")
    request = collector.one("POST")
    assert failed.parent == served.parent == request.id
    assert failed.error
    assert failed.values["error.type"] == "UpstreamUnavailable"
    assert failed.values["gatewayz.attempt"] == 1
    assert served.values["gatewayz.attempt"] == 2
    assert not served.error
    assert failed.end <= served.start + 2_000_000
    assert request.values["gatewayz.attempts"] == 2
    assert collector.one("ledger").parent == collector.one("process").id


async def test_a_request_that_fails_everywhere_is_an_error_in_every_span(
    world: World, collector: Collector
) -> None:
    account = await world.account()
    answer = await world.post(account, "sandbox/mock-err500")
    assert answer.status_code == 503
    await whole(world, collector, hops=5)
    request = collector.one("POST")
    assert request.error
    assert request.values["http.response.status_code"] == 503
    assert request.values["error.type"] == answer.json()["error"]["code"]
    assert collector.one("mock-err500").error


async def test_a_refused_request_is_a_trace_of_one_span(world: World, collector: Collector) -> None:
    account = await world.account()
    assert (await world.post(account, "no/such")).status_code == 404
    collector.wait(lambda seen: len(seen.spans) >= 1)
    (only,) = collector.spans
    assert only.values["error.type"] == "model_not_found"
    assert not only.error, "a caller's mistake is none of ours"


async def test_one_call_of_the_control_plane_is_a_span_below_its_client(
    world: World, collector: Collector
) -> None:
    account = await world.account()
    await world.client.get("/v1/credits", headers=account.headers)  # opens its stores
    await world.client.get("/v1/credits", headers=account.headers | {"traceparent": CLIENT})
    collector.wait(lambda seen: any(each.trace == TRACE for each in seen.spans))
    (span,) = [each for each in collector.spans if each.trace == TRACE]
    assert (span.name, span.parent) == ("GET /v1/credits", CALLER)
    assert span.values["http.response.status_code"] == 200


async def test_metrics_go_to_the_same_collector(world: World, collector: Collector) -> None:
    account = await world.account()
    await world.post(account)
    found: dict[str, Any] = {}

    def complete(seen: Collector) -> bool:
        flush_metrics(now=True)  # a request is measured behind its answer
        found.update(
            (metric.name, metric)
            for group in seen.metrics
            for scope in group.scope_metrics
            for metric in scope.metrics
        )
        return {"gatewayz_admissions", "gatewayz_requests", "gatewayz_overhead"} <= set(found)

    collector.wait(complete)
    (admitted,) = found["gatewayz_admissions"].sum.data_points
    assert admitted.as_int == 1
    (path,) = {path for path, _, _ in collector.calls if path.endswith("metrics")}
    assert path == "/v1/metrics"


async def test_log_lines_of_a_traced_request_name_its_trace(
    world: World, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    account = await world.account()
    logger = logging.getLogger("gatewayz")
    logger.addHandler(caplog.handler)
    try:
        await world.post(account, "sandbox/mock-err500", headers={"traceparent": CLIENT})
    finally:
        logger.removeHandler(caplog.handler)
    lines = [json_line(record) for record in caplog.records]
    (failed,) = [line for line in lines if line["event"] == "attempt_failed"]
    assert failed["trace_id"] == TRACE
    assert failed["request_id"].startswith("req_")


class TestUpstream:
    async def heard(self, world: World, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
        """The headers that the provider got."""
        heard: list[dict[str, str]] = []
        play = Sandbox.__call__

        async def listen(self: Sandbox, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                heard.append({k.decode(): v.decode() for k, v in scope["headers"]})
            await play(self, scope, receive, send)

        monkeypatch.setattr(Sandbox, "__call__", listen)
        account = await world.account()
        await world.post(account, headers={"traceparent": CLIENT, "tracestate": "vendor=1"})
        return heard[-1]

    async def test_a_provider_is_told_the_attempt_where_the_setting_says_so(
        self, world: World, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        headers = await self.heard(world, monkeypatch)
        await whole(world, collector, hops=5)
        call = collector.one("chat s")
        assert headers["traceparent"] == f"00-{TRACE}-{call.id}-01"
        assert headers["tracestate"] == "vendor=1"

    @pytest.mark.parametrize("telemetry", [{"upstream": "none"}])
    async def test_and_is_not_told_otherwise(
        self, world: World, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        headers = await self.heard(world, monkeypatch)
        assert "traceparent" not in headers

    @pytest.mark.parametrize(
        ("upstream", "own", "told"),
        [("own", True, True), ("own", False, False), ("all", False, True), ("none", True, False)],
    )
    async def test_a_company_is_told_only_where_all_are(
        self, settings: Settings, upstream: str, own: bool, told: bool
    ) -> None:
        section = replace(settings.telemetry, endpoint="http://127.0.0.1:1", upstream=upstream)
        tracer = Tracer.of(replace(settings, telemetry=section), HttpClient())
        assert tracer is not None
        trace = tracer.begin("POST", "/v1/chat/completions", CLIENT.encode(), None)
        trace.attempt()
        assert bool(tracer.headers_for(trace, own=own)) is told


class TestSampling:
    @pytest.mark.parametrize("telemetry", [{"sample": "0"}])
    async def test_what_goes_well_is_left_out_and_errors_never(
        self, world: World, collector: Collector
    ) -> None:
        account = await world.account()
        headers = {"traceparent": CLIENT}
        assert (await world.post(account, headers=headers)).status_code == 200
        await world.post(account, "sandbox/mock-err500")
        spans = await whole(world, collector, hops=5)
        assert TRACE not in {each.trace for each in spans}
        assert {each.trace for each in spans} == {collector.one("POST").trace}
        assert collector.named("ledger"), "the worker keeps what the data plane kept"

    @pytest.mark.parametrize("telemetry", [{"sample": "0 /v1/messages=1"}])
    async def test_a_route_has_a_share_of_its_own(self, world: World, collector: Collector) -> None:
        account = await world.account()
        await world.post(account)
        await world.post(account, path="/v1/messages", max_tokens=50)
        await whole(world, collector, hops=5)
        assert collector.one("POST").name == "POST /v1/messages"

    @pytest.mark.parametrize("telemetry", [{"sample": "0 client=1"}])
    async def test_a_client_that_traces_is_traced_where_the_rule_says_so(
        self, world: World, collector: Collector
    ) -> None:
        account = await world.account()
        await world.post(account)
        await world.post(account, headers={"traceparent": CLIENT})
        spans = await whole(world, collector, hops=5)
        assert {each.trace for each in spans} == {TRACE}


class TestContent:
    @pytest.mark.parametrize("telemetry", [{"content": True}])
    @pytest.mark.parametrize(
        ("path", "stream"), [("/v1/chat/completions", True), ("/v1/messages", False)]
    )
    async def test_it_is_told_where_the_setting_says_so(
        self, world: World, collector: Collector, stream: bool, path: str
    ) -> None:
        account = await world.account()
        await world.post(account, "sandbox/echo", path=path, stream=stream, max_tokens=100)
        await whole(world, collector, hops=5)
        values = collector.one("chat s").values
        asked = orjson.loads(values["gen_ai.input.messages"])
        assert asked == [{"role": "user", "content": "hello"}]
        (said,) = orjson.loads(values["gen_ai.output.messages"])
        assert "hello" in said["parts"][0]["content"]
