"""The events that people hear of: keys, low credit, ends of trials and plans, top-ups."""

from functools import partial
from typing import Any

import pytest

from functions.send_notices.job import send_notices
from gatewayz.notify.send import run_notices, send_now
from tests.notify.conftest import APP_URL, Box, Office
from tests.world import Account, World

BILLION = 10**9


async def kinds_of(office: Office) -> list[str]:
    return [row[0] for row in await office.sql("select kind from tenancy.notices order by id")]


async def issue(office: Office, name: str, **more: Any) -> None:
    await office.rpc(
        "issue_key", account="acme", key_id=f"key_{name}", name=name,
        hash=name.encode().hex().zfill(64),
        prefix="gw_test_x", environment="test", actor="system", **more,
    )  # fmt: skip


async def test_owners_hear_of_a_new_key_and_not_of_the_first_one(office: Office) -> None:
    await office.member("ada", "owner")
    await issue(office, "1", is_primary=True)
    await issue(office, "2")
    await office.send()
    (mail,) = office.box.letters
    assert 'The key "2" (gw_test_x…, test)' in mail.text


async def test_a_key_that_was_not_made_is_not_told(office: Office) -> None:
    """The notice stands or falls with the event's own transaction."""
    await issue(office, "1")
    with pytest.raises(Exception, match="key name taken"):
        await office.rpc(
            "issue_key", account="acme", key_id="other", name="1", hash="ab" * 32,
            prefix="p", environment="test", actor="system",
        )  # fmt: skip
    assert await kinds_of(office) == ["key_created"]


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        ("auto_topup_off", "Automatic top-up is switched off"),
        ("auto_topup_failed", "An automatic top-up failed"),
        ("auto_topup_capped", "Automatic top-up has reached its limit"),
        ("trial_ended", "Your trial has ended"),
    ],
)
async def test_what_billing_notes_is_told(office: Office, kind: str, subject: str) -> None:
    await office.member("bill", "billing")
    for _ in range(2):
        await office.sql(
            "select ledger.notify('acme', $1, 'once:1', '{\"problem\": \"declined\"}')", kind
        )
    await office.send()
    assert office.box.to("bill@acme.example") == [subject]


async def test_a_note_of_a_kind_without_a_letter_disturbs_nobody(office: Office) -> None:
    await office.sql("select ledger.notify('acme', 'something_new', 'once:1', '{}')")
    assert await kinds_of(office) == []


# ------------------------------------------------------------------ low balance


async def spend(world: World, account: Account, nanos: int) -> None:
    """Charge the account by real requests until `nanos` are gone."""
    before = (await world.balance(account))["balance_nanos"]
    while before - (await world.balance(account))["balance_nanos"] < nanos:
        answer = await world.post(account, "sandbox/story", max_tokens=4000)
        assert answer.status_code == 200
        await world.settle()


async def low(world: World) -> list[tuple[int, int]]:
    taken = await world.stores.postgres.rpc("notice_stats", {})
    assert taken["waiting"] == 0
    connection = Office(world.stores, world.settings.stores.database_url)
    rows = await connection.sql(
        "select (data ->> 'balance_nanos')::bigint, (data ->> 'threshold_nanos')::bigint"
        " from tenancy.notices where kind = 'low_balance' order by id"
    )
    return [(row[0], row[1]) for row in rows]


async def test_a_balance_that_falls_below_the_threshold_is_told_once_until_credit_comes(
    world: World,
) -> None:
    account = await world.account(usd="10.0001")
    office = Office(world.stores, world.settings.stores.database_url)
    await spend(world, account, 100_001)
    (first,) = await low(world)
    assert first[0] < first[1] == 10 * BILLION
    await spend(world, account, 1)
    assert len(await low(world)) == 1
    # Credit came and is spent again on the same day: told once a day at most.
    await world.stores.postgres.rpc(
        "grant_credit", {"op_id": "g2", "account": account.id, "amount_nanos": 300_000}
    )
    await office.sql("update tenancy.notices set once = once || '-yesterday'")
    await spend(world, account, 300_001)
    assert len(await low(world)) == 2
    assert await world.violations() == []


async def test_each_member_hears_at_the_threshold_of_their_own(world: World) -> None:
    account = await world.account(usd="3")
    set_preferences = partial(world.stores.postgres.rpc, "set_notice_preferences")
    await set_preferences({"account": account.id, "set": {"low_balance_nanos": 0}})
    for member, nanos in (("ada", 2_999_900_000), ("bob", 1 * BILLION)):
        await set_preferences(
            {"account": account.id, "member": member, "set": {"low_balance_nanos": nanos}}
        )
    await spend(world, account, 100_001)
    assert [threshold for _, threshold in await low(world)] == [2_999_900_000]


async def test_a_threshold_of_nothing_is_never_told(world: World) -> None:
    account = await world.account(usd="3")
    await world.stores.postgres.rpc(
        "set_notice_preferences", {"account": account.id, "set": {"low_balance_nanos": 0}}
    )
    await spend(world, account, 1)
    assert await low(world) == []


# ------------------------------------------------------------------ ends


async def trial(office: Office, days: int) -> None:
    await office.sql(
        "insert into ledger.trials (account, code, nanos, tokens_most, requests_most, started_at,"
        " ends_at) values ('acme', 'DEFAULT', 0, 1, 1, now(), now() + $1 * interval '1 day')",
        days,
    )


@pytest.mark.parametrize(("days", "told"), [(1, ["eve"]), (3, ["eve"]), (8, [])])
async def test_a_trials_end_is_told_so_many_days_before_as_each_member_wants(
    office: Office, days: int, told: list[str]
) -> None:
    await office.member("ada", "owner")
    await office.member("eve", "billing")
    await office.rpc("set_notice_preferences", account="acme", member="ada", set={"trial_days": 0})
    await office.rpc("set_notice_preferences", account="acme", member="eve", set={"trial_days": 7})
    await trial(office, days)
    for _ in range(2):
        await office.rpc("remind_of_ends")
    await office.send()
    assert [mail.to.partition("@")[0] for mail in office.box.letters] == told


async def test_the_end_of_a_plan_is_told_a_week_before(office: Office) -> None:
    await office.member("ada", "owner")
    for name, days in (("sub_a", 6), ("sub_b", 9)):
        await office.sql(
            "insert into ledger.subscriptions (subscription, account, plan, price, status,"
            " period_start, period_end, ends_at_period_end, read_at, created_at)"
            " values ($1, 'acme', 'team', 'p', 'active', now(), now() + $2 * interval '1 day',"
            " true, now(), now())",
            name,
            days,
        )
    assert await office.rpc("remind_of_ends") == {"told": 1}
    await office.send()
    assert [mail.subject.partition(" on ")[0] for mail in office.box.letters] == ["Your plan ends"]


# ------------------------------------------------------------------ who sends


async def test_the_schedule_sends_all_that_waits(office: Office, world: World) -> None:
    await office.member("ada", "owner")
    await trial(office, 1)
    for number in range(120):
        await office.event("invitation", f"i:{number}", email=f"p{number}@else.example")
    box = Box()
    done = await run_notices(office.stores, world.settings, box)
    assert (done["sent"], done["reminders"], done["configured"]) == (121, {"told": 1}, True)
    assert len(box.letters) == 121


async def test_without_a_way_to_send_letters_wait(
    office: Office, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    await office.event("invitation", "i:1", email="p@else.example")
    assert (await send_notices(office.stores))["configured"] is False
    assert (await office.send())["sent"] == 1


async def test_who_waits_for_a_letter_has_it_sent_at_once_and_never_fails(
    office: Office, world: World
) -> None:
    await office.event("sign_in_link", "l:1", email="ada@acme.example", link=f"{APP_URL}/x")
    await office.event("invitation", "i:1", email="p@else.example")
    box = Box()
    assert await send_now(office.stores, world.settings, "l:1", box) is True
    assert [mail.to for mail in box.letters] == ["ada@acme.example"]
    assert await send_now(office.stores, world.settings, "l:1", box) is False
    await office.stores.postgres.close()
    assert await send_now(office.stores, world.settings, "i:1", None) is False
