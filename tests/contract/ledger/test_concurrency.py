"""Many connections at once: nothing is overdrawn, nothing deadlocks, every instant is even."""

import asyncio
import random

import asyncpg

USD = 10**9


def refusals(answers):
    return [answer for answer in answers if isinstance(answer, asyncpg.PostgresError)]


def reserve(number, account, need, **more):
    params = {"op_id": f"op{number}", "account": account, "need": need, "want": need}
    return ("reserve_credit", params | {"private": False, "live_ms": 1_000} | more)


async def test_F66_two_hundred_reserves_with_credit_for_ten_are_ten(ledger):
    await ledger.open(credit_nanos=10 * USD)
    calls = [reserve(n, "ann", USD, private=n % 2 == 0) for n in range(200)]
    answers = await ledger.together(calls, connections=40)
    refused = refusals(answers)
    assert len(answers) - len(refused) == 10
    assert {error.sqlstate for error in refused} == {"PT402"}
    assert await ledger.book("wallet:ann:purchased") == 0
    assert await ledger.book("held:ann") == 10 * USD


async def test_one_reserve_sent_by_fifty_connections_is_done_once(ledger):
    await ledger.open(credit_nanos=USD)
    answers = await ledger.together([reserve(1, "ann", 1_000)] * 50, connections=25)
    assert len({answer["lease"] for answer in answers}) == 1
    assert await ledger.book("held:ann") == 1_000


async def test_F14_one_message_settled_ten_times_at_once_is_posted_once(ledger):
    await ledger.open()
    message = ledger.message(150)
    calls = [("settle_charges", {"messages": [message]})] * 10
    answers = await ledger.together(calls, connections=10)
    statuses = sorted(answer[0]["status"] for answer in answers)
    assert statuses == ["duplicate"] * 9 + ["posted"]


async def test_one_request_id_under_two_accounts_at_once_is_charged_once(ledger):
    await ledger.open("ann")
    await ledger.open("bob")
    request_ids = [ledger.request_id() for _ in range(20)]
    calls = []
    for account in ("ann", "bob"):
        messages = [ledger.message(5, account=account, request_id=rid) for rid in request_ids]
        calls += [("settle_charges", {"messages": messages}) for _ in range(4)]
    answers = await ledger.together(calls, connections=8)
    assert not refusals(answers)
    statuses = [result["status"] for answer in answers for result in answer]
    assert statuses.count("posted") == 20
    assert "invalid" not in statuses


async def test_batches_over_the_same_accounts_in_any_order_never_deadlock(ledger):
    accounts = [await ledger.open(f"acct{n}", 100_000) for n in range(8)]
    leases = {a: (await ledger.reserve(a, need=50_000))["lease"] for a in accounts}
    order = random.Random(7)
    calls = []
    for _ in range(40):
        picked = [order.choice(accounts) for _ in range(30)]
        messages = [ledger.message(7, account=a, lease=leases[a]) for a in picked]
        if order.random() < 0.3:
            messages.append({"bad": True})  # makes the batch fall back to one by one
        calls.append(("settle_charges", {"messages": messages}))
    answers = await ledger.together(calls, connections=16)
    assert not refusals(answers)
    posted = [r for answer in answers for r in answer if r["status"] == "posted"]
    assert len(posted) == 40 * 30


async def test_everything_at_once_on_two_accounts_stays_even_at_every_look(ledger):
    """Reserves, charges, gifts back, closings, top-ups, checkpoints and partitions together,
    while somebody looks at the violations all the time."""
    accounts = [await ledger.open(a, 1_000_000) for a in ("ann", "bob")]
    leases = {a: (await ledger.reserve(a, need=50_000))["lease"] for a in accounts}
    order = random.Random(11)
    calls = []
    for n in range(400):
        account = order.choice(accounts)
        lease = leases[account]
        calls.append(
            order.choice(
                [
                    reserve(n, account, 500, private=n % 3 == 0),
                    ("settle_charges", {"messages": [
                        ledger.message(order.randrange(400), account=a, lease=leases[a])
                        for a in (account, accounts[0])]}),
                    ("give_back_credit", {"op_id": f"g{n}", "lease": lease, "amount": 300}),
                    ("post_top_up", {"payment": f"p{n}", "account": account, "amount_nanos": 9}),
                    ("make_checkpoint", {}),
                    ("prepare_partitions", {}),
                ]
            )
        )  # fmt: skip
    calls.insert(200, ("close_lease", {"lease": leases["ann"]}))
    done = asyncio.Event()
    looks = 0

    async def look():
        nonlocal looks
        while not done.is_set():
            assert await ledger.violations(from_zero=looks % 2 == 0) == []
            looks += 1

    watch = asyncio.create_task(look())
    answers = await ledger.together(calls, connections=12)
    done.set()
    await watch
    assert not refusals(answers)
    assert looks > 0


async def test_a_settlement_and_a_revocation_do_not_wait_for_each_other(ledger):
    await ledger.open()
    await ledger.rpc(
        "create_key", key_id="k", account="ann", name="n", hash="ab" * 32, prefix="gw_dev"
    )
    pool = await ledger.pool(2)
    async with pool.acquire() as first, pool.acquire() as second, first.transaction():
        await ledger.rpc("settle_charges", first, messages=[ledger.message(5)])
        await asyncio.wait_for(
            ledger.rpc("revoke_key", second, account="ann", key_id="k"), timeout=5
        )
    await pool.close()
