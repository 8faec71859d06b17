"""Coupons, bonus and referrals, at the level of the functions themselves."""

from typing import Any

import pytest

from tests.contract.ledger.test_inflows import apply, holds, later, order, part, refused

HOUR_MS = 3_600_000
TERMS = {"bonus_nanos": 50, "bonus_least_cents": 500, "referral_nanos": 100,
         "referral_least_cents": 1000}  # fmt: skip


async def coupon(ledger, code: str = "SPRING", **fields: Any) -> Any:
    return await ledger.rpc(
        "create_coupon",
        **{"code": code, "value_nanos": 70, "valid_ms": HOUR_MS, "max_uses": 2, "actor": "alice",
           **fields},
    )  # fmt: skip


async def redeem(ledger, code: str = "spring", account: str = "ann") -> Any:
    return await ledger.rpc("redeem_coupon", account=account, code=code)


async def people(ledger, *names: str) -> None:
    for name in names:
        await ledger.open(name, 0)


# ------------------------------------------------------------------------- coupons


async def test_a_coupon_is_made_once_and_within_its_bounds(ledger):
    await people(ledger, "ann")
    made = await coupon(ledger)
    assert (made["code"], made["remaining_uses"], made["expired"]) == ("SPRING", 2, False)
    assert (await refused(coupon(ledger, "spring"))).startswith("PT409 coupon_exists")
    assert "too short" in await refused(coupon(ledger, "ab"))
    assert (await coupon(ledger, "abc"))["code"] == "ABC"
    gone = coupon(ledger, "xyz", assigned_to="nobody", max_uses=1)
    assert (await refused(gone)).startswith("PT404 account_not_found")
    assert "max_uses" in await refused(coupon(ledger, "xyz", assigned_to="ann"))
    own = await coupon(ledger, "xyz", assigned_to="ann", max_uses=1)
    assert (own["scope"], own["assigned_to"]) == ("user_specific", "ann")


async def test_a_coupon_has_a_time_and_its_ends_are_exact(ledger):
    await later(ledger, "0 seconds")
    await people(ledger, "ann", "bob", "carl")
    await coupon(ledger, starts_in_ms=HOUR_MS, max_uses=9)
    assert (await redeem(ledger))["error_code"] == "COUPON_NOT_YET_ACTIVE"
    await later(ledger, "1 hour")
    assert "error_code" not in await redeem(ledger)
    await later(ledger, "59 minutes 59 seconds")
    assert "error_code" not in await redeem(ledger, account="bob")
    await later(ledger, "1 second")
    assert (await redeem(ledger, account="carl"))["error_code"] == "COUPON_EXPIRED"
    (row,) = await ledger.rpc("list_coupons", code="spring")
    assert row["expired"] is True
    assert (await ledger.rpc("summarize_coupon", code="spring"))["active"] == 0
    # Credit of a coupon is bought credit where nothing is said of its life.
    assert await ledger.book("wallet:ann:purchased") == 70
    await holds(ledger, 70)


async def test_a_coupon_is_redeemed_once_each_and_so_many_times(ledger):
    await people(ledger, "ann", "bob", "carl")
    await coupon(ledger)
    row = await redeem(ledger)
    assert (row["previous_balance_nanos"], row["balance_nanos"]) == (0, 70)
    assert (await redeem(ledger))["error_code"] == "ALREADY_REDEEMED"
    assert "error_code" not in await redeem(ledger, account="bob")
    assert (await redeem(ledger, account="carl"))["error_code"] == "MAX_USES_EXCEEDED"
    assert (await redeem(ledger))["error_code"] == "ALREADY_REDEEMED"
    await coupon(ledger, "ONCE", max_uses=1)
    await redeem(ledger, "once")
    assert (await redeem(ledger, "once"))["error_code"] == "ALREADY_REDEEMED"
    assert (await redeem(ledger, "once", "bob"))["error_code"] == "MAX_USES_EXCEEDED"
    await holds(ledger, 140)
    listed = await ledger.rpc("list_redemptions", account="ann")
    assert sorted(row["code"] for row in listed) == ["ONCE", "SPRING"]
    assert len(await ledger.rpc("list_redemptions", code="spring")) == 2
    summed = await ledger.rpc("summarize_coupon", code="spring")
    assert summed == {"coupons": 1, "active": 0, "total_redemptions": 2, "unique_users": 2,
                      "distributed_nanos": 140, "possible_uses": 2}  # fmt: skip
    whole = await ledger.rpc("summarize_coupon")
    assert (whole["coupons"], whole["total_redemptions"], whole["unique_users"]) == (2, 3, 2)
    assert whole["possible_uses"] == 3


async def test_a_coupon_of_somebody_else_or_switched_off_is_refused(ledger):
    await people(ledger, "ann", "bob")
    await coupon(ledger, "GIFT", assigned_to="bob", max_uses=1)
    assert (await redeem(ledger, "gift"))["error_code"] == "COUPON_NOT_ASSIGNED"
    assert [c["code"] for c in await ledger.rpc("list_open_coupons", account="bob")] == ["GIFT"]
    assert await ledger.rpc("list_open_coupons", account="ann") == []
    await ledger.rpc("change_coupon", code="gift", active=False)
    assert await ledger.rpc("list_open_coupons", account="bob") == []
    assert (await redeem(ledger, "gift", "bob"))["error_code"] == "COUPON_INACTIVE"
    await ledger.rpc("change_coupon", code="gift", active=True, description="again")
    assert "error_code" not in await redeem(ledger, "gift", "bob")
    assert await ledger.rpc("list_open_coupons", account="bob") == []
    (row,) = await ledger.rpc("list_coupons", code="gift")
    assert (row["description"], row["times_used"]) == ("again", 1)


async def test_a_coupon_is_changed_and_never_below_what_was_used(ledger):
    await later(ledger, "0 seconds")
    await people(ledger, "ann", "bob")
    await coupon(ledger, max_uses=5)
    await redeem(ledger)
    await redeem(ledger, account="bob")
    assert (await ledger.rpc("change_coupon", code="spring", max_uses=1))["max_uses"] == 2
    assert (await ledger.rpc("change_coupon", code="spring", max_uses=7))["max_uses"] == 7
    ended = await ledger.rpc("change_coupon", code="spring", valid_ms=0)
    assert ended["valid_until_ms"] > ended["valid_from_ms"]
    long = await ledger.rpc("change_coupon", code="spring", valid_ms=HOUR_MS)
    assert long["valid_until_ms"] == (await ledger.rpc("clock"))["now_ms"] + HOUR_MS
    kept = await ledger.rpc("change_coupon", code="spring", max_uses=8)
    assert kept["valid_until_ms"] == long["valid_until_ms"]
    assert (await refused(ledger.rpc("change_coupon", code="none"))).startswith("PT404")


async def test_credit_of_a_coupon_may_lapse(ledger):
    await people(ledger, "ann")
    await coupon(ledger, credit_ttl_ms=HOUR_MS)
    await redeem(ledger)
    await later(ledger, "1 hour")
    assert (await ledger.rpc("expire_wallets"))["expired_nanos"] == 70
    await holds(ledger, 0)


async def test_F71_who_guesses_is_stopped_and_nobody_else_is(ledger):
    await people(ledger, "ann", "bob")
    await coupon(ledger, valid_ms=9 * HOUR_MS)
    for _ in range(19):
        assert (await redeem(ledger, "wrong"))["error_code"] == "COUPON_NOT_FOUND"
    await ledger.rpc("change_coupon", code="spring", active=False)
    assert (await redeem(ledger))["error_code"] == "COUPON_INACTIVE"
    await ledger.rpc("change_coupon", code="spring", active=True)
    assert (await redeem(ledger, "wrong"))["error_code"] == "COUPON_NOT_FOUND"
    assert (await redeem(ledger))["error_code"] == "TOO_MANY_ATTEMPTS"
    assert "error_code" not in await redeem(ledger, account="bob")
    await later(ledger, "1 hour")
    assert "error_code" not in await redeem(ledger)
    await holds(ledger, 70)


async def test_coupons_are_listed_and_paged(ledger):
    for code in ("AAA", "BBB", "CCC"):
        await coupon(ledger, code)
        await later(ledger, "1 minute")
    codes = [row["code"] for row in await ledger.rpc("list_coupons")]
    assert codes == ["CCC", "BBB", "AAA"]
    page = await ledger.rpc("list_coupons", limit=1, offset=1)
    assert [row["code"] for row in page] == ["BBB"]


# ----------------------------------------------------------------------- referrals


async def refer(ledger, giver: str, account: str) -> str | None:
    code = (await ledger.rpc("get_referral_code", account=giver))["code"]
    answer = await ledger.rpc("check_referral", account=account, code=code.lower())
    used = await ledger.rpc("use_referral", account=account, code=code.lower())
    assert used == answer
    return used["error_code"]


async def pay(ledger, account: str, name: str, cents: int, **facts: Any) -> None:
    await order(ledger, f"pay_{name}", cents, account=account)
    await apply(ledger, name=name, cents=cents, **facts)


async def sync(ledger, account: str) -> tuple[int, int, int]:
    row = await ledger.rpc("sync_rewards", account=account, **TERMS)
    return row["bonus_nanos"], row["referral_nanos"], row["referrer_nanos"]


async def test_F72_who_cannot_be_referred(ledger):
    await people(ledger, "ann", "bob", "carl", "dora")
    unknown = await ledger.rpc("use_referral", account="ann", code="NOSUCHCO")
    assert unknown["error_code"] == "REFERRAL_NOT_FOUND"
    assert await refer(ledger, "ann", "ann") == "SELF_REFERRAL"
    assert await refer(ledger, "ann", "bob") is None
    assert await refer(ledger, "carl", "bob") == "ALREADY_REFERRED"
    assert await refer(ledger, "bob", "carl") is None
    assert await refer(ledger, "carl", "ann") == "REFERRAL_CYCLE"
    await pay(ledger, "dora", "d", 500)
    assert await refer(ledger, "ann", "dora") == "NOT_A_NEW_CUSTOMER"
    own = await ledger.rpc("get_referral_code", account="ann")
    assert own == await ledger.rpc("get_referral_code", account="ann")
    assert (own["uses"], len(own["code"])) == (1, 8)


async def test_a_code_refers_so_many_and_no_more(ledger):
    await people(ledger, "ann", *(f"p{n}" for n in range(11)))
    for number in range(10):
        assert await refer(ledger, "ann", f"p{number}") is None
    assert await refer(ledger, "ann", "p10") == "MAX_USES_EXCEEDED"
    stats = await ledger.rpc("get_referral_stats", account="ann")
    assert (stats["uses"], stats["cap"], len(stats["referrals"])) == (10, 10, 10)


@pytest.mark.parametrize(("cents", "paid"), [(999, False), (1000, True)])
async def test_a_referral_is_earned_by_one_large_payment(ledger, cents, paid):
    await people(ledger, "ann", "bob")
    await refer(ledger, "ann", "bob")
    assert await sync(ledger, "bob") == (0, 0, 0)
    await pay(ledger, "bob", "1", cents)
    assert await sync(ledger, "bob") == (50, 100 if paid else 0, 100 if paid else 0)
    assert await sync(ledger, "bob") == (0, 0, 0)
    stats = await ledger.rpc("get_referral_stats", account="ann")
    assert stats["earned_nanos"] == (100 if paid else 0)
    assert stats["referrals"][0]["status"] == ("completed" if paid else "pending")
    await holds(ledger, 100 if paid else 0)


async def test_F72_a_refund_takes_the_reward_back_and_another_payment_brings_it_again(ledger):
    await people(ledger, "ann", "bob")
    await refer(ledger, "ann", "bob")
    await pay(ledger, "bob", "1", 1000)
    await sync(ledger, "bob")
    gone = [part("re_1", 1, "succeeded")]
    await apply(ledger, name="1", refunds=gone)
    # A cent is enough for the referral; the bonus looks at what stays paid.
    assert await sync(ledger, "bob") == (0, -100, -100)
    await holds(ledger, 0)
    await apply(ledger, name="1", refunds=[*gone, part("re_2", 500, "succeeded")])
    assert await sync(ledger, "bob") == (-50, 0, 0)
    await pay(ledger, "bob", "2", 1000)
    assert await sync(ledger, "bob") == (50, 100, 100)
    kinds = await ledger.connection.fetch(
        "select kind from ledger.operations where account = 'ann' order by seq"
    )
    assert [row["kind"] for row in kinds] == ["referral", "clawback", "referral"]
    await holds(ledger, 100)


async def test_F72_one_card_is_one_person(ledger):
    await people(ledger, "ann", "bob")
    await refer(ledger, "ann", "bob")
    await pay(ledger, "ann", "a", 1000, fingerprint="card")
    await pay(ledger, "bob", "b", 1000, fingerprint="card")
    assert await sync(ledger, "bob") == (50, 0, 0)
    assert await sync(ledger, "ann") == (50, 0, 0)


@pytest.mark.parametrize(
    ("cents", "tax", "kind", "bonus"),
    [(499, 0, "topup", 0), (500, 0, "topup", 50), (499, 50, "topup", 0),
     (2000, 0, "subscription", 0), (500, 0, "auto_topup", 50)],
)  # fmt: skip
async def test_the_bonus_looks_at_what_was_paid_for_credit(ledger, cents, tax, kind, bonus):
    await people(ledger, "ann", "bob")
    await order(ledger, cents=cents, kind=kind, credit_nanos=0)
    await apply(ledger, cents=cents + tax, tax_cents=tax)
    assert (await sync(ledger, "ann"))[0] == bonus
    assert (await sync(ledger, "bob"))[0] == 0
    await holds(ledger, bonus)
