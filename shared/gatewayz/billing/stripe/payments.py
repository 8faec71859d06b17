"""One payment, brought to what Stripe says of it: the step that every event of money ends in."""

import hashlib

from gatewayz.billing.rewards import sync_rewards
from gatewayz.billing.stripe.client import explained
from gatewayz.billing.stripe.desk import Desk, Outcome
from gatewayz.billing.stripe.facts import read_payment
from gatewayz.core.log import get_log
from gatewayz.core.metrics import metric

log = get_log(__name__)
# How the orders of automatic top-ups are named; the epoch stands at the end.
AUTO = "pay_auto_"


async def apply_intent(desk: Desk, intent_id: str) -> Outcome:
    """Bring the ledger to what Stripe says of one payment."""
    async with explained():
        facts = await read_payment(desk.client, intent_id)
    row = await desk.postgres.rpc("apply_payment", facts)
    problem = row.get("problem")
    if problem == "unknown_payment" and facts["payment_id"] is None:
        return Outcome("ignored", "no order of ours")
    if problem is not None and row.get("captured_cents", 0) == 0:
        # Money that fits no order: nobody is credited, somebody looks (F76).
        log.error("payment_mismatch", intent=intent_id, problem=problem)
        metric("payment_mismatches")
        return Outcome("applied", problem)
    if row["captured_cents"] > 0 and facts["fingerprint"]:
        await note_card(desk, row["account"], facts["fingerprint"])
    await sync_rewards(desk.postgres, desk.settings, row["account"])
    await desk.tell(row["account"])
    if row["kind"] == "auto_topup" and row["status"] != "processing":
        paid = row["captured_cents"] > 0
        problem = None if paid else facts["failure"] or row["status"]
        await end_auto_topup(desk, row["payment_id"], row["account"], problem=problem)
    log.info("payment_applied", payment_id=row["payment_id"], status=row["status"])
    return Outcome("applied", row["status"])


async def end_auto_topup(
    desk: Desk, payment_id: str, account: str, *, problem: str | None
) -> Outcome:
    """What became of an automatic top-up; three failures one after another switch it off."""
    row = await desk.postgres.rpc(
        "end_auto_topup",
        {
            "account": account,
            "epoch": int(payment_id.rpartition("_")[2]),
            "paid": problem is None,
            "problem": problem,
        },
    )
    if row["changed"] and problem is not None:
        off = not row["enabled"]
        metric("auto_topups", result="off" if off else "failed")
        log.warning("auto_topup_off" if off else "auto_topup_failed", account=account, code=problem)
    elif row["changed"]:
        metric("auto_topups", result="paid")
    return Outcome("applied", problem or "paid")


async def note_card(desk: Desk, account: str, fingerprint: str) -> None:
    """Remember, as a hash of Stripe's own hash, that this account's card was verified."""
    digest = hashlib.sha256(b"card:" + fingerprint.encode()).hexdigest()
    params = {"account": account, "kind": "card", "hash": digest}
    await desk.postgres.rpc("note_signal", params)
