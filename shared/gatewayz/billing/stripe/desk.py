"""Where Stripe's events are worked on, and what becomes of one."""

from dataclasses import dataclass
from typing import Any

from stripe import StripeClient

from gatewayz.core.settings import BillingSettings
from gatewayz.stores.postgres import Postgres


@dataclass(frozen=True, slots=True)
class Desk:
    """Stripe's API, our ledger, our terms."""

    client: StripeClient
    postgres: Postgres
    settings: BillingSettings


@dataclass(frozen=True, slots=True)
class Outcome:
    """`applied`, or `ignored`; `detail` says why or how."""

    status: str
    detail: str | None = None


def id_of(held: Any) -> str | None:
    """The id of what may be an id or, expanded, the object itself."""
    if held is None or isinstance(held, str):
        return held
    return str(held["id"] if isinstance(held, dict) else held.id)
