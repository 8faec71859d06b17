"""Trials: one for a person, for ever, only with something verified; and a cap of a day."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gatewayz.core.settings import Settings
from gatewayz.local.mount import load_modules
from tests.billing.conftest import CENT, STAFF_SECRET, Till
from tests.world import Account

STAFF = {"authorization": f"Bearer {STAFF_SECRET}"}
TRIAL = 500 * CENT


async def run(till: Till, statement: str) -> None:
    connection = await asyncpg.connect(till.world.settings.stores.database_url)
    await connection.execute(statement)
    await connection.close()


async def save_card(till: Till, account: Account, fingerprint: str) -> None:
    answer = await till.call("POST", "/api/stripe/setup-session", {}, headers=account.headers)
    card = till.fake.payments.card("pm_card_visa")
    till.fake.payments.set_fingerprint(card["id"], fingerprint)
    till.fake.checkout.pay(answer.json()["session_id"], card["id"])
    await till.deliver()


async def start(till: Till, account: Account | None = None, **body: Any) -> Any:
    headers = (account or till.account).headers
    return await till.call("POST", "/trial/start", body, headers=headers)


def code_of(answer: Any) -> str:
    return str(answer.json()["error"]["code"])


async def test_a_saved_card_opens_the_trial_and_nothing_is_charged(till: Till) -> None:
    refused = await start(till)
    assert (refused.status_code, code_of(refused)) == (403, "verification_required")
    await save_card(till, till.account, "card-a")
    before = (await till.call("GET", "/trial/status")).json()
    assert (before["can_start"], before["verified"], before["is_trial"]) == (True, ["card"], False)
    # What a client says of days or credit is not read.
    answer = await start(till, trial_days=30, credits=1000)
    state = answer.json()
    assert (state["trial_active"], state["trial_max_credits"], state["trial_max_tokens"],
            state["trial_max_requests"]) == (True, 5, 1_000_000, 10_000)  # fmt: skip
    assert answer.headers["x-trial-expired"] == "false"
    assert answer.headers["x-trial-remaining-credits"] == "5"
    assert answer.headers["x-trial-end-date"] == state["trial_end_date"]
    assert await till.balance() == TRIAL
    assert till.fake.stripe.all("charge") == []
    twice = await start(till)
    assert (twice.status_code, code_of(twice)) == (409, "trial_already_used")
    assert await till.balance() == TRIAL
    assert await till.violations() == []


async def test_one_person_has_one_trial_whatever_accounts_they_make(till: Till) -> None:
    others = [await till.world.account(usd=0) for _ in range(6)]
    for account in [till.account, *others]:
        await save_card(till, account, "one-card")
    answers = await asyncio.gather(*(start(till, account) for account in [till.account, *others]))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200, 409, 409, 409, 409, 409, 409]
    assert await till.violations() == []


async def test_who_paid_once_is_no_new_customer_under_any_name(till: Till) -> None:
    opened = await till.checkout(1000)
    card = till.fake.payments.card("pm_card_visa")
    till.fake.payments.set_fingerprint(card["id"], "payer")
    till.fake.checkout.pay(opened["session_id"], card["id"])
    await till.deliver()
    assert code_of(await start(till)) == "not_a_new_customer"
    second = await till.world.account(usd=0)
    await save_card(till, second, "payer")
    assert code_of(await start(till, second)) == "not_a_new_customer"


async def test_a_partners_code_has_its_own_terms(till: Till) -> None:
    await save_card(till, till.account, "card-a")
    assert code_of(await start(till, partner_code="NOBODY")) == "trial_code_not_found"
    check = (await till.call("GET", "/partner-trials/check/redbeard")).json()
    assert (check["valid"], check["partner_name"]) == (True, "Redbeard")
    terms = {"name": "Acme", "trial_days": 7, "credit_cents": 300, "max_tokens": 5, "plan": "dev"}
    assert (await till.call("PUT", "/admin/trial/terms/ACME", terms)).status_code == 401
    await till.call("PUT", "/admin/trial/terms/acme", terms, headers=STAFF)
    shown = (await till.call("GET", "/partner-trials/config/Acme")).json()
    assert (shown["credits"], shown["trial_days"], shown["max_tokens"]) == (3, 7, 5)
    answer = await till.call("POST", "/partner-trials/start", {"partner_code": "acme"})
    assert (answer.json()["partner_code"], answer.json()["trial_max_credits"]) == ("ACME", 3)
    figures = (await till.call("GET", "/admin/trial/analytics", headers=STAFF)).json()
    assert (figures["trials"], figures["granted"], figures["converted"]) == (1, 3, 0)


async def test_trial_credit_is_spent_first_and_lapses_with_the_trial(till: Till) -> None:
    await save_card(till, till.account, "card-a")
    await start(till)
    rpc = till.stores.postgres.rpc
    grant = {"op_id": "g", "account": till.account.id, "amount_nanos": 200 * CENT, "reason": "x"}
    await rpc("grant_credit", grant)
    assert (await till.world.post(till.account, max_tokens=50)).status_code == 200
    await till.world.settle()
    await till.world.sweep()
    state = (await till.call("GET", "/trial/status")).json()
    assert state["trial_used_requests"] == 1
    assert 0 < state["trial_used_tokens"] < 1000
    assert state["trial_remaining_credits"] < 5
    await run(till, "update ledger.trials set ends_at = now()")
    await run(till, "update ledger.books set expires_at = now() where wallet = 'trial'")
    ((_, daily),) = load_modules("job", only="run_daily")
    done = await daily.run_daily(till.stores)
    assert done["trials"] == {"ended": 1, "told": 0}
    assert await till.balance() == 200 * CENT
    ended = await till.call("GET", "/trial/status")
    assert (ended.json()["trial_expired"], ended.json()["trial_ended_by"]) == (True, "time")
    assert ended.headers["x-trial-expired"] == "true"
    assert [n["kind"] for n in await rpc("list_billing_notices", {})] == ["trial_ended"]
    assert await till.violations() == []


async def test_a_limit_of_the_trial_ends_it(till: Till) -> None:
    terms = {"name": "Tiny", "max_requests": 1}
    await till.call("PUT", "/admin/trial/terms/tiny", terms, headers=STAFF)
    await save_card(till, till.account, "card-a")
    await start(till, partner_code="tiny")
    assert (await till.world.post(till.account, max_tokens=50)).status_code == 200
    await till.world.settle()
    state = (await till.call("GET", "/trial/status")).json()
    assert (state["trial_active"], state["trial_ended_by"]) == (False, "requests")
    await till.world.sweep()
    await asyncio.sleep(1.1)  # a refusal would be remembered for a second
    refused = await till.world.post(till.account, max_tokens=50)
    assert refused.status_code == 402
    await load_modules_daily(till)
    assert await till.balance() == 0
    assert await till.violations() == []


async def test_staff_sees_what_trials_brought_and_ends_one(till: Till) -> None:
    other = await till.world.account(usd=0)
    await save_card(till, till.account, "card-a")
    await save_card(till, other, "card-b")
    await start(till, partner_code="REDBEARD")
    await till.call("POST", "/trial/start", {}, headers=other.headers)
    state = (await till.call("GET", "/trial/status")).json()
    assert state["subscription_plan"] == "team"
    limit = (await till.call("GET", "/partner-trials/daily-limit")).json()
    assert limit == {"daily_limit": 5, "used_today": 0, "remaining_today": 5}
    assert (await till.world.post(till.account, max_tokens=50)).status_code == 200
    await till.world.settle()
    order = await till.checkout(1000)
    till.fake.checkout.pay(order["session_id"])
    await till.deliver()

    async def staff(method: str, path: str) -> Any:
        answer = await till.call(method, path, headers=STAFF)
        return answer.json() if answer.status_code == 200 else answer.status_code

    figures = await staff("GET", "/admin/trial/analytics")
    assert figures["funnel"] == {
        "verified": 2, "started": 2, "used": 1, "used_up": 0, "converted": 1,
    }  # fmt: skip
    rates = {row["code"]: row["conversion_rate"] for row in figures["by_code"]}
    assert rates == {"DEFAULT": 0, "REDBEARD": 1}
    (cohort,) = figures["cohorts"]
    assert (cohort["trials"], cohort["used"], cohort["converted"]) == (2, 1, 1)
    only = await staff("GET", "/admin/trial/analytics?code=redbeard")
    assert (only["trials"], only["conversion_rate"]) == (1, 1)
    assert (await staff("GET", "/admin/trial/analytics?code=none"))["conversion_rate"] is None

    users = await staff("GET", "/admin/trial/users?limit=1")
    assert (users["total"], [u["user_id"] for u in users["users"]]) == (2, [other.id])
    users = await staff("GET", "/admin/trial/users?status=converted&code=redbeard")
    assert [u["user_id"] for u in users["users"]] == [till.account.id]

    ended = await staff("POST", f"/admin/trial/expire/{other.id}")
    assert (ended["trial_active"], ended["trial_ended_by"]) == (False, "staff")
    assert await staff("POST", f"/admin/trial/expire/{other.id}") == 404
    assert (await staff("GET", "/admin/trial/users?status=ended"))["total"] == 1
    assert (await staff("GET", "/admin/trial/users?status=active"))["total"] == 1
    await load_modules_daily(till)
    assert await till.balance(other.id) == 0
    assert (await till.call("GET", "/admin/trial/users")).status_code in (401, 403)
    assert await till.violations() == []


async def load_modules_daily(till: Till) -> None:
    ((_, daily),) = load_modules("job", only="run_daily")
    await daily.run_daily(till.stores)


GIFT = """
[[models]]
id = "acme/gift"
provider = "sandbox"
native_id = "echo"
free = true
"""


class TestFreeModels:
    @pytest.fixture
    def tune(self, tune: Any, tmp_path: Path) -> Any:
        file = tmp_path / "gift.toml"
        file.write_text(GIFT)

        def tuned(settings: Settings) -> Settings:
            made = tune(settings)
            return replace(made, catalog=replace(made.catalog, providers_file=str(file)))

        return tuned

    async def test_without_credit_only_free_models_are_served(self, till: Till) -> None:
        """After a trial, or before any payment; a debt is a debt for free models too."""
        for _ in range(3):
            answer = await till.world.post(till.account, "acme/gift", max_tokens=50)
            assert answer.status_code == 200, answer.text
        assert (await till.world.post(till.account, max_tokens=50)).status_code == 402
        await till.world.settle()
        rows = await till.world.requests(till.account)
        assert [row["charge_nanos"] for row in rows] == [0, 0, 0]
        await till.world.sweep()
        assert await till.balance() == 1000  # a millionth of a dollar, to hold and give back
        assert await till.violations() == []
        opened = await till.checkout(1000)
        till.fake.checkout.pay(opened["session_id"])
        await till.deliver()
        await asyncio.sleep(1.1)  # a refusal is remembered for a second
        assert (await till.world.post(till.account, max_tokens=50)).status_code == 200


class TestDailyCap:
    async def test_it_is_part_of_the_reservation(self, till: Till) -> None:
        """Fifty at once against a cap of a few: what is served stays within it."""
        rpc = till.stores.postgres.rpc
        grant = {"op_id": "g", "account": till.account.id, "amount_nanos": 10**10, "reason": "x"}
        await rpc("grant_credit", grant)
        none = (await till.call("GET", "/user/daily-cap")).json()
        assert (none["daily_cap"], none["remaining_today"]) == (None, None)
        await till.call("PUT", "/user/daily-cap", {"daily_cap": "0.0002"})
        answers = await asyncio.gather(
            *(till.world.post(till.account, max_tokens=20) for _ in range(50))
        )
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 402}, answers[0].text
        await till.world.settle()
        await till.world.sweep()
        spent = sum(row["charge_nanos"] for row in await till.world.requests(till.account))
        assert 0 < spent <= 200_000
        shown = (await till.call("GET", "/user/daily-cap")).json()
        assert round(shown["spent_today"] * 10**9) == spent
        refusal = next(a for a in answers if a.status_code == 402).json()["error"]
        assert refusal["code"] in ("budget_exceeded", "insufficient_credits")
        # A new day has room again.
        await run(till, "update ledger.key_spending set day = day - 1")
        await asyncio.sleep(1.1)
        assert (await till.world.post(till.account, max_tokens=20)).status_code == 200
        await till.call("PUT", "/user/daily-cap", {"daily_cap": None})
        assert (await till.call("GET", "/user/daily-cap")).json()["daily_cap"] is None
        assert await till.violations() == []

    @pytest.mark.parametrize("cap", ["-1", "x", 5, "1.0000000001", ""])
    async def test_a_cap_is_dollars(self, till: Till, cap: Any) -> None:
        answer = await till.call("PUT", "/user/daily-cap", {"daily_cap": cap})
        assert answer.status_code == 400

    async def test_a_partners_trial_may_have_one(self, till: Till) -> None:
        await save_card(till, till.account, "card-a")
        await start(till, partner_code="REDBEARD")
        shown = (await till.call("GET", "/user/daily-cap")).json()
        assert (shown["daily_cap"], shown["own_cap"], shown["remaining_today"]) == (5, None, 5)
