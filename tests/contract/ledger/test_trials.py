"""Trials, at the level of the functions themselves: for whom, for how long, how much."""

from typing import Any

import pytest

from tests.contract.ledger.test_inflows import apply, holds, later, order, refused

USD = 10**9
CARD, PHONE = "ab" * 32, "cd" * 32


async def signal(ledger, account: str, value: str = CARD, kind: str = "card") -> None:
    await ledger.rpc("note_signal", account=account, kind=kind, hash=value)


async def start(ledger, account: str = "ann", code: str | None = None) -> Any:
    return await ledger.rpc("start_trial", account=account, code=code)


async def people(ledger, *names: str) -> None:
    for name in names:
        await ledger.open(name, 0)


async def state(ledger, account: str = "ann") -> Any:
    return (await ledger.rpc("find_trial", account=account))["trial"]


async def test_a_trial_wants_something_verified_and_is_given_once(ledger):
    await people(ledger, "ann", "bob")
    assert (await start(ledger))["error_code"] == "VERIFICATION_REQUIRED"
    for _ in range(2):
        await signal(ledger, "ann")
    assert (await start(ledger, code="nobody"))["error_code"] == "TRIAL_CODE_NOT_FOUND"
    made = await start(ledger)
    assert (made["nanos"], made["tokens_most"], made["requests_most"]) == (5 * USD, 10**6, 10**4)
    assert made["ends_at_ms"] - made["started_at_ms"] == 14 * 86_400_000
    assert (made["active"], made["converted"], made["left_nanos"]) == (True, False, 5 * USD)
    assert (await start(ledger))["error_code"] == "TRIAL_ALREADY_USED"
    found = await ledger.rpc("find_trial", account="ann")
    assert (found["signals"], found["paid"]) == (["card"], False)
    assert (await ledger.rpc("find_trial", account="bob"))["trial"] is None
    await holds(ledger, 5 * USD)


async def test_one_person_is_known_by_any_of_their_signals(ledger):
    await people(ledger, "ann", "bob", "carl")
    await signal(ledger, "ann")
    await signal(ledger, "ann", PHONE, "phone")
    await start(ledger)
    await signal(ledger, "bob", PHONE, "phone")
    assert (await start(ledger, "bob"))["error_code"] == "TRIAL_ALREADY_USED"
    # The same digest of another kind is another signal.
    await signal(ledger, "carl", PHONE, "email")
    assert "error_code" not in await start(ledger, "carl")


async def test_who_paid_is_no_new_customer_under_any_name(ledger):
    await people(ledger, "ann", "bob", "carl")
    await order(ledger)
    await apply(ledger)
    await signal(ledger, "ann")
    assert (await start(ledger))["error_code"] == "NOT_A_NEW_CUSTOMER"
    await signal(ledger, "bob")
    assert (await start(ledger, "bob"))["error_code"] == "NOT_A_NEW_CUSTOMER"
    await signal(ledger, "carl", PHONE)
    assert "error_code" not in await start(ledger, "carl")
    await order(ledger, "pay_2", account="carl")
    await apply(ledger, name="2")
    assert (await state(ledger, "carl"))["converted"] is True


@pytest.mark.parametrize(("limit", "used"), [("tokens", 9), ("requests", 1)])
async def test_a_limit_ends_it_when_it_is_reached_and_not_before(ledger, limit, used):
    await people(ledger, "ann")
    await signal(ledger, "ann")
    terms = {"tokens": 20, "requests": 2} if limit == "requests" else {"tokens": 10, "requests": 9}
    await ledger.rpc("set_trial_terms", code="tiny", name="Tiny", days=1, nanos=1000, plan="free",
                     active=True, **terms)  # fmt: skip
    await start(ledger, code="TINY")

    async def use(tokens: int) -> None:
        lease = await ledger.reserve("ann", 10, private=True, record="{}")
        message = ledger.message(tokens, lease=lease["lease"], close=True)
        message["lines"].append(["request", 5, 0])
        assert await ledger.settle(message) == ["posted"]

    await use(9 if limit == "tokens" else 1)
    before = await state(ledger)
    assert (before["active"], before["ended_by"], before[limit]) == (True, None, used)
    await use(1)
    after = await state(ledger)
    assert (after["active"], after["ended_by"], after[limit]) == (False, limit, used + 1)
    assert after["spent_nanos"] == (10 if limit == "tokens" else 2)
    assert after["left_nanos"] == 0
    await ledger.rpc("expire_wallets")
    await holds(ledger, 0)


async def test_its_time_ends_it_once_and_it_is_told_before(ledger):
    await later(ledger, "0 seconds")
    await people(ledger, "ann", "bob")
    await signal(ledger, "ann")
    await start(ledger, code="redbeard")
    cap = await ledger.rpc("find_daily_cap", account="ann")
    assert cap["day_nanos"] == 5 * USD
    assert await ledger.rpc("end_trials") == {"ended": 0, "told": 0}
    await later(ledger, "11 days")
    assert await ledger.rpc("end_trials") == {"ended": 0, "told": 1}
    assert await ledger.rpc("end_trials") == {"ended": 0, "told": 0}
    await later(ledger, "3 days")
    assert (await state(ledger))["active"] is False
    assert await ledger.rpc("end_trials") == {"ended": 1, "told": 0}
    assert await ledger.rpc("end_trials") == {"ended": 0, "told": 0}
    assert (await state(ledger))["ended_by"] == "time"
    assert (await ledger.rpc("find_daily_cap", account="ann"))["day_nanos"] is None
    assert (await ledger.rpc("expire_wallets"))["expired_nanos"] == 20 * USD
    await holds(ledger, 0)


async def test_terms_are_those_of_the_day_it_began(ledger):
    await people(ledger, "ann", "bob")
    await signal(ledger, "ann")
    await signal(ledger, "bob", PHONE)
    terms = {"code": "x-1", "name": "X", "days": 2, "nanos": 100, "tokens": 5, "requests": 6,
             "plan": "dev", "active": True, "day_nanos": 40}  # fmt: skip
    made = await ledger.rpc("set_trial_terms", **terms)
    assert made == {**terms, "code": "X-1"}
    assert await ledger.rpc("find_trial_terms", code="x-1") == made
    assert await ledger.rpc("find_trial_terms", code="y") is None
    await start(ledger, code="X-1")
    await ledger.rpc("set_trial_terms", **(terms | {"nanos": 0, "active": False}))
    assert (await state(ledger))["nanos"] == 100
    assert (await start(ledger, "bob", "x-1"))["error_code"] == "TRIAL_CODE_NOT_FOUND"
    bad = ledger.rpc("set_trial_terms", **(terms | {"days": 91}))
    assert (await refused(bad)).startswith("PT400")
    await holds(ledger, 100)


async def test_a_trial_without_credit_gives_none(ledger):
    await people(ledger, "ann")
    await signal(ledger, "ann")
    await ledger.rpc("set_trial_terms", code="bare", name="B", days=1, nanos=0, tokens=1,
                     requests=1, plan="free", active=True)  # fmt: skip
    assert (await start(ledger, code="bare"))["left_nanos"] == 0
    await holds(ledger, 0)


async def test_trials_are_summed_for_all_and_for_a_code(ledger):
    await people(ledger, "ann", "bob")
    await signal(ledger, "ann")
    await signal(ledger, "bob", PHONE)
    await start(ledger)
    await start(ledger, "bob", "REDBEARD")
    await order(ledger)
    await apply(ledger)
    row = await ledger.rpc("summarize_trials")
    assert (row["trials"], row["active"], row["converted"]) == (2, 2, 1)
    assert row["granted_nanos"] == 25 * USD
    row = await ledger.rpc("summarize_trials", code="redbeard")
    assert (row["trials"], row["converted"], row["granted_nanos"]) == (1, 0, 20 * USD)
