"""The admission script at its edges: amounts that fit exactly, ends that fall together, what a new
lease forgets. Each case is one that a broken guard got past the other tests with (make mutants).
"""

import pytest

from tests.contract.test_admit_script import LIVE_MS, A, Account, account, upstash

__all__ = ["account", "upstash"]

LEASE = ("L1", "op1", 1000, 600_000)


async def test_the_whole_of_what_is_left_can_be_held(account: Account) -> None:
    assert (await account.admit("r1", 1000, refill=LEASE))[0] == "OK"
    assert await account.left() in (0, -1)
    assert (await account.admit("r2", 1))[:3] == ["LEASE", "L1", "0"]


async def test_one_more_than_what_is_left_cannot(account: Account) -> None:
    assert (await account.admit("r1", 1001, refill=LEASE))[:3] == ["LEASE", "L1", "1000"]
    assert await account.left() == 1000


async def test_a_limit_nobody_has_used_can_be_used_to_the_last_nano(account: Account) -> None:
    """A field that is absent has used nothing."""
    await account.call("refill", *LEASE)
    await account.call("load")
    over = await account.admit("r0", 101, scopes=(("key", 100),))
    assert over[:3] == ["BUDGET", "nT 100 key", "100"]
    assert (await account.admit("r1", 100, scopes=(("key", 100),)))[0] == "OK"
    gone = await account.admit("r2", 1, scopes=(("key", 100),))
    assert gone[:3] == ["BUDGET", "nT 100 key", "0"]


async def test_what_was_loaded_counts(account: Account) -> None:
    await account.call("refill", *LEASE)
    await account.call("load", "key|total", 7)
    assert (await account.admit("r1", 100, scopes=(("key", 107),)))[0] == "OK"
    over = await account.admit("r2", 1, scopes=(("key", 107),))
    assert over[:3] == ["BUDGET", "nT 107 key", "0"]


async def test_a_new_lease_forgets_what_the_old_one_knew(account: Account) -> None:
    """Its steps and its refusals were of the other lease; only epoch and last visit stay."""
    await account.call("refill", *LEASE)
    await account.call("epoch", 3)
    await account.call("poor", 5)
    reply = await account.call("refill", "L2", "op2", 50, 700_000)
    assert reply == ["OK", "L1", "1000"]
    rows = account._client.hgetall(f"acct:{{{A}}}")
    kept = {name.decode(): value.decode() for name, value in rows.items()}
    assert set(kept) == {"lease", "left", "until", "epoch", "seen", "op:op2"}
    assert (kept["lease"], kept["left"], kept["epoch"]) == ("L2", "50", "3")
    assert (await account.admit("r1", 60, epoch=3))[:3] == ["LEASE", "L2", "50"]


async def test_a_step_lifts_the_refusal_that_was_remembered(account: Account) -> None:
    await account.call("refill", *LEASE)
    await account.call("poor", 0)
    assert (await account.admit("r1", 1100))[:2] == ["POOR", "1000"]
    await account.call("refill", "L1", "op2", 50, 600_000)
    assert (await account.admit("r2", 1100))[:3] == ["LEASE", "L1", "1050"]


async def test_what_postgres_has_besides_counts_against_a_refusal(account: Account) -> None:
    """Refused at once only when lease and wallet together are too small."""
    await account.call("refill", *LEASE)
    await account.call("poor", 100)
    assert (await account.admit("r1", 1100))[0] == "LEASE"
    assert (await account.admit("r2", 1101))[:2] == ["POOR", "1100"]


async def test_a_first_lease_displaces_nothing(account: Account) -> None:
    assert await account.call("refill", *LEASE) == ["OK", "", "0"]
    assert await account.call("refill", *LEASE) == ["OK", "", "0"]
    assert await account.left() == 1000


async def test_a_step_of_a_lease_that_ends_sooner_is_stale_and_changes_nothing(
    account: Account,
) -> None:
    await account.call("refill", *LEASE)
    assert await account.call("refill", "L0", "op0", 70, 500_000) == ["STALE", "L0", "70"]
    assert await account.left() == 1000
    held = await account.admit("r1", 10, refill=("L0", "op9", 70, 500_000))
    assert (held[0], held[1], held[3], held[4]) == ("OK", "L1", "L0", "70")


@pytest.mark.parametrize(("live_ms", "status"), [(599_000, "OK"), (601_000, "LEASE")])
async def test_a_hold_must_end_within_its_lease(
    account: Account, live_ms: int, status: str
) -> None:
    await account.call("refill", *LEASE)
    assert (await account.admit("r1", 10, live_ms=live_ms))[0] == status


@pytest.mark.parametrize(("charge", "left"), [(0, 1000), (300, 700), (400, 600), (900, 100)])
async def test_finishing_gives_back_the_rest_or_takes_the_excess(
    account: Account, charge: int, left: int
) -> None:
    await account.admit("r1", 300, refill=LEASE)
    assert await account.call("finish", "r1", charge, "") == ["OK"]
    assert await account.left() == left
    assert await account.call("finish", "r1", charge, "") == ["NONE"]
    assert await account.left() == left


async def test_an_excess_takes_no_more_than_is_left(account: Account) -> None:
    await account.admit("r1", 300, refill=LEASE)
    await account.call("finish", "r1", 5000, "")
    assert (await account.admit("r2", 1))[:3] == ["LEASE", "L1", "0"]


async def test_budgets_follow_the_charge_and_not_the_hold(account: Account) -> None:
    await account.call("load")
    for request, charge, used in (("r1", 100, 100), ("r2", 20, 120), ("r3", 0, 120)):
        refill = LEASE if request == "r1" else ("", "", "", "")
        scopes = (("key", 1000), ("team", 1000))
        assert (await account.admit(request, 50, refill=refill, scopes=scopes))[0] == "OK"
        await account.call("finish", request, charge, "")
        assert (
            account._client.hmget(f"budgets:{{{A}}}", "key|total", "team|total")
            == [b"%d" % used] * 2
        )


async def test_a_hold_grows_by_all_that_is_asked_or_not_at_all(account: Account) -> None:
    await account.admit("r1", 300, refill=LEASE)
    assert await account.call("checkpoint", "r1", "{}", 701) == ["OK", "0", "L1"]
    assert await account.left() == 700
    assert await account.call("checkpoint", "r1", "{}", 700) == ["OK", "700", "L1"]
    await account.call("finish", "r1", 0, "")
    assert await account.left() == 1000


async def test_an_account_is_retired_only_when_idle_for_that_long(account: Account) -> None:
    await account.admit("r1", 300, refill=LEASE)
    assert await account.call("retire", "L1", 0) == ["BUSY"], "a request is held"
    await account.call("finish", "r1", 0, '{"kept": 1}')
    assert await account.call("retire", "L1", 0) == ["BUSY"], "a message waits in the outbox"
    await account.call("drained", "r1")
    assert await account.call("retire", "L1", 600_000) == ["BUSY"], "somebody came just now"
    assert await account.call("retire", "other", 0) == ["OK"]
    assert await account.left() == 1000
    assert await account.call("retire", "L1", 0) == ["OK"]
    assert (await account.admit("r2", 1))[:3] == ["LEASE", "", "0"]


@pytest.mark.parametrize(("low_water", "ticket"), [(700, ""), (701, "REFILL")])
async def test_one_caller_is_told_to_refill_when_little_is_left(
    account: Account, low_water: int, ticket: str
) -> None:
    reply = await account.admit("r1", 300, low_water=low_water, refill=LEASE)
    assert (reply[0], reply[2]) == ("OK", ticket)
    again = await account.admit("r2", 1, low_water=10_000)
    assert again[2] == ("" if ticket else "REFILL"), "one ticket in two seconds"


async def test_an_epoch_is_never_lowered(account: Account) -> None:
    await account.call("refill", *LEASE)
    await account.call("epoch", 5)
    await account.call("epoch", 4)
    assert (await account.admit("r1", 1, epoch=4))[:2] == ["STALE_PRINCIPAL", "5"]
    assert (await account.admit("r1", 1, epoch=5))[0] == "OK"
    assert LIVE_MS < 600_000
