"""Credit given and taken by hand: capped, by two people above a threshold, and recorded."""

import asyncio
import csv
import io
from dataclasses import replace
from typing import Any

import pytest

from gatewayz.api.exports import Exact, safe_cell, write_csv
from gatewayz.core.settings import Settings
from tests.billing.conftest import CENT, STAFF_SECRET, Till

ALICE = {"authorization": f"Bearer {STAFF_SECRET}"}
BOB_SECRET = "bob-secret-bob-secret-bob-secret-bob"
BOB = {"authorization": f"Bearer {BOB_SECRET}"}


@pytest.fixture
def tune(tune: Any) -> Any:
    """A second member of the staff."""

    def tuned(settings: Settings) -> Settings:
        made = tune(settings)
        both = f"{made.keys.staff},bob:{BOB_SECRET}"
        return replace(made, keys=replace(made.keys, staff=both))

    return tuned


async def add(till: Till, amount: Any, who: dict[str, str] = ALICE, **more: Any) -> Any:
    body = {"account": till.account.id, "amount": amount, "reason": "goodwill", **more}
    return await till.call("POST", "/credits/add", body, headers=who)


async def test_a_grant_is_posted_once_and_names_who_made_it(till: Till) -> None:
    first = await add(till, 12.5, operation_id="op-1")
    again = await add(till, 12.5, operation_id="op-1")
    assert first.status_code == again.status_code == 200
    assert (first.json()["status"], first.json()["new_balance"]) == ("posted", 12.5)
    assert await till.balance() == 1250 * CENT
    other = await add(till, 13, operation_id="op-1")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "operation_conflict")
    listed = (await till.call("GET", "/credits/transactions", headers=ALICE)).json()
    (row,) = listed["transactions"]
    assert (row["actor"], row["type"], row["description"], row["account"]) == (
        "alice", "admin_credit", "goodwill", till.account.id,
    )  # fmt: skip
    assert await till.violations() == []


@pytest.mark.parametrize("amount", [0, -5, "x", 1e-10, "0.0000000001", True, [5], 10**12])
async def test_no_amount_that_is_none(till: Till, amount: Any) -> None:
    answer = await add(till, amount)
    assert answer.status_code in (400, 403)
    assert await till.balance() == 0


async def test_one_order_and_one_day_have_their_caps(till: Till) -> None:
    over = await add(till, 1000.01)
    assert (over.status_code, over.json()["error"]["code"]) == (403, "grant_cap_exceeded")
    answers = await asyncio.gather(*(add(till, 400) for _ in range(15)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(403)) == (12, 3)
    codes = {a.json()["error"]["code"] for a in answers if a.status_code == 403}
    assert codes == {"daily_grant_cap_exceeded"}
    assert await till.balance() == 12 * 40000 * CENT
    # A day's cap is one person's.
    assert (await add(till, 400, BOB)).status_code == 200


async def test_above_the_threshold_a_second_person_agrees(till: Till) -> None:
    waiting = await add(till, 900)
    assert (waiting.status_code, waiting.json()["status"]) == (202, "pending")
    assert await till.balance() == 0
    order = waiting.json()["order_id"]
    own = await till.call("POST", f"/credits/orders/{order}/approve", headers=ALICE)
    assert (own.status_code, own.json()["error"]["code"]) == (403, "second_person_needed")
    listed = await till.call("GET", "/credits/orders?status=pending", headers=BOB)
    assert [one["order_id"] for one in listed.json()["orders"]] == [order]
    done = await till.call("POST", f"/credits/orders/{order}/approve", headers=BOB)
    assert (done.json()["status"], done.json()["decided_by"]) == ("posted", "bob")
    assert await till.balance() == 90000 * CENT
    twice = await till.call("POST", f"/credits/orders/{order}/approve", headers=BOB)
    assert (twice.status_code, twice.json()["error"]["code"]) == (409, "credit_order_decided")
    no = (await add(till, 900)).json()["order_id"]
    assert (await till.call("POST", f"/credits/orders/{no}/reject", headers=BOB)).status_code == 200
    assert await till.balance() == 90000 * CENT
    assert await till.violations() == []


async def test_an_adjustment_goes_down_to_zero_and_no_further(till: Till) -> None:
    await add(till, 10)
    body = {"user_id": till.account.id, "amount": -4.25, "reason": "mistake"}
    answer = await till.call("POST", "/credits/adjust", body, headers=ALICE)
    assert answer.json()["new_balance"] == 5.75
    low = await till.call("POST", "/credits/adjust", body | {"amount": -6}, headers=ALICE)
    assert (low.status_code, low.json()["error"]["code"]) == (409, "balance_too_low")
    assert await till.violations() == []


async def test_a_charge_is_given_back_once_and_never_more_than_it_was(till: Till) -> None:
    await add(till, 10)
    await till.world.post(till.account, max_tokens=50)
    await till.world.settle()
    (request,) = await till.world.requests(till.account)
    body = {"account": till.account.id, "request_id": request["request_id"], "reason": "broken"}
    note = await till.call("POST", "/credits/refund", body, headers=ALICE)
    assert note.status_code == 200, note.text
    again = await till.call("POST", "/credits/refund", body, headers=ALICE)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "more_than_charged")
    await till.world.sweep()
    assert await till.balance() == 1000 * CENT
    other = await till.world.account(usd=0)
    foreign = await till.call("POST", "/credits/refund", body | {"account": other.id},
                              headers=ALICE)  # fmt: skip
    assert foreign.status_code == 400
    assert await till.violations() == []


async def test_many_at_once_hinder_each_other_in_nothing(till: Till) -> None:
    other = await till.world.account(usd=0)
    body = {"accounts": [till.account.id, "nobody", other.id, other.id], "amount": 3,
            "reason": "promo", "operation_id": "bulk-1"}  # fmt: skip
    for _ in range(2):
        answer = (await till.call("POST", "/credits/bulk-add", body, headers=ALICE)).json()
        assert [one["account"] for one in answer["orders"]] == [till.account.id, other.id]
        assert [one["code"] for one in answer["failed"]] == ["account_not_found"]
    assert await till.balance() == await till.balance(other.id) == 300 * CENT


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/credits/add"), ("POST", "/credits/adjust"), ("POST", "/credits/refund"),
        ("POST", "/credits/bulk-add"), ("GET", "/credits/summary"), ("GET", "/credits/orders"),
        ("GET", "/credits/transactions"), ("GET", "/credits/transactions/export"),
        ("POST", "/credits/orders/x/approve"), ("POST", "/credits/orders/x/reject"),
        ("POST", "/api/stripe/refund"), ("POST", "/admin/stripe/refund"),
        ("GET", "/admin/billing/drift"), ("GET", "/admin/billing/notices"),
    ],
)  # fmt: skip
async def test_a_customer_is_no_staff(till: Till, method: str, path: str) -> None:
    body = {"account": till.account.id, "amount": 5, "reason": "me", "request_id": "req_1"}
    answer = await till.call(method, path, body if method == "POST" else None)
    assert answer.status_code == 401
    assert await till.balance() == 0


async def fill(till: Till) -> None:
    await add(till, 10, reason='=HYPERLINK("http://evil.example","x")')
    await till.call("POST", "/credits/adjust",
                    {"account": till.account.id, "amount": -2, "reason": "@SUM(1)"},
                    headers=ALICE)  # fmt: skip
    await add(till, 30, reason="third")


async def test_the_record_is_filtered_summed_and_paged_as_its_readers_ask(till: Till) -> None:
    await fill(till)

    async def ask(query: str) -> Any:
        answer = await till.call("GET", f"/user/credit-transactions?{query}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    whole = await ask("limit=50")
    assert [t["amount"] for t in whole["transactions"]] == [30, -2, 10]
    assert whole["total"] == 3
    assert whole["summary"] == {
        "total_transactions": 3, "total_credits_added": 40, "total_credits_used": 2,
        "net_change": 38, "by_type": {
            "admin_credit": {"count": 2, "total": 40}, "admin_debit": {"count": 1, "total": -2},
        },
    }  # fmt: skip
    page = await ask("limit=1&offset=1")
    assert ([t["amount"] for t in page["transactions"]], page["total"]) == ([-2], 3)
    assert [t["amount"] for t in (await ask("type=admin_debit"))["transactions"]] == [-2]
    assert [t["amount"] for t in (await ask("type=admin_credit"))["transactions"]] == [30, 10]
    assert [t["amount"] for t in (await ask("sort=-amount"))["transactions"]] == [30, 10, -2]
    assert [t["amount"] for t in (await ask("sort=asc"))["transactions"]] == [10, -2, 30]
    assert [t["amount"] for t in (await ask("min_amount=5&max_amount=20"))["transactions"]] == [10]
    assert (await ask("from_date=2031-01-01"))["total"] == 0
    assert (await ask("to_date=2031-01-01"))["total"] == 3
    assert (await ask("type=purchase"))["total"] == 0
    before = whole["transactions"][0]
    assert (before["balance_before"], before["balance_after"]) == (8, 38)
    for bad in ("type=nothing", "from_date=x", "min_amount=-1", "sort=up", "limit=0"):
        answer = await till.call("GET", f"/user/credit-transactions?{bad}")
        assert answer.status_code == 400, bad


async def test_charges_are_listed_when_they_are_asked_for(till: Till) -> None:
    await add(till, 10)
    await till.world.post(till.account, max_tokens=50)
    await till.world.settle()
    (request,) = await till.world.requests(till.account)
    used = (await till.call("GET", "/user/credit-transactions?type=api_usage")).json()
    assert [(t["id"], t["amount_nanos"]) for t in used["transactions"]] == [
        (request["request_id"], -request["charge_nanos"])
    ]
    feed = (await till.call("GET", "/analytics/transactions")).json()
    assert (feed["total"], feed["transactions"][0]["id"]) == (1, request["request_id"])
    summary = (await till.call("GET", "/analytics/transactions/summary")).json()
    assert round(summary["total_cost"] * 10**9) == request["charge_nanos"]
    house = (await till.call("GET", "/credits/summary", headers=ALICE)).json()
    assert round(house["total_charged"] * 10**9) == request["charge_nanos"]


async def test_F64_exports_have_no_cell_that_is_a_formula(till: Till) -> None:
    await fill(till)
    for path, who in (
        ("/user/credit-transactions/export", till.account.headers),
        ("/credits/transactions/export", ALICE),
    ):
        answer = await till.call("GET", path, headers=who)
        assert answer.headers["content-type"].startswith("text/csv")
        assert "attachment" in answer.headers["content-disposition"]
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [row["amount"] for row in rows] == ["30", "-2", "10"]
        assert [row["description"] for row in rows] == [
            "third", "'@SUM(1)", "'=HYPERLINK(\"http://evil.example\",\"x\")",
        ]  # fmt: skip
        for row in rows:
            assert not any(cell.lstrip().startswith(("=", "+", "@")) for cell in row.values())
        answer = await till.call("GET", path + "?format=json", headers=who)
        assert [row["description"][0] for row in answer.json()] == ["t", "'", "'"]


def test_F64_a_cell_is_defused_wherever_it_begins() -> None:
    for bad in ("=1+1", "+1", "-1+1", "@A1", "\t=1", "\r=1", "  =1", "＝1"):
        assert safe_cell(bad) == "'" + bad
    assert [safe_cell(x) for x in ("a=b", 5, None, Exact("-5"), "")] == ["a=b", 5, None, "-5", ""]
    assert write_csv([{"a": '=x"y', "b": Exact("-1")}], ("a", "b")) == ('a,b\r\n"\'=x""y",-1\r\n')
