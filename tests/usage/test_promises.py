"""Alerts on spending, availability by published terms, and the credits that follow from them."""

from typing import Any

import pytest

from tests.contract.ledger.conftest import USD, Ledger
from tests.usage.day import DAY_MS, open_day, settle_day

HOUR_MS = 3_600_000


async def now(ledger: Ledger, when: str) -> None:
    await ledger.connection.execute(f"select set_config('gatewayz.now', '{when}', false)")


async def told(ledger: Ledger) -> list[tuple[str, dict[str, Any]]]:
    rows = await ledger.connection.fetch(
        "select kind, data from tenancy.notices"
        " where kind like 'spend%' or kind = 'incident_credit' order by id"
    )
    import json

    return [(row["kind"], json.loads(row["data"])) for row in rows]


async def alert(ledger: Ledger, **fields: Any) -> Any:
    usual: dict[str, Any] = {
        "alert_id": "alert_1", "account": "ann", "name": "Budget", "period": "day",
        "limit_nanos": 100 * USD, "thresholds": [50, 100], "forecast": False,
        "daily_report": False,
    }  # fmt: skip
    return await ledger.rpc("save_spend_alert", **(usual | fields))


def spending(ledger: Ledger, usd: int, at_ms: int, **fields: Any) -> dict[str, Any]:
    from gatewayz.core.ids import ulid

    made = {"request_id": "req_" + ulid(at_ms), "admitted_at_ms": at_ms}
    return ledger.message(usd * USD, **(made | fields))


# ------------------------------------------------------------------ alerts


async def test_a_threshold_is_told_once_in_its_period(used: Ledger) -> None:
    await open_day(used)
    await now(used, "2026-11-24T12:00:00Z")
    await alert(used)
    await used.settle(spending(used, 49, DAY_MS + HOUR_MS))
    await used.rpc("review_spend_alerts")
    assert await told(used) == []
    await used.settle(spending(used, 2, DAY_MS + 2 * HOUR_MS))
    for _ in range(3):
        await used.rpc("review_spend_alerts")
    ((kind, data),) = await told(used)
    assert (kind, data["spent_usd"], data["threshold_usd"]) == ("spend_alert", "51", "50")
    await used.settle(spending(used, 60, DAY_MS + 3 * HOUR_MS))
    await used.rpc("review_spend_alerts")
    assert [data["threshold_usd"] for _, data in await told(used)] == ["50", "100"]
    await now(used, "2026-11-25T12:00:00Z")
    await used.settle(spending(used, 50, DAY_MS + 30 * HOUR_MS))
    await used.rpc("review_spend_alerts")
    assert [data["spent_usd"] for _, data in await told(used)] == ["51", "111", "50"]


async def test_a_forecast_tells_before_the_limit_is_reached(used: Ledger) -> None:
    await open_day(used)
    await now(used, "2026-11-24T01:00:00Z")
    await alert(used, thresholds=[], forecast=True)
    await used.settle(spending(used, 30, DAY_MS + HOUR_MS // 2))
    await used.rpc("review_spend_alerts")
    assert await told(used) == [], "an hour says nothing of a day"
    await now(used, "2026-11-24T06:00:00Z")
    await used.rpc("review_spend_alerts")
    await used.rpc("review_spend_alerts")
    ((kind, data),) = await told(used)
    assert (kind, data["forecast_usd"], data["limit_usd"]) == ("spend_forecast", "120", "100")


async def test_a_daily_report_comes_the_day_after(used: Ledger) -> None:
    await open_day(used)
    await now(used, "2026-11-24T06:00:00Z")
    await alert(used, thresholds=[], daily_report=True)
    await used.settle(spending(used, 3, DAY_MS + HOUR_MS))
    await used.rpc("review_spend_alerts")
    assert await told(used) == []
    await now(used, "2026-11-25T00:01:00Z")
    await used.rpc("review_spend_alerts")
    await used.rpc("review_spend_alerts")
    ((kind, data),) = await told(used)
    assert (kind, data["day"], data["spent_usd"], data["requests"]) == (
        "spend_report", "2026-11-24", "3", 1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("dimension", "value", "spent"),
    [("team", "red", 20), ("api_key_id", "key_a", 10), ("model", "m", 5), ("member", "mem_1", 10),
     ("tag", "eu", 10), (None, None, 35)],
)  # fmt: skip
async def test_an_alert_looks_at_what_it_is_for(
    used: Ledger, dimension: str | None, value: str | None, spent: int
) -> None:
    await open_day(used)
    await used.settle(
        spending(used, 20, DAY_MS, team="red"), spending(used, 10, DAY_MS, key_id="key_a"),
        spending(used, 5, DAY_MS, model="m"),
    )  # fmt: skip
    await now(used, "2026-11-24T12:00:00Z")
    row = await alert(used, dimension=dimension, value=value)
    (listed,) = await used.rpc("list_spend_alerts", account="ann")
    assert listed["spent_nanos"] == spent * USD
    assert row["alert_id"] == "alert_1"


# ------------------------------------------------------------------ promises


def outcomes(ledger: Ledger, count: int, at_ms: int, **fields: Any) -> list[dict[str, Any]]:
    failed = [{"offer": "sandbox/llama", "provider": "sandbox", "error": "UpstreamTimeout"}]
    usual = {"outcome": "failed", "attempts": failed}
    return [spending(ledger, 0, at_ms + n, **(usual | fields)) for n in range(count)]


async def on_plan(ledger: Ledger, plan: str) -> None:
    await ledger.connection.execute(
        "insert into ledger.subscriptions values ('sub_1', 'ann', $1, 'price_1', 'active',"
        " '2026-10-01', '2027-10-01', false, null, '2026-10-01', '2026-10-01')", plan,
    )  # fmt: skip


async def test_a_broken_promise_is_credited_once_and_can_be_taken_back_once(used: Ledger) -> None:
    await open_day(used)
    await on_plan(used, "team")
    good = [spending(used, 1, DAY_MS + n) for n in range(195)]
    await settle_day(used, good + outcomes(used, 5, DAY_MS + 1000))
    before = (await used.balance())["balance_nanos"]
    assert (await used.rpc("give_service_credits", account="ann"))["given"] == 0, "not over yet"
    await now(used, "2026-12-03T00:00:00Z")
    report = await used.rpc("sla_report", account="ann", month="2026-11")
    assert report["availability_ppm"] == 975_000
    assert (report["breached"], report["credit_percent"], report["final"]) == (True, 25, True)
    assert report["failed_by"] == {"provider": 5}
    given = await used.rpc("give_service_credits", account="ann")
    assert given == {"given": 1, "nanos": 195 * USD // 4}
    assert (await used.rpc("give_service_credits", account="ann"))["given"] == 0
    assert (await used.balance())["balance_nanos"] == before + 195 * USD // 4
    assert [kind for kind, _ in await told(used)] == ["incident_credit"]
    taken: dict[str, Any] = {
        "credit_id": "sla:ann:2026-11",
        "actor": "staff:ada",
        "reason": "a test",
    }
    for _ in range(2):
        reversed_ = await used.rpc("reverse_service_credit", **taken)
        assert reversed_["reversed_for"] == "a test"
    assert (await used.balance())["balance_nanos"] == before
    assert await used.violations() == []
    (credit,) = await used.rpc("list_service_credits", account="ann")
    assert credit["reversed_at_ms"] is not None


async def test_what_the_client_did_wrong_counts_for_nothing(used: Ledger) -> None:
    await open_day(used)
    await on_plan(used, "team")
    good = [spending(used, 1, DAY_MS + n) for n in range(150)]
    refused = [{"offer": "o", "provider": "p", "error": "UpstreamRejected"}]
    bad = outcomes(used, 50, DAY_MS + 1000, attempts=refused)
    await settle_day(used, good + bad)
    await now(used, "2026-12-03T00:00:00Z")
    report = await used.rpc("sla_report", account="ann", month="2026-11")
    assert (report["failed_by"], report["availability_ppm"]) == ({"client": 50}, 1_000_000)
    assert not report["breached"]


@pytest.mark.parametrize(("plan", "count"), [("free", 200), ("team", 50)])
async def test_nothing_is_given_where_nothing_is_promised_or_too_little_was_asked(
    used: Ledger, plan: str, count: int
) -> None:
    await open_day(used)
    if plan != "free":
        await on_plan(used, plan)
    good = [spending(used, 1, DAY_MS + n) for n in range(count // 2)]
    await settle_day(used, good + outcomes(used, count // 2, DAY_MS + 1000))
    await now(used, "2026-12-03T00:00:00Z")
    assert (await used.rpc("give_service_credits", account="ann"))["given"] == 0


async def test_an_answer_that_broke_off_is_given_back_by_the_rule(used: Ledger) -> None:
    await open_day(used)
    broken = [{"offer": "o", "provider": "p", "error": None, "cut": "UpstreamBroken"}]
    cut = spending(used, 3, DAY_MS, outcome="cut", attempts=broken)
    left = spending(used, 5, DAY_MS + 1, outcome="left")
    await settle_day(used, [cut, left])
    await now(used, "2026-11-26T01:00:00Z")
    assert await used.rpc("give_service_credits", account="ann") == {"given": 1, "nanos": 3 * USD}
    (credit,) = await used.rpc("list_service_credits", account="ann")
    assert credit["credit_id"] == "outcome:ann:cut:2026-11-24"
    assert credit["detail"]["blames"] == {"provider": True}
    assert await used.violations() == []


@pytest.mark.parametrize(
    ("outcome", "reason", "attempts", "judged"),
    [
        ("completed", None, [{"error": None}], (None, None)),
        ("left", None, [{"error": None}], (None, None)),
        ("failed", None, [{"error": "UpstreamTimeout"}], ("timeout", "provider")),
        ("failed", None, [{"error": "UpstreamThrottled"}], ("throttled", "provider")),
        ("failed", None, [{"error": "UpstreamAuth"}], ("auth", "gateway")),
        ("failed", None, [{"error": "UpstreamAuth", "byok": True}], ("auth", "client")),
        ("failed", None, [{"error": "UpstreamExhausted"}], ("payment", "gateway")),
        ("failed", None, [{"error": "UpstreamRejected"}], ("rejected", "client")),
        ("failed", None, [{"error": "InvalidRequest"}], ("rejected", "client")),
        ("failed", None, [], ("unavailable", "gateway")),
        ("failed", "crash", [{"error": None}], ("crash", "gateway")),
        ("expired", None, [{"error": None}], ("expired", "gateway")),
        ("empty", None, [{"error": None}], ("empty", "provider")),
        ("cut", None, [{"error": None, "cut": "UpstreamTimeout"}], ("timeout", "provider")),
        ("failed", None, [{"error": "StoreUnavailable"}], ("store_unavailable", "gateway")),
    ],
)
async def test_every_end_of_a_request_has_one_to_blame_or_none(
    used: Ledger, outcome: str, reason: str | None, attempts: Any, judged: Any
) -> None:
    import json

    row = await used.connection.fetchrow(
        "select * from ledger.judge($1, $2, $3)", outcome, reason, json.dumps(attempts)
    )
    assert row is not None
    assert (row["error_class"], row["blame"]) == judged


async def test_uptime_is_told_by_provider_model_and_tier(used: Ledger) -> None:
    await open_day(used)
    await settle_day(
        used, [spending(used, 1, DAY_MS + n) for n in range(3)] + outcomes(used, 1, DAY_MS)
    )
    await used.rpc("fold_usage", most=100)
    samples = [
        {"model": "m", "provider": "p", "offer": "p/m", "class": cls, "at_ms": DAY_MS}
        for cls in ("ok", "ok", "ok", "timeout", "throttled")
    ]
    await now(used, "2026-11-24T12:00:00Z")
    await used.rpc("record_health", samples=samples)
    span: dict[str, Any] = {"from_ms": DAY_MS, "to_ms": DAY_MS + 24 * HOUR_MS}
    for by, name in (("provider", "p"), ("model", "m"), ("tier", "free")):
        rows = await used.rpc("uptime", by=by, **span)
        assert rows == [{"name": name, "requests": 4, "failed": 1, "availability_ppm": 750_000}], by
