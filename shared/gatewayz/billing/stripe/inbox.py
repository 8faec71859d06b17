"""Takes a webhook's event: verify, store once, queue. Applying it is the worker's business."""

from typing import Any

import orjson

from gatewayz.billing.stripe.signature import signed
from gatewayz.core import clock
from gatewayz.core.errors import InvalidRequest
from gatewayz.core.log import get_log
from gatewayz.core.metrics import metric
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.queue import Queue

log = get_log(__name__)

STRIPE_EVENTS = "stripe_events"
# What is worked on is read from Stripe again: of an event only names are kept, so that no card, no
# address and nobody's e-mail ever stands in our tables.
KEPT = ("id", "type", "created", "livemode", "api_version")
KEPT_OF_SUBJECT = (
    "id", "object", "status", "mode", "customer", "payment_intent", "charge", "subscription",
    "setup_intent", "invoice", "billing_reason",
)  # fmt: skip


async def take(
    payload: bytes,
    signature: str,
    *,
    secrets: tuple[str, ...],
    livemode: bool,
    postgres: Postgres,
    queue: Queue,
) -> None:
    """Store and queue one event. InvalidRequest when it is not Stripe's, or of the other mode;
    DependencyError when it could not be kept, so that Stripe sends it again.
    """
    if not signed(payload, signature, secrets, now_s=clock.now_ms() // 1000):
        metric("stripe_events", result="forged")
        raise InvalidRequest("The signature is not valid.", code="invalid_signature")
    event = _event(payload)
    if event["livemode"] is not livemode:
        metric("stripe_events", result="wrong_mode")
        log.error("stripe_event_of_other_mode", event_id=event["id"], livemode=event["livemode"])
        raise InvalidRequest("This endpoint takes the other mode's events.", code="wrong_mode")
    stored = await postgres.rpc(
        "record_stripe_event",
        {
            "event_id": event["id"],
            "type": event["type"],
            "livemode": event["livemode"],
            "payload": essence(event),
        },
    )
    if stored["queue"]:
        await queue.send(STRIPE_EVENTS, event["id"], {"v": 1, "event_id": event["id"]})
        await postgres.rpc("mark_stripe_event", {"event_id": event["id"], "status": "queued"})
    metric("stripe_events", result="stored" if stored["queue"] else "known")


def essence(event: dict[str, Any]) -> dict[str, Any]:
    """What is kept of an event: ids and states."""
    subject = event["data"]["object"]
    kept: dict[str, Any] = {}
    for name in KEPT_OF_SUBJECT:
        value = subject.get(name)
        if isinstance(value, dict):
            value = value.get("id")
        if isinstance(value, str):
            kept[name] = value
    details = (subject.get("parent") or {}).get("subscription_details") or {}
    if isinstance(details.get("subscription"), str):
        kept["subscription"] = details["subscription"]
    return {name: event[name] for name in KEPT if name in event} | {"data": {"object": kept}}


def _event(payload: bytes) -> dict[str, Any]:
    try:
        event = orjson.loads(payload)
        assert isinstance(event, dict)
        assert isinstance(event["id"], str)
        assert isinstance(event["type"], str)
        assert isinstance(event["livemode"], bool)
        assert isinstance(event["data"]["object"], dict)
    except (orjson.JSONDecodeError, AssertionError, KeyError, TypeError):
        raise InvalidRequest("This is no event.", code="invalid_event") from None
    return event
