"""The page at `/` of the local stack and the live state behind it.

Owns `/` and `/local/*`. Guarantees that only a browser on this machine, on this server's own page,
reads the key: loopback client, loopback Host, no cross-origin request, no proxy in between.
Polls the stores only while somebody listens. Never writes to them.
"""

import asyncio
import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from importlib.resources import files
from ipaddress import IPv6Address, ip_address
from typing import Any

import orjson

from gatewayz import VERSION
from gatewayz.core import clock
from gatewayz.core.errors import GatewayError
from gatewayz.core.money import usd_text
from gatewayz.net.asgi import Call, RawHeaders, Receive, Scope, Send
from gatewayz.runtime.stopping import on_stop
from gatewayz.stores.open import Stores

PATHS = frozenset({"/", "/local/state", "/local/events"})
POLL_S = 0.5
STORE_TIMEOUT_S = 1.0
KEEPALIVE_S = 15.0
# The ledger is added up when something moved, and now and then when nothing seems to have.
CHECK_EVERY_POLLS = 10
SHOWN_REQUESTS = 30
MAX_LISTENERS = 32
# A price is nano-USD per 10⁶ units, so units × price counts these parts of a dollar.
PARTS_PER_USD = 10**15

_LOCAL_HOST = re.compile(rb"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
# Whoever forwards for others makes every client look local.
_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via")
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)
_PRIVATE: RawHeaders = [
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
]
_JSON: RawHeaders = [(b"content-type", b"application/json"), *_PRIVATE]
_EVENTS: RawHeaders = [(b"content-type", b"text/event-stream; charset=utf-8"), *_PRIVATE]


class Console:
    """An ASGI application for `PATHS`. `base_url` is the origin, without /v1."""

    def __init__(
        self,
        stores: Stores,
        *,
        account: str,
        base_url: str,
        api_key: Callable[[], str],
        top_up: bool = False,
    ) -> None:
        self._stores = stores
        self._account = account
        self._base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._top_up = top_up
        self._page: tuple[bytes, RawHeaders] | None = None
        self._listeners: set[asyncio.Event] = set()
        self._poller: asyncio.Task[None] | None = None
        self._news = b""
        self._seen: object = None
        self._checked: list[dict[str, str]] | None = None
        self._polls = 0
        self._watching_stop = False
        self._stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        call = Call(scope, receive, send)
        if refusal := _refusal(scope, call):
            return await _refuse(call, 403, "forbidden", refusal)
        if call.path not in PATHS:
            return await _refuse(call, 404, "route_not_found", "There is no such page here.")
        if call.method not in ("GET", "HEAD"):
            return await _refuse(call, 405, "method_not_allowed", "Only GET is answered here.")
        if call.path == "/":
            body, headers = self._page = self._page or load_page()
            return await call.answer(200, b"" if call.method == "HEAD" else body, headers)
        if call.path == "/local/state":
            return await call.answer(200, orjson.dumps(await self._state(fresh=True)), _JSON)
        if len(self._listeners) >= MAX_LISTENERS:
            return await _refuse(call, 503, "overloaded", "Too many pages are open.")
        await self._listen(call)

    def stop(self) -> None:
        """End every event stream, so that the server can end."""
        self._stopping = True
        self._wake()

    # ------------------------------------------------------------ live

    async def _listen(self, call: Call) -> None:
        """The state now and after every change, until the page or the server goes."""
        if not self._watching_stop:
            self._watching_stop = True
            on_stop(self.stop)
        changed = asyncio.Event()
        self._listeners.add(changed)
        watch = asyncio.create_task(_await_leave(call, changed))
        self._start_polling()
        sent = b""
        try:
            await call.start(200, _EVENTS)
            while not self._stopping and not watch.done():
                if self._news and self._news is not sent:
                    sent = self._news
                    await call.write(b"data: " + sent + b"\n\n")
                try:
                    async with asyncio.timeout(KEEPALIVE_S):
                        await changed.wait()
                except TimeoutError:
                    await call.write(b": keepalive\n\n")
                changed.clear()
            await call.end()
        finally:
            watch.cancel()
            self._listeners.discard(changed)

    def _start_polling(self) -> None:
        if self._poller is None or self._poller.done():
            self._news = b""
            self._poller = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        while self._listeners and not self._stopping:
            news = orjson.dumps(await self._state(fresh=False))
            if news != self._news:
                self._news = news
                self._wake()
            await clock.sleep(POLL_S)

    def _wake(self) -> None:
        for listener in self._listeners:
            listener.set()

    # ------------------------------------------------------------ state

    async def _state(self, *, fresh: bool) -> dict[str, Any]:
        """What the page shows; null stands for what a store that is away would have told."""
        postgres = self._stores.postgres
        balance, rows, depth, redis = await asyncio.gather(
            _ask(postgres.rpc("get_balance", {"account": self._account})),
            _ask(
                postgres.rpc("list_requests", {"account": self._account, "limit": SHOWN_REQUESTS})
            ),
            _ask(self._stores.queue.depth("charges")),
            _ask(self._stores.redis.script("ping_v1", ["ping"], [])),
        )
        self._polls += 1
        seen = (balance, rows and rows[0]["request_id"])
        due = fresh or seen != self._seen or self._polls % CHECK_EVERY_POLLS == 0
        if due or self._checked is None:
            self._checked, self._seen = await _ask(postgres.rpc("check_violations", {})), seen
        found = self._checked
        return {
            "version": VERSION,
            "base_url": self._base_url,
            "api_key": self._api_key(),
            "top_up": self._top_up,
            "balance": balance and balance | {"usd": usd_text(balance["balance_nanos"])},
            "violations": None if found is None else {"count": len(found), "rows": found[:50]},
            "requests": None if rows is None else [show_request(row) for row in rows],
            "queue": depth
            and {"waiting": depth.waiting, "inflight": depth.inflight, "dead": depth.dead},
            "stores": {
                "postgres": _word(balance),
                "redis": _word(redis),
                "queue": _word(depth),
            },
        }


def show_request(row: dict[str, Any]) -> dict[str, Any]:
    """One settled request with its receipt; every amount is exact text in USD."""
    return {
        "id": row["request_id"],
        "at_ms": row["admitted_at_ms"],
        "model": row["model"],
        "provider": row["provider"],
        "outcome": row["outcome"],
        "finish": row["finish"],
        "reason": row["reason"],
        "estimated": row["estimated"],
        "stream": row["stream"],
        "first_token_ms": row["first_token_ms"],
        "total_ms": row["total_ms"],
        "charge_nanos": row["charge_nanos"],
        "charge_usd": usd_text(row["charge_nanos"]),
        "lines": [
            {
                "class": cls,
                "units": units,
                "usd_per_million": usd_text(price),
                "usd": _exact_usd(units * price),
            }
            for cls, units, price in row["lines"]
        ],
    }


def load_page() -> tuple[bytes, RawHeaders]:
    """The page and the headers that let it run its own inline code and nothing else."""
    text = files("gatewayz.local").joinpath("console.html").read_text(encoding="utf-8")
    allowed: dict[str, list[str]] = {"script": [], "style": []}
    for kind, code in _INLINE.findall(text):
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        allowed[kind].append(f"'sha256-{digest}'")
    policy = (
        f"default-src 'none'; script-src {' '.join(allowed['script'])}; "
        f"style-src {' '.join(allowed['style'])}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text.encode(), [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", policy.encode()),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"referrer-policy", b"no-referrer"),
        *_PRIVATE,
    ]


def _exact_usd(parts: int) -> str:
    whole, rest = divmod(parts, PARTS_PER_USD)
    digits = f"{rest:015d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def _refusal(scope: Scope, call: Call) -> str | None:
    """Why this caller gets nothing; None when it is a browser on this machine, on our page."""
    client = scope.get("client")
    if client is None or not _is_loopback(client[0]):
        return "This page is for the machine that Gatewayz runs on."
    hosts = [value for name, value in call.headers if name == b"host"]
    if len(hosts) != 1 or not _LOCAL_HOST.fullmatch(hosts[0]):
        return "Open this page as http://127.0.0.1 or http://localhost."
    if any(call.header(name) is not None for name in _FORWARDED):
        return "This page is not served through a proxy."
    if call.path == "/":
        return None
    if call.header(b"sec-fetch-site") not in (None, b"same-origin", b"none"):
        return "Another site may not read this."
    origin = call.header(b"origin")
    own = scope.get("scheme", "http").encode() + b"://" + hosts[0]
    if origin is not None and origin.lower() != own.lower():
        return "Another site may not read this."
    return None


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


async def _refuse(call: Call, status: int, code: str, message: str) -> None:
    kind = "api_error" if status >= 500 else "invalid_request_error"
    body = {"error": {"message": message, "type": kind, "code": code, "param": None}}
    await call.answer(status, orjson.dumps(body), _JSON)


async def _await_leave(call: Call, changed: asyncio.Event) -> None:
    while (await call.receive())["type"] != "http.disconnect":
        pass
    changed.set()


async def _ask(answer: Awaitable[Any]) -> Any:
    """The answer of a store; None when it is away."""
    try:
        async with asyncio.timeout(STORE_TIMEOUT_S):
            return await answer
    except (GatewayError, TimeoutError):
        return None


def _word(answer: Any) -> str:
    return "unavailable" if answer is None else "ok"
