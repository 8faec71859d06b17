"""The genuine Stripe client, pinned and bounded, and what its failures are to our callers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import stripe

from gatewayz.core.errors import InvalidRequest, StoreUnavailable
from gatewayz.core.log import get_log
from gatewayz.core.settings import SettingsError

log = get_log(__name__)

# What events and objects look like; raised together with the tests' stand-in.
API_VERSION = "2026-10-28.endive"
TIMEOUT_S = 15
# Stripe's own library repeats with one idempotency key, which is safe.
RETRIES = 2


@asynccontextmanager
async def open_client(key: str | None, api_url: str = "") -> AsyncIterator[stripe.StripeClient]:
    """A client with connections of its own, closed at the end; SettingsError without a key."""
    if not key:
        raise SettingsError("STRIPE_SECRET_KEY is not set: payments are not configured")
    http = stripe.HTTPXClient(timeout=TIMEOUT_S)
    try:
        yield stripe.StripeClient(
            key,
            stripe_version=API_VERSION,
            max_network_retries=RETRIES,
            http_client=http,
            base_addresses={"api": api_url} if api_url else None,
        )
    finally:
        await http.close_async()  # type: ignore[no-untyped-call]


@asynccontextmanager
async def explained() -> AsyncIterator[None]:
    """Turns Stripe's failures into ours: InvalidRequest for a card or an order that is refused,
    StoreUnavailable for everything that is not the caller's. Stripe's own text goes nowhere.
    """
    try:
        yield
    except stripe.StripeError as error:
        log.warning(
            "stripe_failed", error=type(error).__name__, status=error.http_status, code=error.code
        )
        if isinstance(error, stripe.CardError):
            raise InvalidRequest(
                "The card was declined.", code=error.code or "card_declined"
            ) from error
        if isinstance(error, stripe.InvalidRequestError):
            raise InvalidRequest(
                "The payment was refused.", code=error.code or "payment_refused"
            ) from error
        raise StoreUnavailable("Payments are not available at the moment.") from error
