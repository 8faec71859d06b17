"""Automatic top-ups: once for each crossing, within caps, off after three declines."""

import asyncio
import re
from typing import Any

import asyncpg

from gatewayz.billing.due import send_due
from tests.billing.conftest import CENT, Till, charge

PAID = 20 * 95 * CENT  # $20 less the fee of 5 %
WANTED = {"enabled": True, "threshold_cents": 500, "amount_cents": 2000}


async def save_card(till: Till, card: str = "pm_card_visa") -> str:
    opened = (await till.call("POST", "/api/stripe/setup-session", {})).json()
    till.fake.checkout.pay(opened["session_id"], card)
    await till.deliver()
    listed = (await till.call("GET", "/api/stripe/payment-methods")).json()
    return str(listed["payment_methods"][0]["id"])


async def turn_on(till: Till, **more: Any) -> Any:
    answer = await till.call("PUT", "/user/auto-topup", WANTED | more)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def grant(till: Till, cents: int, op_id: str = "start") -> None:
    params = {"op_id": op_id, "account": till.account.id, "amount_nanos": cents * CENT}
    await till.stores.postgres.rpc("grant_credit", params | {"reason": "test"})


async def settle(till: Till, *messages: dict[str, Any]) -> None:
    await till.stores.postgres.rpc("settle_charges", {"messages": list(messages)})
    await send_due(till.stores.postgres, till.stores.queue)
    await till.work()


def paid(till: Till) -> list[Any]:
    return [i for i in till.fake.stripe.all("payment_intent") if i["status"] == "succeeded"]


async def test_F78_a_thousand_requests_below_the_threshold_are_one_payment(till: Till) -> None:
    await save_card(till)
    await grant(till, 1000)
    await turn_on(till)
    messages = [charge(till, number, CENT) for number in range(1000)]
    batches = [messages[start : start + 50] for start in range(0, 1000, 50)]
    postgres = till.stores.postgres

    async def post(batch: list[dict[str, Any]]) -> None:
        await postgres.rpc("settle_charges", {"messages": batch}, timeout_s=30)
        await send_due(postgres, till.stores.queue)
        await till.work()

    await asyncio.gather(*map(post, batches))
    (intent,) = paid(till)
    assert (intent["amount"], intent["setup_future_usage"]) == (2000, None)
    row = await postgres.rpc("find_auto_topup", {"account": till.account.id})
    assert (row["epoch"], row["state"]) == (1, "armed")
    assert await till.balance() == PAID
    await till.deliver()
    assert await till.balance() == PAID
    payments = (await till.call("GET", "/api/stripe/payments")).json()["payments"]
    assert [(one["kind"], one["status"]) for one in payments] == [("auto_topup", "paid")]
    assert await till.violations() == []


async def test_the_next_crossing_is_another_payment(till: Till) -> None:
    await save_card(till)
    await grant(till, 600)
    await turn_on(till)
    await settle(till, charge(till, 1, 200 * CENT))
    assert len(paid(till)) == 1
    await settle(till, charge(till, 2, 10 * CENT))
    assert len(paid(till)) == 1
    await settle(till, charge(till, 3, PAID))
    assert len(paid(till)) == 2
    shown = (await till.call("GET", "/user/auto-topup")).json()
    assert (shown["charged_this_month"], shown["failures"], shown["problem"]) == (40, 0, None)


async def test_it_is_due_at_once_when_credit_is_low_already(till: Till) -> None:
    await save_card(till)
    await turn_on(till)
    await till.work()
    assert await till.balance() == PAID


async def test_the_same_message_twice_and_a_lost_answer_pay_once(till: Till) -> None:
    await save_card(till)
    await turn_on(till)
    message = {"v": 1, "account": till.account.id, "epoch": 1}
    for copy in range(3):
        await till.stores.queue.send("stripe_events", f"copy{copy}", message)
    await asyncio.gather(till.work(), till.work())
    await till.work()
    assert len(paid(till)) == 1
    assert await till.balance() == PAID


async def test_the_monthly_cap_ends_it_and_is_told_once(till: Till) -> None:
    await save_card(till)
    await turn_on(till, monthly_cap_cents=3000)
    await till.work()
    await settle(till, charge(till, 1, PAID))
    await settle(till, charge(till, 2, 1 * CENT))
    assert len(paid(till)) == 1
    shown = (await till.call("GET", "/user/auto-topup")).json()
    assert (shown["enabled"], shown["problem"]) == (True, "monthly_cap")
    notices = await till.stores.postgres.rpc("list_billing_notices", {})
    assert [(n["kind"], n["detail"]) for n in notices] == [
        ("auto_topup_capped", {"cap": "monthly_cap"})
    ]


async def test_F78_three_declines_switch_it_off_and_notify(till: Till) -> None:
    card = await save_card(till)
    await turn_on(till)
    till.fake.payments.set_behaviour(card, "card_declined")
    await till.work()
    postgres = till.stores.postgres
    for failures in (1, 2, 3):
        row = await postgres.rpc("find_auto_topup", {"account": till.account.id})
        assert (row["failures"], row["enabled"]) == (failures, failures < 3)
        # Waits an hour and longer, whatever is charged meanwhile.
        await settle(till, charge(till, failures, 1))
        await _forget_the_wait(till)
        await settle(till, charge(till, 10 + failures, 1))
    assert len(till.fake.stripe.all("payment_intent")) == 3
    assert paid(till) == []
    notices = await postgres.rpc("list_billing_notices", {})
    assert [n["kind"] for n in notices] == [
        "auto_topup_failed", "auto_topup_failed", "auto_topup_off",
    ]  # fmt: skip
    shown = (await till.call("GET", "/user/auto-topup")).json()
    assert (shown["enabled"], shown["problem"]) == (False, "card_declined")
    assert await till.violations() == []


async def _forget_the_wait(till: Till) -> None:
    connection = await asyncpg.connect(till.world.settings.stores.database_url)
    await connection.execute("update ledger.auto_topups set not_before = null")
    await connection.close()


async def test_a_card_that_wants_its_bank_asked_is_a_failure_and_no_charge(till: Till) -> None:
    await save_card(till, "pm_card_authenticationRequired")
    await turn_on(till)
    await till.work()
    row = await till.stores.postgres.rpc("find_auto_topup", {"account": till.account.id})
    assert (row["failures"], row["problem"]) == (1, "authentication_required")
    assert await till.balance() == 0


async def test_without_a_saved_card_it_cannot_be_switched_on(till: Till) -> None:
    answer = await till.call("PUT", "/user/auto-topup", WANTED)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "no_payment_method")
    card = await save_card(till)
    other = await till.call("PUT", "/user/auto-topup", WANTED | {"payment_method": "pm_other"})
    assert other.json()["error"]["code"] == "no_payment_method"
    assert (await turn_on(till, payment_method=card))["payment_method"] == card
    off = await till.call("PUT", "/user/auto-topup", WANTED | {"enabled": False})
    assert off.json()["enabled"] is False


async def test_F88_nothing_of_a_card_is_kept_but_the_processors_names_for_it(till: Till) -> None:
    """Neither digits nor an expiry, also not inside an event; Stripe's hash is no card."""
    card = till.fake.payments.card("pm_card_visa")
    card["card"]["last4"] = "canary"
    await save_card(till, card["id"])
    await turn_on(till)
    await till.work()
    await till.deliver()
    connection = await asyncpg.connect(till.world.settings.stores.database_url)
    tables = await connection.fetch(
        "select schemaname || '.' || tablename as name from pg_tables"
        " where schemaname in ('ledger', 'tenancy', 'queue')"
    )
    for table in tables:
        for row in await connection.fetch(f"select t::text as text from {table['name']} t"):
            assert not re.search("canary|exp_month|last4", row["text"]), table["name"]
    await connection.close()
