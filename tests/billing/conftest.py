"""A gateway's billing beside the stand-in for Stripe: real stores, real SDK, mail by hand."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from gatewayz.core import clock
from gatewayz.core.billing_settings import BillingSettings
from gatewayz.core.settings import Settings
from gatewayz.local.mount import load_modules
from gatewayz.runtime.entries import Worker
from gatewayz.stores.open import Stores
from tests import world as worlds
from tests.fakes.stripe.app import FakeStripe
from tests.fakes.stripe.deliveries import Endpoint, Manners
from tests.world import Account, Server, World

WEBHOOK_SECRET = "whsec_test_test_test"
STAFF_SECRET = "staff-secret-staff-secret-staff-secret"
sandbox, world = worlds.sandbox, worlds.world

HOST, HOOK = "http://webhook.test", "/api/stripe/webhook"
CENT = 10_000_000


@dataclass
class Till:
    """What a billing test needs: the stand-in, the webhook, the worker, one customer."""

    world: World
    fake: FakeStripe
    account: Account
    worker: Worker
    http: httpx.AsyncClient

    @property
    def stores(self) -> Stores:
        return self.world.stores

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        headers = more.pop("headers", self.account.headers)
        return await self.http.request(method, path, json=body, headers=headers, **more)

    async def checkout(self, cents: int = 1000, **more: Any) -> Any:
        answer = await self.call("POST", "/api/stripe/checkout-session", {"amount": cents, **more})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def deliver(self, manners: Manners | None = None) -> None:
        """Stripe's mail arrives, and the worker does what it says."""
        await self.fake.deliveries.deliver(self.http, manners)
        await self.work()

    async def work(self) -> None:
        while True:
            received, _ = await self.worker.step(self.stores)
            if not received:
                return

    async def balance(self, account: str | None = None) -> int:
        row = await self.stores.postgres.rpc("get_balance", {"account": account or self.account.id})
        return int(row["balance_nanos"])

    async def violations(self) -> list[Any]:
        rows = await self.stores.postgres.rpc("check_violations", {"from_zero": True})
        return list(rows)


def charge(till: Till, number: int, nanos: int, *, lease: str | None = None) -> dict[str, Any]:
    """What a request leaves behind: a message that the settle worker posts."""
    request_id = f"req_{number:026d}"
    return {
        "v": 1, "request_id": request_id, "account": till.account.id, "key_id": till.account.key_id,
        "lease": lease, "close": lease is not None, "scopes": [],
        "model": "m", "offer": "o", "provider": "p",
        "lines": [["output", 1, nanos * 10**6]], "charge_nanos": nanos, "cost_nanos": nanos,
        "outcome": "completed", "estimated": False, "attempts": [], "stream": False,
        "admitted_at_ms": 1, "digest": request_id,
    }  # fmt: skip


class Counter:
    """One server for all tests of a process: it serves whoever stands behind it now."""

    def __init__(self) -> None:
        self.app: Any = None
        self.server = Server(self)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            return await self.app(scope, receive, send)  # type: ignore[no-any-return]
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return


_counters: list[Counter] = []


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeStripe:
    """A stand-in that a gateway of this test can reach; its mail waits to be delivered."""
    fake = FakeStripe(now_s=clock.now_ms() // 1000)
    fake.deliveries.manners.hold = True
    if not _counters:
        _counters.append(Counter())
    _counters[0].app = fake.app
    fake.checkout.url = _counters[0].server.url
    monkeypatch.setenv("STRIPE_API_URL", fake.checkout.url)
    monkeypatch.setenv("STRIPE_SECRET_KEY", fake.key)
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET)
    return fake


@pytest.fixture(scope="session", autouse=True)
def _counters_close() -> Iterator[None]:
    yield
    while _counters:
        _counters.pop().server.stop()


@pytest.fixture
def bill() -> Callable[[BillingSettings], BillingSettings]:
    """Overridden by tests that need other terms."""
    return lambda billing: billing


@pytest.fixture
def tune(
    fake: FakeStripe, bill: Callable[[BillingSettings], BillingSettings]
) -> Callable[[Settings], Settings]:
    def tuned(settings: Settings) -> Settings:
        billing = replace(bill(settings.billing), stripe_url=fake.checkout.url)
        keys = replace(settings.keys, staff=f"alice:{STAFF_SECRET}")
        return replace(settings, billing=billing, keys=keys)

    return tuned


@pytest.fixture
async def till(
    fake: FakeStripe, world: World, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Till]:
    # The worker reads its settings as on its platform, from the environment.
    billing = world.settings.billing
    monkeypatch.setenv("GATEWAYZ_FIRST_TOPUP_BONUS_CENTS", str(billing.first_bonus_cents))
    ((_, worker),) = load_modules("worker", only="apply_payments")
    ((_, webhook),) = load_modules("app", only="stripe_webhook")
    hook = webhook.WebhookApp(world.settings)
    fake.deliveries.endpoints.append(Endpoint(HOST + HOOK, WEBHOOK_SECRET))
    mounts = {HOST: httpx.ASGITransport(hook)}
    async with httpx.AsyncClient(base_url=world.url, timeout=30, mounts=mounts) as http:
        yield Till(world, fake, await world.account(usd=0), worker.worker, http)
    if hook._stores is not None:
        await hook._stores[1].close()
