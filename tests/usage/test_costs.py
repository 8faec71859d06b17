"""Providers' own figures beside ours: read, compared, told of, given back."""

from datetime import date
from typing import Any

import orjson
import pytest

from gatewayz.core.errors import InvalidRequest
from gatewayz.usage.costs import (
    Cost,
    Source,
    drifting,
    fetch_costs,
    load_sources,
    nanos_text,
    read_invoice,
)
from tests.contract.ledger.conftest import USD, Ledger
from tests.usage.day import DAY_MS, open_day, settle_day
from tests.usage.test_promises import now, spending

FIRST, END = date(2026, 11, 24), date(2026, 11, 26)
SPAN: dict[str, Any] = {"from_day": "2026-11-24", "to_day": "2026-11-26"}
BUCKET = {
    "data": [
        {
            "start_time": DAY_MS // 1000,
            "results": [
                {"amount": {"value": 0.06, "currency": "usd"}, "line_item": "gpt-x, input"},
                {"amount": {"value": "1.000000001", "currency": "usd"}, "line_item": None},
            ],
        }
    ],
    "has_more": False,
}
REPORT = {
    "data": [
        {
            "starting_at": "2026-11-24T00:00:00Z",
            "results": [{"amount": "123.45", "currency": "USD", "model": "claude-x"}],
        }
    ],
    "has_more": False,
}
ACTIVITY = {
    "data": [
        {"date": "2026-11-24", "model": "a/b", "usage": 0.015, "requests": 5},
        {"date": "2026-11-20", "model": "a/b", "usage": 9, "requests": 5},
    ]
}


class Wire:
    """Stands in for the network: answers in turn, and what was asked."""

    def __init__(self, *answers: Any, status: int = 200) -> None:
        self._answers, self._status = list(answers), status
        self.urls: list[str] = []
        self.headers: list[Any] = []

    async def request(self, method: str, url: str, *, headers: Any, **_: Any) -> Any:
        self.urls.append(url)
        self.headers.append(headers)
        body = orjson.dumps(self._answers.pop(0))
        return type("Answer", (), {"status": self._status, "body": body})


async def fetched(kind: str, *answers: Any, **more: Any) -> tuple[list[Cost], Wire]:
    wire = Wire(*answers, **more)
    source = next(s for s in load_sources() if s.kind == kind)
    costs = await fetch_costs(wire, source, "secret", FIRST, END)  # type: ignore[arg-type]
    return costs, wire


async def test_each_form_of_a_cost_interface_is_read_exactly() -> None:
    costs, wire = await fetched("cost_buckets", BUCKET)
    assert costs == [
        ("2026-11-24", "gpt-x", "60000000.00", None),
        ("2026-11-24", "", "1000000001.000000000", None),
    ]
    assert wire.headers[0]["authorization"] == "Bearer secret"
    assert "group_by=line_item" in wire.urls[0]
    costs, wire = await fetched("cost_report", REPORT)
    assert costs == [("2026-11-24", "claude-x", "1234500000.00", None)]
    assert wire.headers[0]["x-api-key"] == "secret"
    costs, _ = await fetched("activity", ACTIVITY)
    assert costs == [("2026-11-24", "a/b", "15000000.000", 5)], "other days are not asked for"


async def test_pages_are_followed_to_their_end() -> None:
    costs, wire = await fetched(
        "cost_report", REPORT | {"has_more": True, "next_page": "two"}, REPORT
    )
    assert len(costs) == 2
    assert "page=two" in wire.urls[1]


@pytest.mark.parametrize(
    "answer",
    [{"data": [{"start_time": "x", "results": []}]}, {"data": None}, {}, [],
     {"data": [{"start_time": 1, "results": [{"amount": {"value": "NaN", "currency": "usd"}}]}]},
     {"data": [{"start_time": 1, "results": [{"amount": {"value": 1, "currency": "eur"}}]}]}],
)  # fmt: skip
async def test_an_answer_that_is_not_understood_is_no_cost(answer: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        await fetched("cost_buckets", answer)
    with pytest.raises(ValueError, match="status 403"):
        await fetched("cost_buckets", answer, status=403)


def test_an_invoice_is_read_or_refused_by_its_line() -> None:
    text = "Date,Model,Cost_USD,Requests\r\n2026-11-24,m,1.5,3\r\n2026-11-25,,0.000000001,\r\n"
    assert read_invoice(text) == [
        ("2026-11-24", "m", "1500000000.0", 3),
        ("2026-11-25", "", "1.000000000", None),
    ]
    with pytest.raises(InvalidRequest, match="Line 2"):
        read_invoice("date,cost_usd\nyesterday,1\n")
    with pytest.raises(InvalidRequest, match="columns"):
        read_invoice("day,cost\n2026-11-24,1\n")


def test_amounts_of_others_are_exact_and_never_below_nothing() -> None:
    assert nanos_text("0.1") == "100000000.0"
    assert nanos_text(-3) == "0"
    for wrong in ("", "abc", "Infinity", None, "1e30"):
        with pytest.raises(ValueError, match="amount"):
            nanos_text(wrong)


async def day_at(ledger: Ledger, *nanos: int) -> None:
    """Requests of one model of a provider on one day, of two accounts."""
    await open_day(ledger)
    await ledger.open("bob")
    fields: dict[str, Any] = {"provider": "host", "offer": "host/maker/large-2026-01-01",
                              "model": "maker/large"}  # fmt: skip
    messages = [
        spending(ledger, 1, DAY_MS + n, **fields, account="bob" if n % 4 == 0 else "ann")
        for n in range(sum(nanos) // USD)
    ]
    await settle_day(ledger, messages)


async def record(ledger: Ledger, usd: str, *, source: str = "api", model: str = "large") -> None:
    await ledger.rpc(
        "record_provider_costs", provider="host", source=source,
        rows=[["2026-11-24", model, nanos_text(usd), None]],
    )  # fmt: skip


async def test_drift_is_told_by_model_once_the_figures_are_final(used: Ledger) -> None:
    await day_at(used, 8 * USD)
    await record(used, "7.9")
    (row,) = await used.rpc("compare_provider_costs", **SPAN)
    assert (row["model"], row["recorded_nanos"], row["stated_nanos"]) == (
        "large", 8 * USD, 79 * USD // 10,
    )  # fmt: skip
    assert row["drift_ppm"] == -12_500
    assert drifting([row]) == [], "the provider may still correct it"
    await now(used, "2026-11-26T12:00:00Z")
    await record(used, "7.9")
    (row,) = await used.rpc("compare_provider_costs", **SPAN)
    assert drifting([row]) == [row]
    await record(used, "8.01", source="invoice")
    (row,) = await used.rpc("compare_provider_costs", **SPAN)
    assert (row["stated_nanos"], row["final"]) == (801 * USD // 100, True)
    assert drifting([row]) == [], "an invoice is the last word, and this is within the bar"


async def test_what_is_billed_and_was_never_recorded_is_drift_too(used: Ledger) -> None:
    await day_at(used, 4 * USD)
    await record(used, "4", source="invoice")
    await record(used, "2", source="invoice", model="unknown")
    rows = {row["model"]: row for row in await used.rpc("compare_provider_costs", **SPAN)}
    assert rows["large"]["drift_ppm"] == 0
    assert drifting(list(rows.values())) == [rows["unknown"]]


async def test_an_overcharge_goes_back_only_where_a_rule_says_so_and_once(used: Ledger) -> None:
    await day_at(used, 8 * USD)
    await record(used, "6", source="invoice")
    assert (await used.rpc("credit_overcharges", **SPAN))["given"] == 0
    await used.rpc("set_overcharge_rule", provider="host", enabled=True)
    assert await used.rpc("credit_overcharges", **SPAN) == {"given": 2, "nanos": 2 * USD}
    assert (await used.rpc("credit_overcharges", **SPAN))["given"] == 0
    credits = {row["account"]: row for row in await used.rpc("list_service_credits")}
    assert {name: row["amount_nanos"] for name, row in credits.items()} == {
        "ann": 3 * USD // 2, "bob": USD // 2,
    }  # fmt: skip
    assert credits["bob"]["detail"]["recorded_nanos"] == 8 * USD
    assert await used.violations() == []


async def test_an_undercharge_and_a_small_one_give_nothing_back(used: Ledger) -> None:
    await day_at(used, 8 * USD)
    await used.rpc("set_overcharge_rule", provider="host", enabled=True)
    for usd in ("9", "7.97", "0"):
        async with used.undone():
            await record(used, usd, source="invoice")
            assert (await used.rpc("credit_overcharges", **SPAN))["given"] == 0, usd


def test_every_source_is_https_and_has_a_credential_of_its_own() -> None:
    sources = load_sources()
    assert {source.kind for source in sources} == {"cost_buckets", "cost_report", "activity"}
    assert all(isinstance(source, Source) for source in sources)
    assert len({source.credential for source in sources}) == len(sources)


class Secrets:
    def __init__(self, **known: str) -> None:
        self._known = known

    def find(self, name: str) -> str | None:
        return self._known.get(name)


class Books:
    """The ledger's functions as a store gives them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def rpc(self, name: str, params: Any, *, timeout_s: float | None = None) -> Any:
        return await self._ledger.rpc(name, **params)


async def test_a_night_asks_who_can_be_asked_alarms_and_gives_back(
    used: Ledger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from gatewayz.core import clock
    from gatewayz.usage.costs import reconcile_providers

    await day_at(used, 8 * USD)
    monkeypatch.setattr(clock, "now_ms", lambda: DAY_MS + 3 * 86_400_000)
    sources = (
        Source("host", "activity", "https://host.example/activity", "HOST_KEY", credit=True),
        Source("away", "activity", "https://away.example/activity", "AWAY_KEY"),
        Source("silent", "activity", "https://silent.example/activity", "SILENT_KEY"),
    )
    stores: Any = SimpleNamespace(postgres=Books(used), secrets=Secrets(HOST_KEY="k", AWAY_KEY="k"))
    row = {"date": "2026-11-24", "model": "maker/large", "usage": 6, "requests": 8}

    def wire() -> Any:
        return Wire({"data": [row]}, {"data": "nonsense"})

    await now(used, "2026-11-27T00:00:00Z")
    first = await reconcile_providers(stores, wire(), sources)
    assert first == {"asked": 1, "unknown": 1, "compared": 1, "drifts": 0, "credited": 0}
    await now(used, "2026-11-28T00:00:00Z")
    second = await reconcile_providers(stores, wire(), sources)
    assert (second["drifts"], second["credited"]) == (1, 2)
    assert "provider_cost_drift" in caplog.text
    assert await used.violations() == []
