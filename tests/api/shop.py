"""What the operations of billing need before they can be called as their examples say: a stand-in
for Stripe, orders to look at, a coupon, a friend's code, something verified.
"""

from typing import Any

import asyncpg

from gatewayz.api.operation import Operation
from gatewayz.billing.stripe.check import check_stripe
from gatewayz.billing.stripe.client import open_client
from gatewayz.billing.stripe.desk import Desk
from tests.fakes.stripe.app import FakeStripe
from tests.world import Account, World

FRIEND_CODE = "GATEWAYZ"
REQUESTS: dict[str, dict[str, Any]] = {
    "/checkout-session": {"amount": 1000, "currency": "usd"},
    "/payment-intent": {"amount": 1000, "currency": "usd"},
    "/stripe/portal": {},
    "/setup-session": {},
    "/auto-topup": {"enabled": False, "threshold_cents": 500, "amount_cents": 2000},
    "/daily-cap": {"daily_cap": "5.00"},
    "/subscription-checkout": {"plan": "dev"},
    "/subscription/upgrade": {"plan": "team"},
    "/subscription/downgrade": {"plan": "dev"},
    "/coupons/redeem": {"code": "WELCOME"},
    "/referral/validate": {"referral_code": FRIEND_CODE},
    "/referral/use": {"referral_code": FRIEND_CODE},
    "/trial/start": {},
    "/trials/start": {},
    "/partner-trials/start": {"partner_code": "REDBEARD"},
}
# Fields of a wrong type; each body that is asked for has one of them.
WRONG: dict[str, Any] = {
    name: [5]
    for name in (
        "amount", "plan", "code", "referral_code", "return_url", "success_url", "partner_code",
        "enabled", "daily_cap",
    )
}  # fmt: skip
# Once for an account, or for one that has not paid: each is called by a new one.
FRESH = ("/start", "/referral/use", "/referral/validate", "/coupons/redeem")


class Shop:
    """`names`: values of path parameters that only a real order has."""

    def __init__(self, world: World, fake: FakeStripe) -> None:
        self._world, self._fake = world, fake
        self.names: dict[str, str] = {}

    async def open(self, account: Account) -> None:
        rpc = self._world.stores.postgres.rpc
        await rpc(
            "create_coupon",
            {"code": "WELCOME", "value_nanos": 10**9, "valid_ms": 10**9, "max_uses": 100,
             "actor": "test"},
        )  # fmt: skip
        friend = await self._world.account()
        connection = await asyncpg.connect(self._world.settings.stores.database_url)
        await connection.execute(
            "insert into ledger.referral_codes values ($1, $2)", friend.id, FRIEND_CODE
        )
        await connection.close()
        for path, name in (
            ("checkout-session", "session_id"), ("payment-intent", "payment_intent_id"),
        ):  # fmt: skip
            answer = await self._world.client.post(
                f"/api/stripe/{path}", json={"amount": 1000}, headers=account.headers
            )
            self.names[name] = answer.json()[name]
            self.names["payment_id"] = answer.json()["payment_id"]
        self.names["intent_id"] = self.names.pop("payment_intent_id")

    async def caller(self, operation: Operation, usual: Account) -> Account:
        if not operation.path.endswith(FRESH):
            return usual
        made = await self._world.account()
        params = {"account": made.id, "kind": "email", "hash": made.id.encode().hex().zfill(64)}
        await self._world.stores.postgres.rpc("note_signal", params)
        return made

    async def after(self, operation: Operation, answer: Any) -> None:
        """The customer pays for the subscription or the order, and Stripe's events are applied."""
        if operation.path.endswith("/subscription-checkout"):
            self._fake.checkout.pay(answer.json()["session_id"])
        elif operation.path.endswith("/payments/{payment_id}"):
            card = self._fake.payments.card("pm_card_visa")["id"]
            self._fake.payments.confirm(self.names["intent_id"], {"payment_method": card})
        else:
            return
        async with open_client(self._fake.key, self._fake.checkout.url) as client:
            billing = self._world.settings.billing
            await check_stripe(Desk(client, self._world.stores.postgres, billing))
