"""Accounts, keys and incoming credit: each natural id counts once; revocation raises the epoch."""

import asyncpg
import pytest

HASH = "ab" * 32
USD = 10**9


def key(**fields):
    made = {"key_id": "key_1", "account": "ann", "name": "laptop", "hash": HASH, "prefix": "gw_dev"}
    return made | fields


async def test_an_account_opens_once_and_keeps_its_first_name(ledger):
    first = await ledger.rpc("open_account", account="ann", name="Ann", stage="dev")
    again = await ledger.rpc("open_account", account="ann", name="Other", stage="live")
    assert first == again == {"account": "ann", "epoch": 1}
    row = await ledger.connection.fetchrow("select name, stage from tenancy.accounts")
    assert tuple(row) == ("Ann", "dev")


async def test_a_payment_is_credited_once_however_often_it_is_reported(ledger):
    await ledger.open(credit_nanos=0)
    for _ in range(3):
        await ledger.rpc("post_top_up", payment="order_1", account="ann", amount_nanos=5 * USD)
    assert (await ledger.balance())["balance_nanos"] == 5 * USD


async def test_F73_ten_reports_of_one_payment_at_once_are_one_top_up(ledger):
    await ledger.open(credit_nanos=0)
    call = ("post_top_up", {"payment": "order_1", "account": "ann", "amount_nanos": 5 * USD})
    answers = await ledger.together([call] * 10, connections=10)
    assert sorted(answer["posted"] for answer in answers) == [False] * 9 + [True]
    assert (await ledger.balance())["available_nanos"] == 5 * USD


async def test_one_payment_for_two_accounts_at_once_reaches_only_one(ledger):
    await ledger.open("ann", 0)
    await ledger.open("bob", 0)
    calls = [
        ("post_top_up", {"payment": "order_1", "account": account, "amount_nanos": USD})
        for account in ("ann", "bob") * 5
    ]
    answers = await ledger.together(calls, connections=10)
    refused = [answer for answer in answers if isinstance(answer, asyncpg.PostgresError)]
    assert {error.sqlstate for error in refused} == {"PT409"}
    total = await ledger.connection.fetchval("select sum(balance) from ledger.books")
    assert total == USD


async def test_the_same_operation_with_another_amount_is_refused(ledger):
    await ledger.open(credit_nanos=0)
    await ledger.rpc("grant_credit", op_id="g1", account="ann", amount_nanos=1, reason="hello")
    with pytest.raises(asyncpg.PostgresError) as refused:
        await ledger.rpc("grant_credit", op_id="g1", account="ann", amount_nanos=2, reason="hello")
    assert refused.value.sqlstate == "PT409"


async def test_F67_a_top_up_above_the_wallet_cap_is_refused(ledger):
    await ledger.open(credit_nanos=999_999 * USD)
    with pytest.raises(asyncpg.PostgresError, match="wallet_cap_exceeded") as refused:
        await ledger.rpc("post_top_up", payment="p", account="ann", amount_nanos=2 * USD)
    assert refused.value.detail == str(USD)


async def test_amounts_that_are_no_sensible_integer_are_refused(ledger, subtests):
    await ledger.open(credit_nanos=0)
    for amount in (0, -1, 1.5, True, "10", None, 2**53, 10**30):
        with subtests.test(repr(amount)):
            with pytest.raises(asyncpg.PostgresError) as refused:
                await ledger.rpc("post_top_up", payment="p", account="ann", amount_nanos=amount)
            assert refused.value.sqlstate == "PT400"


async def test_account_names_that_could_be_mistaken_for_books_are_refused(ledger, subtests):
    for account in ("", "a:b", "a b", "ann'; drop", "x" * 65, None, 7):
        with subtests.test(repr(account)):
            with pytest.raises(asyncpg.PostgresError) as refused:
                await ledger.rpc("open_account", account=account, name="n", stage="dev")
            assert refused.value.sqlstate == "PT400"


async def test_the_balance_shown_counts_undrawn_leases_and_says_what_was_charged(ledger):
    await ledger.open(credit_nanos=10_000)
    lease = await ledger.reserve(need=4_000)
    await ledger.settle(ledger.message(1_500, lease=lease["lease"]))
    assert await ledger.balance() == {
        "available_nanos": 6_000,
        "held_nanos": 2_500,
        "balance_nanos": 8_500,
        "granted_nanos": 10_000,
        "charged_nanos": 1_500,
    }


async def test_an_unknown_account_has_no_balance(ledger):
    with pytest.raises(asyncpg.PostgresError) as refused:
        await ledger.balance("nobody")
    assert refused.value.sqlstate == "PT404"


async def test_a_key_made_twice_is_one_key_and_finds_its_principal(ledger):
    await ledger.open(credit_nanos=0)
    first = await ledger.rpc("create_key", **key())
    assert await ledger.rpc("create_key", **key()) == first
    assert first["epoch"] == 1
    principal = await ledger.rpc("find_principal", hash=HASH)
    assert principal["account"] == "ann"
    assert principal["key_id"] == "key_1"
    assert principal["status"] == "active"
    assert principal["stage"] == "test"
    assert [row["key_id"] for row in await ledger.rpc("list_keys", account="ann")] == ["key_1"]


async def test_no_key_answer_ever_contains_the_hash(ledger):
    await ledger.open(credit_nanos=0)
    answers = [
        await ledger.rpc("create_key", **key()),
        await ledger.rpc("list_keys", account="ann"),
    ]
    answers.append(await ledger.rpc("find_principal", hash=HASH))
    assert HASH not in str(answers)


async def test_a_key_id_or_hash_of_somebody_else_is_a_conflict(ledger):
    await ledger.open("ann", 0)
    await ledger.open("bob", 0)
    await ledger.rpc("create_key", **key())
    for stolen in (key(account="bob"), key(key_id="key_2", account="bob"), key(hash="cd" * 32)):
        with pytest.raises(asyncpg.PostgresError) as refused:
            await ledger.rpc("create_key", **stolen)
        assert refused.value.sqlstate == "PT409"


async def test_revoking_raises_the_epoch_once_and_the_key_finds_nobody(ledger):
    await ledger.open(credit_nanos=0)
    await ledger.rpc("create_key", **key())
    for _ in range(2):
        revoked = await ledger.rpc("revoke_key", account="ann", key_id="key_1")
        assert revoked["epoch"] == 2
    assert await ledger.rpc("find_principal", hash=HASH) is None
    assert (await ledger.rpc("list_keys", account="ann"))[0]["status"] == "revoked"


async def test_a_foreign_key_looks_like_a_missing_one(ledger):
    await ledger.open("ann", 0)
    await ledger.open("bob", 0)
    await ledger.rpc("create_key", **key())
    for key_id in ("key_1", "key_9"):
        with pytest.raises(asyncpg.PostgresError, match="key_not_found") as refused:
            await ledger.rpc("revoke_key", account="bob", key_id=key_id)
        assert refused.value.sqlstate == "PT404"
    assert await ledger.rpc("find_principal", hash=HASH)


async def test_a_reserve_tells_the_epoch_so_that_a_refill_reveals_a_stale_principal(ledger):
    await ledger.open()
    await ledger.rpc("create_key", **key())
    await ledger.rpc("revoke_key", account="ann", key_id="key_1")
    assert (await ledger.reserve())["epoch"] == 2
