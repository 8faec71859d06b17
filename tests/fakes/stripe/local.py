"""The stand-in as a part of a local stack: its account kept in a file, its time the real one."""

import time
from pathlib import Path
from typing import Any

from tests.fakes.stripe.app import FakeStripe
from tests.fakes.stripe.deliveries import Endpoint
from tests.fakes.stripe.keeping import load, save

# What is on sale, for the plans that the gateway knows: (plan, cents a month).
PLANS = (("dev", 2_000), ("team", 15_000))


def price_id(plan: str) -> str:
    return f"price_local_{plan}"


def make_app(*, url: str, key: str, secret: str, webhook: str, file: Path) -> Any:
    """An ASGI application, with its prices and where its mail goes."""
    fake = FakeStripe(url=url, key=key, now_s=int(time.time()))
    load(fake, file)
    fake.deliveries.endpoints = [Endpoint(webhook, secret)]
    for plan, cents in PLANS:
        if price_id(plan) not in fake.stripe.objects["price"]:
            _put_on_sale(fake, plan, cents)
    fake.on_change = lambda: save(fake, file)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        fake.stripe.now_s = max(fake.stripe.now_s, int(time.time()))
        await fake.app(scope, receive, send)

    return app


def _put_on_sale(fake: FakeStripe, plan: str, cents: int) -> None:
    product = fake.subscriptions.create_product({"name": f"Gatewayz {plan}"})
    price = fake.subscriptions.create_price(
        {"product": product["id"], "unit_amount": str(cents), "currency": "usd",
         "recurring": {"interval": "month"}}
    )  # fmt: skip
    held = fake.stripe.objects["price"]
    del held[price["id"]]
    price["id"] = price_id(plan)
    held[price["id"]] = price
