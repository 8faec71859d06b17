"""Holds the ledger against Stripe: events that never came, what was captured, subscriptions.

What is missing is fetched and applied first; only what still differs then is drift, and an alarm.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from gatewayz.billing.plans import plan_of_price, read_prices
from gatewayz.billing.stripe.client import explained
from gatewayz.billing.stripe.desk import Desk, id_of
from gatewayz.billing.stripe.events import HANDLERS, apply_event
from gatewayz.billing.stripe.inbox import essence
from gatewayz.billing.stripe.payments import apply_intent
from gatewayz.billing.stripe.subscriptions import sync_subscription
from gatewayz.core.errors import GatewayError
from gatewayz.core.log import get_log
from gatewayz.core.metrics import metric

log = get_log(__name__)

PAGE, LEDGER_PAGE = 100, 1000
# What the webhook took and the worker did not do, for so long.
STUCK_MS = 5 * 60 * 1000
# Every few minutes the last quarter of an hour is looked at, once an hour the whole day.
SHORT_S, LONG_S = 15 * 60, 24 * 3600
HOUR_MS = 3_600_000
# An intent is made up to a day before it is paid.
BEFORE_S = 26 * 3600
MAX_LOGGED = 20


@dataclass(slots=True)
class Checked:
    """`days`: per UTC day and currency what Stripe captured and what the ledger has, in cents."""

    mended: int = 0
    missing_events: int = 0
    days: list[dict[str, Any]] = field(default_factory=list)
    drifts: list[str] = field(default_factory=list)


async def check_stripe(desk: Desk) -> Checked:
    """Mend what can be mended, report the rest. StoreUnavailable when Stripe is away."""
    checked = Checked()
    clock = await desk.postgres.rpc("clock", {})
    look = await desk.postgres.rpc("claim_look", {"name": "stripe_day", "every_ms": HOUR_MS})
    now_s = clock["now_ms"] // 1000
    since_s = now_s - (LONG_S if look["due"] else SHORT_S)
    await _apply_stuck(desk, checked)
    await _fetch_missing(desk, checked, since_s)
    await _compare_captures(desk, checked, since_s)
    if look["due"]:
        await _compare_subscriptions(desk, checked)
        await desk.postgres.rpc(
            "record_drift",
            {
                "drifts": len(checked.drifts),
                "report": {"days": checked.days, "drifts": checked.drifts[:100]},
            },
        )
    metric("stripe_drift", len(checked.drifts))
    for text in checked.drifts[:MAX_LOGGED]:
        log.error("stripe_drift", detail=text)
    if checked.mended or checked.missing_events:
        log.warning("stripe_mended", mended=checked.mended, events=checked.missing_events)
    return checked


async def _apply_stuck(desk: Desk, checked: Checked) -> None:
    waiting = await desk.postgres.rpc("list_stripe_events", {"older_ms": STUCK_MS, "limit": 500})
    for event in waiting:
        if await _applied(desk, event["event_id"]):
            checked.mended += 1


async def _applied(desk: Desk, event_id: str) -> bool:
    try:
        await apply_event(desk, event_id)
    except GatewayError as error:
        log.warning("stripe_event_waits", event_id=event_id, error=error.metric)
        return False
    return True


async def _fetch_missing(desk: Desk, checked: Checked, since_s: int) -> None:
    """Events that Stripe has and we have not: stored as if they had come, and applied."""
    async with explained():
        listed = await desk.client.v1.events.list_async(
            {"created": {"gte": since_s}, "limit": PAGE}
        )
        found = [event async for event in listed.auto_paging_iter() if event.type in HANDLERS]
    for start in range(0, len(found), 1000):
        part = {event.id: event for event in found[start : start + 1000]}
        missing = await desk.postgres.rpc("find_missing_events", {"ids": list(part)})
        for event_id in missing:
            await _store(desk, part[event_id])
            checked.missing_events += 1
            await _applied(desk, event_id)


async def store_event(desk: Desk, event_id: str) -> None:
    """Fetch one event from Stripe and keep it as if it had come; InvalidRequest when unknown."""
    async with explained():
        event = await desk.client.v1.events.retrieve_async(event_id)
    await _store(desk, event)


async def _store(desk: Desk, event: Any) -> None:
    # The SDK reads decimals as numbers of its own; in the mail they are text.
    payload = orjson.loads(orjson.dumps(event.to_dict(), default=str))
    await desk.postgres.rpc(
        "record_stripe_event",
        {
            "event_id": payload["id"],
            "type": payload["type"],
            "livemode": payload["livemode"],
            "payload": essence(payload),
        },
    )


async def _compare_captures(desk: Desk, checked: Checked, since_s: int) -> None:
    """I12: per day and currency, Σ captured at Stripe = Σ captured here."""
    async with explained():
        listed = await desk.client.v1.payment_intents.list_async(
            {"created": {"gte": since_s - BEFORE_S}, "limit": PAGE}
        )
        intents: list[dict[str, Any]] = [
            {
                "id": one.id,
                "day": _day(one.created),
                "currency": one.currency,
                "cents": one.amount_received,
                "ours": "payment_id" in one.metadata.to_dict(),
            }
            async for one in listed.auto_paging_iter()
            if one.status == "succeeded"
        ]
    names = [intent["id"] for intent in intents]
    asked = {"intents": names, "since_ms": since_s * 1000}
    rows = await desk.postgres.rpc("compare_captures", asked)
    for intent in intents:
        known = rows["known"].get(intent["id"], {}).get("captured_cents", 0)
        if intent["ours"] and known != intent["cents"]:
            await apply_intent(desk, intent["id"])
            checked.mended += 1
    rows = await desk.postgres.rpc("compare_captures", asked)
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for intent in intents:
        known = rows["known"].get(intent["id"])
        if known is None and not intent["ours"]:
            continue  # money of another business in the same Stripe account
        day = sums[intent["day"], intent["currency"]]
        day[0] += intent["cents"]
        day[1] += known["captured_cents"] if known else 0
        day[2] += 1
    for (day_name, currency), (theirs, ours, number) in sorted(sums.items()):
        checked.days.append(
            {
                "day": day_name,
                "currency": currency,
                "stripe_cents": theirs,
                "ledger_cents": ours,
                "payments": number,
            }
        )
        if theirs != ours:
            checked.drifts.append(
                f"{day_name} {currency}: Stripe captured {theirs} cents, the ledger has {ours}"
            )
    for intent_id in rows["others"]:
        await _look_at(desk, checked, intent_id)


async def _look_at(desk: Desk, checked: Checked, intent_id: str) -> None:
    """A payment of ours that Stripe's list does not have: older than the list, or invented."""
    try:
        async with explained():
            intent = await desk.client.v1.payment_intents.retrieve_async(intent_id)
    except GatewayError as error:
        if error.status >= 500:
            raise
        checked.drifts.append(f"{intent_id} is a payment here and unknown at Stripe")
        return
    if intent.status != "succeeded":
        checked.drifts.append(f"{intent_id} is paid here and {intent.status} at Stripe")


async def _compare_subscriptions(desk: Desk, checked: Checked) -> None:
    if not read_prices(desk.settings.prices):
        return
    ours = await _known_subscriptions(desk)
    async with explained():
        listed = await desk.client.v1.subscriptions.list_async({"limit": PAGE})
        theirs = {one.id: one async for one in listed.auto_paging_iter()}
    for name, held in theirs.items():
        item = held["items"].data[0]
        plan = plan_of_price(desk.settings.prices, item.price.id, id_of(item.price.product))
        if plan is None:
            continue
        customer = await desk.postgres.rpc("find_customer", {"customer": id_of(held.customer)})
        if customer is None:
            continue
        wanted = (held.status, plan, item.current_period_end * 1000)
        if _state(ours.get(name)) == wanted:
            continue
        checked.mended += 1
        if _state(await sync_subscription(desk, name)) != wanted:
            checked.drifts.append(f"{name} is {wanted} at Stripe, {_state(ours.get(name))} here")
    for name in ours.keys() - theirs.keys():
        row = await sync_subscription(desk, name)
        checked.mended += 1
        if row is None or row["status"] != "canceled":
            checked.drifts.append(f"{name} runs here and not at Stripe")


async def _known_subscriptions(desk: Desk) -> dict[str, dict[str, Any]]:
    """All that we believe to run, by name; the ledger gives them a page at a time."""
    known: dict[str, dict[str, Any]] = {}
    after = ""
    while True:
        asked = {"after": after, "limit": LEDGER_PAGE}
        rows = await desk.postgres.rpc("list_subscriptions", asked)
        known |= {row["subscription"]: row for row in rows}
        if len(rows) < LEDGER_PAGE:
            return known
        after = rows[-1]["subscription"]


def _state(row: dict[str, Any] | None) -> tuple[str, str, int] | None:
    return (row["status"], row["plan"], row["period_end_ms"]) if row else None


def _day(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, tz=UTC).strftime("%Y-%m-%d")
