"""A whole gateway for tests: the real functions behind one real server, the sandbox upstream
behind another, both on loopback; charges settle when a test says so.
"""

import asyncio
import atexit
import importlib
import importlib.util
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
import uvicorn

from gatewayz.accounts.keys import generate_key, hash_key
from gatewayz.billing.settlement import CHARGES
from gatewayz.billing.sweep import Sweeper, Swept
from gatewayz.core.money import NANOS_PER_USD
from gatewayz.core.settings import Settings
from gatewayz.local.sandbox import Sandbox
from gatewayz.stores.open import Stores, open_stores
from tests.fakes.identity import PRIVY_APP, FakeIdentity

# Functions of the data plane besides chat: raw applications with a gateway of their own.
LIGHT = ("embeddings",)
CONTROL = (
    "models",
    "keys",
    "account",
    "people",
    "users",
    "billing",
    "usage",
    "promises",
    "status",
    "admin",
    "promotions",
    "subscriptions",
    "credits",
    "trials",
    "limits",
    "telemetry",
    "provider_keys",
    "grants",
    "notices",
)


class Server:
    """An ASGI app under uvicorn in a thread, on a free port."""

    def __init__(self, app: Any) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            app, log_level="warning", loop="uvloop", http="gatewayz.net.server:Http", lifespan="on",
            timeout_graceful_shutdown=5, access_log=False, proxy_headers=False,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=lambda: self._server.run(sockets=[self._socket]), daemon=True
        )
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the server did not start")
            time.sleep(0.005)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()


@dataclass
class Account:
    id: str
    key: str
    key_id: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}


@dataclass
class World:
    """What a test needs to act as a caller, an operator and an auditor."""

    url: str
    settings: Settings
    stores: Stores
    client: httpx.AsyncClient
    sandbox: Sandbox
    chat: Any
    identity: FakeIdentity
    accounts: list[Account] = field(default_factory=list)

    async def account(self, *, usd: int | str = 10) -> Account:
        """A new account with credit and a key."""
        number = len(self.accounts) + 1
        account = f"acct_{number}"
        key = generate_key("test")
        pepper = self.settings.keys.pepper.encode()
        await self.stores.postgres.rpc(
            "open_account", {"account": account, "name": account, "stage": "test"}
        )
        nanos = round(float(usd) * NANOS_PER_USD)
        if nanos:
            await self.stores.postgres.rpc(
                "grant_credit",
                {"op_id": account, "account": account, "amount_nanos": nanos, "reason": "test"},
            )
        await self.stores.postgres.rpc(
            "create_key",
            {
                "key_id": f"key_{number}",
                "account": account,
                "name": "test key",
                "hash": hash_key(key.text.encode(), pepper).hex(),
                "prefix": key.prefix,
            },
        )
        made = Account(account, key.text, f"key_{number}")
        self.accounts.append(made)
        return made

    async def settle(self) -> int:
        """Run the settle worker until the queue is empty; the number of messages done."""
        worker = importlib.import_module("functions.settle_charges.worker").worker
        done = 0
        while True:
            received, finished = await worker.step(self.stores)
            done += finished
            if not received:
                return done
            assert finished == received

    async def sweep(self, *, idle_ms: int = 0) -> Swept:
        return await Sweeper(self.stores.postgres, self.stores.redis).sweep(idle_ms=idle_ms)

    async def balance(self, account: Account) -> dict[str, int]:
        row: dict[str, int] = await self.stores.postgres.rpc("get_balance", {"account": account.id})
        return row

    async def requests(self, account: Account) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = await self.stores.postgres.rpc(
            "list_requests", {"account": account.id, "limit": 1000}
        )
        return rows

    async def violations(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = await self.stores.postgres.rpc("check_violations", {})
        return rows

    async def depth(self) -> int:
        depth = await self.stores.queue.depth(CHARGES)
        return depth.waiting + depth.inflight

    async def post(self, account: Account, model: str = "sandbox/echo", **body: Any) -> Any:
        """POST /v1/chat/completions with a short message; fields of `body` win."""
        path = body.pop("path", "/v1/chat/completions")
        headers = account.headers | body.pop("headers", {})
        content = {"model": model, "messages": [{"role": "user", "content": "hello"}]} | body
        return await self.client.post(path, json=content, headers=headers)

    async def stream(
        self, account: Account, model: str = "sandbox/echo", **body: Any
    ) -> tuple[int, httpx.Headers, str]:
        """The same streamed: status, headers and the whole text of the stream."""
        path = body.pop("path", "/v1/chat/completions")
        content = {
            "model": model,
            "messages": [{"role": "user", "content": "hello"}],
            "stream": True,
        } | body
        async with self.client.stream(
            "POST", path, json=content, headers=account.headers
        ) as answer:
            text = (await answer.aread()).decode()
            return answer.status_code, answer.headers, text


async def eventually(check: Callable[[], Awaitable[bool]], *, tries: int = 400) -> None:
    """Wait until `check` is true; a test waits for what happens, never for a time to pass."""
    for _ in range(tries):
        if await check():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen")


@pytest.fixture(scope="session")
def sandbox() -> Iterator[tuple[Sandbox, str]]:
    app = Sandbox()
    server = Server(app)
    yield app, server.url
    server.stop()


_vouching: list[FakeIdentity] = []


def vouching() -> FakeIdentity:
    """Who vouches for people in this test; one server for all tests of a process."""
    if not _vouching:
        made = FakeIdentity()
        server = Server(made)
        atexit.register(server.stop)
        made.url = server.url
        _vouching.append(made)
    known = _vouching[0]
    known.fails = False
    known.accounts.clear()
    for key_id in list(known.keys):
        if key_id != "es-1":
            del known.keys[key_id]
    return known


def mount(settings: Settings) -> Any:
    """All functions of this stage behind one ASGI callable, by path."""
    chat_module = importlib.import_module("functions.chat.app")
    from gatewayz.api.app import _Planes
    from gatewayz.local.mount import _pattern

    chat = chat_module.ChatApp(settings)
    own = [_pattern(path) for path in chat_module.ROUTES if "{" in path]
    light: dict[str, Any] = {}
    for name in LIGHT:
        module = importlib.import_module(f"functions.{name}.app")
        light |= dict.fromkeys(module.ROUTES, type(module.app)(settings))
    control: dict[str, Any] = {}
    for name in CONTROL:
        if importlib.util.find_spec(f"functions.{name}.app") is None:
            continue
        app = importlib.import_module(f"functions.{name}.app").app
        if hasattr(app.state, "planes"):
            app.state.planes = _Planes(settings)
        for route in app.routes:
            control[route.path.split("{")[0].rstrip("/")] = app

    async def close_control(receive: Any) -> Any:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            for app in {id(app): app for app in control.values()}.values():
                if hasattr(app.state, "planes"):
                    await app.state.planes.close()
            for app in {id(app): app for app in light.values()}.values():
                await app.gateway().close()
        return message

    async def gateway(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await chat(scope, lambda: close_control(receive), send)  # type: ignore[no-any-return]
        path = scope["path"]
        if path in light:
            return await light[path](scope, receive, send)  # type: ignore[no-any-return]
        best = max((p for p in control if path.startswith(p)), key=len, default=None)
        if any(pattern.fullmatch(path) for pattern in own):
            best = None
        await (control[best] if best else chat)(scope, receive, send)

    gateway.chat = chat  # type: ignore[attr-defined]
    return gateway


@pytest.fixture
def tune() -> Callable[[Settings], Settings]:
    """Overridden by tests that need other settings."""
    return lambda settings: settings


@pytest.fixture
async def world(
    settings: Settings, sandbox: tuple[Sandbox, str], tune: Callable[[Settings], Settings]
) -> AsyncIterator[World]:
    app, url = sandbox
    identity = vouching()
    auth = replace(
        settings.auth, issuer=identity.issuer, privy_app=PRIVY_APP, privy_url=identity.url,
        email_links="on",
    )  # fmt: skip
    catalog = replace(settings.catalog, sandbox_url=url + "/v1")
    tuned = tune(replace(settings, catalog=catalog, auth=auth))
    gateway = mount(tuned)
    server = Server(gateway)
    stores = open_stores(tuned)
    client = httpx.AsyncClient(base_url=server.url, timeout=30)
    try:
        yield World(server.url, tuned, stores, client, app, gateway.chat, identity)
    finally:
        await client.aclose()
        server.stop()
        await stores.close()
