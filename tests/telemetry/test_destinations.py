"""Accounts have their requests traced at services of their own; the product's events elsewhere."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from functions.export_telemetry.job import export_telemetry
from functions.settle_charges import worker
from gatewayz.accounts.sealing import RING, new_ring
from gatewayz.core.settings import Settings
from gatewayz.telemetry.destinations import headers_of, kinds, wants
from gatewayz.telemetry.passing import EVENTS, TRACES, Passing
from gatewayz.telemetry.sending import LAST_TRY
from tests.telemetry.conftest import Collector
from tests.world import Account, World

CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PATH = "/user/destinations/mine"


@pytest.fixture
def tune(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Callable[[Settings], Settings]:
    monkeypatch.setenv(RING, new_ring())
    monkeypatch.setenv("GATEWAYZ_FETCH_NETWORKS", "127.0.0.0/8")
    monkeypatch.setattr(worker, "passing", Passing())

    def tuned(settings: Settings) -> Settings:
        return replace(settings, http=replace(settings.http, fetch_networks="127.0.0.0/8"))

    return tuned


async def put(world: World, account: Account, collector: Collector, **body: Any) -> Any:
    asked = {"kind": "otlp", "endpoint": collector.url + "/v1/traces", "key": "k" * 20} | body
    return await world.client.put(PATH, json=asked, headers=account.headers)


async def state(world: World, account: Account) -> dict[str, Any]:
    answer = await world.client.get("/user/destinations", headers=account.headers)
    (row,) = answer.json()["destinations"]
    return dict(row)


async def test_an_accounts_requests_reach_its_service_and_nobody_elses(
    world: World, collector: Collector
) -> None:
    account, other = await world.account(), await world.account()
    assert (await put(world, account, collector)).status_code == 200
    answer = await world.post(account, headers={"traceparent": CLIENT})
    await world.post(account, "sandbox/mock-err500")
    await world.post(other)
    await world.settle()
    assert await export_telemetry(world.stores) == {"traces": 2, "events": 0}
    served, failed = sorted(collector.spans, key=lambda each: each.error)
    assert served.trace == CLIENT.split("-")[1], "it joins the client's own trace"
    assert served.values["gen_ai.usage.input_tokens"] == answer.json()["usage"]["prompt_tokens"]
    assert served.values["gen_ai.request.model"] == "sandbox/echo"
    assert served.values["openinference.span.kind"] == "LLM"
    (row,) = [r for r in await world.requests(account) if r["outcome"] == "completed"]
    assert served.values["gatewayz.charge_nanos"] == row["charge_nanos"]
    assert served.end - served.start == row["total_ms"] * 1_000_000
    assert failed.values["error.type"] == "UpstreamUnavailable"
    ((_, headers, body),) = collector.calls
    assert headers["authorization"] == "Bearer " + "k" * 20
    assert b"hello" not in body, "no message of ours holds a prompt"
    shown = await state(world, account)
    assert (shown["sent"], shown["failed"], shown["last_error"]) == (2, 0, None)


async def test_its_key_is_kept_sealed_and_never_shown(world: World, collector: Collector) -> None:
    account = await world.account()
    key = "pk-lf-" + "s" * 30
    answer = await put(world, account, collector, kind="langfuse", key=key, secret="z" * 30)
    shown = (await world.client.get("/user/destinations", headers=account.headers)).text
    (row,) = await world.stores.postgres.rpc("read_destinations", {"accounts": [account.id]})
    for text in (answer.text, shown, json.dumps(row)):
        assert key not in text and "z" * 30 not in text
    assert (await state(world, account))["key"] == f"{key[:4]}…{key[-4:]}"


async def test_a_share_of_the_requests_is_sent(world: World, collector: Collector) -> None:
    account, sampling = await world.account(), 0.5
    await put(world, account, collector, sampling=sampling)
    for _ in range(8):
        await world.post(account)
    await world.settle()
    await export_telemetry(world.stores)
    wanted = {
        row["request_id"]
        for row in await world.requests(account)
        if wants(round(sampling * 1000), row)
    }
    assert {each.values["gatewayz.request_id"] for each in collector.spans} == wanted


async def test_a_service_that_is_away_is_tried_again_and_then_given_up(
    world: World, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatewayz.telemetry.sending.VISIBLE_S", 0.0)
    account = await world.account()
    await put(world, account, collector)
    await world.post(account)
    assert await world.settle() == 1, "settling waits for nobody"
    collector.answer = 503
    for _ in range(LAST_TRY - 1):
        assert (await export_telemetry(world.stores))["traces"] == 0
    collector.answer = 200
    assert (await export_telemetry(world.stores))["traces"] == 1
    assert len(collector.spans) == 1
    assert (await state(world, account))["failed"] == LAST_TRY - 1
    await world.post(account)
    await world.settle()
    collector.answer = 503
    done = [(await export_telemetry(world.stores))["traces"] for _ in range(LAST_TRY)]
    assert done == [0] * (LAST_TRY - 1) + [1]
    assert (await state(world, account))["last_error"] == "it answers 503"


class TestReachingInward:
    @pytest.fixture
    def tune(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[Settings], Settings]:
        monkeypatch.setenv(RING, new_ring())
        monkeypatch.delenv("GATEWAYZ_FETCH_NETWORKS", raising=False)
        monkeypatch.setattr(worker, "passing", Passing())
        return lambda settings: settings

    async def test_F59_no_service_may_stand_inside(
        self, world: World, collector: Collector
    ) -> None:
        account = await world.account()
        for endpoint in (
            "http://127.0.0.1:1/v1/traces", "http://169.254.169.254/latest", "http://[::1]/x",
            "http://10.0.0.1/v1/traces", "https://0x7f000001/x", "http://localhost/x",
        ):  # fmt: skip
            answer = await put(world, account, collector, endpoint=endpoint)
            assert answer.status_code == 400, endpoint
            assert answer.json()["error"]["param"] == "endpoint"

    async def test_F59_one_that_moved_inside_is_not_called(
        self, world: World, collector: Collector
    ) -> None:
        """As after a change of its name's address: judged again for every batch."""
        account = await world.account()
        row = {
            "account": account.id, "actor": "x", "name": "mine", "kind": "otlp",
            "endpoint": collector.url + "/v1/traces", "label": "…", "per_mille": 1000,
            "enabled": True, "most": 5,
            "sealed": _sealed(world, account),
        }  # fmt: skip
        await world.stores.postgres.rpc("put_destination", row)
        await world.post(account)
        await world.settle()
        assert (await export_telemetry(world.stores))["traces"] == 1, "given up at once"
        assert collector.calls == []
        assert (await state(world, account))["last_error"]


def _sealed(world: World, account: Account) -> str:
    from gatewayz.accounts.sealing import find_ring
    from gatewayz.telemetry.destinations import place_of

    return find_ring(world.stores.secrets.find).seal("{}", place_of(account.id, "mine"))


async def test_a_foreign_account_sees_and_changes_nothing(
    world: World, collector: Collector
) -> None:
    account, other = await world.account(), await world.account()
    await put(world, account, collector)
    shown = await world.client.get("/user/destinations", headers=other.headers)
    assert shown.json() == {"destinations": []}
    assert (await world.client.delete(PATH, headers=other.headers)).status_code == 404
    assert (await world.client.delete(PATH, headers=account.headers)).json() == {"deleted": True}
    trail = await world.client.get("/user/audit", headers=account.headers)
    assert {"destination.set", "destination.deleted"} <= {
        entry["action"] for entry in trail.json()["logs"]
    }


async def test_an_account_has_only_so_many(world: World, collector: Collector) -> None:
    account = await world.account()
    body = {"kind": "otlp", "endpoint": collector.url + "/x", "key": "k"}
    for number in range(6):
        answer = await world.client.put(
            f"/user/destinations/d{number}", json=body, headers=account.headers
        )
        assert answer.status_code == (200 if number < 5 else 400)


def test_every_kind_signs_in_as_its_service_asks() -> None:
    given = {"key": "K", "secret": "S", "project": "P"}
    signed = {name: headers_of(kind, given) for name, kind in kinds().items()}
    assert signed["langfuse"]["authorization"] == "Basic SzpT"
    assert signed["braintrust"]["x-bt-parent"] == "project_name:P"
    assert signed["arize"] == {"api_key": "K", "space_id": "P"}
    assert signed["phoenix"]["authorization"] == "Bearer K"
    assert headers_of(kinds()["otlp"], {}) == {}
    assert all(kind.endpoint.startswith("https://") for n, kind in kinds().items() if n != "otlp")


# ---------------------------------------------------------------- product analytics


class TestAnalytics:
    @pytest.fixture
    def tune(
        self, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[Settings], Settings]:
        monkeypatch.setenv("POSTHOG_API_KEY", "phc_test")
        monkeypatch.setenv("POSTHOG_HOST", collector.url)
        monkeypatch.setattr(worker, "passing", Passing())
        return lambda settings: settings

    async def test_a_batch_is_an_event_for_each_account(
        self, world: World, collector: Collector
    ) -> None:
        account = await world.account()
        for model in ("sandbox/echo", "sandbox/echo", "sandbox/mock-err500"):
            await world.post(account, model)
        await world.settle()
        assert (await export_telemetry(world.stores))["events"] >= 1
        bodies = [orjson.loads(body) for path, _, body in collector.calls if path == "/batch/"]
        events = [event for body in bodies for event in body["batch"]]
        assert {body["api_key"] for body in bodies} == {"phc_test"}
        assert {event["distinct_id"] for event in events} == {account.id}
        assert sum(event["properties"]["requests"] for event in events) == 3
        assert sum(event["properties"]["failed"] for event in events) == 1
        text = orjson.dumps(events)
        assert b"hello" not in text and account.key.encode() not in text
        assert await export_telemetry(world.stores) == {"traces": 0, "events": 0}

    async def test_one_that_is_away_keeps_the_events(
        self, world: World, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gatewayz.telemetry.sending.VISIBLE_S", 0.0)
        account = await world.account()
        await world.post(account)
        await world.settle()
        collector.answer = 503
        assert (await export_telemetry(world.stores))["events"] == 0
        collector.answer = 200
        assert (await export_telemetry(world.stores))["events"] == 1


async def test_without_anybody_who_wants_it_nothing_is_passed_on(world: World) -> None:
    account = await world.account()
    await world.post(account)
    await world.settle()
    for queue in (TRACES, EVENTS):
        depth = await world.stores.postgres.rpc("queue_depth", {"queue": queue})
        assert depth["waiting"] == 0
