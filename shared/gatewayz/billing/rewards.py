"""Credit that nobody paid for: bonus and referral, brought to what the payments justify."""

from typing import Any

from gatewayz.core.billing_settings import BillingSettings
from gatewayz.stores.postgres import Postgres

NANOS_PER_CENT = 10_000_000


async def sync_rewards(
    postgres: Postgres, settings: BillingSettings, account: str
) -> dict[str, Any]:
    """Post what is missing, or take back what is not earned any more; what moved, in nano-USD."""
    moved: dict[str, Any] = await postgres.rpc(
        "sync_rewards",
        {
            "account": account,
            "bonus_nanos": settings.first_bonus_cents * NANOS_PER_CENT,
            "bonus_least_cents": settings.first_bonus_least_cents,
            "referral_nanos": settings.referral_cents * NANOS_PER_CENT,
            "referral_least_cents": settings.referral_least_cents,
        },
    )
    return moved
