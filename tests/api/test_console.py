"""The local stack's page: who gets it, what it tells, and that it is live only for listeners."""

import asyncio
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from gatewayz.core.errors import StoreUnavailable
from gatewayz.local.console import Console, load_page, show_request
from gatewayz.stores.queue import Depth
from tests.world import World, eventually

KEY = "gw_dev_0123456789abcdefghijABCDEFGHIJ"
HOST = (b"host", b"127.0.0.1:8000")


class FakeStores:
    """Stores whose every answer a test sets: which violations and outages there are is the point
    here, and a sound ledger has neither."""

    def __init__(self) -> None:
        self.away = False
        self.calls = 0
        self.balance_nanos = 10_000_000_000
        self.violations: list[dict[str, str]] = []
        self.postgres = SimpleNamespace(rpc=self._rpc)
        self.redis = SimpleNamespace(script=self._script)
        self.queue = SimpleNamespace(depth=self._depth)

    def _check(self) -> None:
        self.calls += 1
        if self.away:
            raise StoreUnavailable("away")

    async def _rpc(self, name: str, params: dict[str, Any]) -> Any:
        self._check()
        if name == "get_balance":
            return {
                "available_nanos": self.balance_nanos,
                "held_nanos": 0,
                "balance_nanos": self.balance_nanos,
                "granted_nanos": self.balance_nanos,
                "charged_nanos": 0,
            }
        return self.violations if name == "check_violations" else []

    async def _script(self, *_: Any) -> str:
        self._check()
        return "PONG"

    async def _depth(self, queue: str) -> Depth:
        self._check()
        return Depth(waiting=2, inflight=1, dead=0, oldest_ms=5)


class Browser:
    """One request to the console as a server would pass it on."""

    def __init__(
        self,
        console: Console,
        path: str = "/local/state",
        *,
        method: str = "GET",
        client: tuple[str, int] | None = ("127.0.0.1", 50000),
        headers: tuple[tuple[bytes, bytes], ...] = (HOST,),
    ) -> None:
        self._console = console
        self._scope = {
            "type": "http",
            "method": method,
            "path": path,
            "scheme": "http",
            "client": client,
            "headers": list(headers),
        }
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self._left = asyncio.Event()

    async def run(self) -> "Browser":
        await self._console(self._scope, self._receive, self._send)
        return self

    def leave(self) -> None:
        self._left.set()

    async def _receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            self.body += message["body"]
            self.ended = not message["more_body"]

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def events(self) -> list[Any]:
        return [orjson.loads(e[6:]) for e in self.body.split(b"\n\n") if e.startswith(b"data: ")]


@pytest.fixture
def stores() -> FakeStores:
    return FakeStores()


@pytest.fixture(autouse=True)
def at_stop(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What would run at SIGTERM; a test's process keeps its own signal handlers."""
    callbacks: list[Callable[[], None]] = []
    monkeypatch.setattr("gatewayz.local.console.on_stop", callbacks.append)
    return callbacks


@pytest.fixture
def console(stores: FakeStores) -> Console:
    return Console(
        stores,  # type: ignore[arg-type]
        account="local",
        base_url="http://127.0.0.1:8000/",
        api_key=lambda: KEY,
    )


# ---------------------------------------------------------------- what it tells


async def test_the_state_shows_a_request_with_its_receipt_to_the_nano_dollar(world: World) -> None:
    account = await world.account()
    assert (await world.post(account)).status_code == 200
    await world.settle()
    console = Console(world.stores, account=account.id, base_url=world.url, api_key=lambda: KEY)

    state = (await Browser(console).run()).json

    assert state["base_url"] == world.url
    assert state["api_key"] == KEY
    assert state["stores"] == {"postgres": "ok", "redis": "ok", "queue": "ok"}
    assert state["queue"] == {"waiting": 0, "inflight": 0, "dead": 0}
    assert state["violations"] == {"count": 0, "rows": []}
    (request,) = state["requests"]
    assert (request["model"], request["provider"]) == ("sandbox/echo", "sandbox")
    assert request["outcome"] == "completed"
    assert {line["class"] for line in request["lines"]} == {"input", "output"}
    balance = state["balance"]
    assert balance["charged_nanos"] == request["charge_nanos"] > 0
    assert balance["balance_nanos"] == 10_000_000_000 - request["charge_nanos"]
    assert balance["usd"].startswith("9.99")


def test_every_amount_of_a_receipt_is_exact_text() -> None:
    row = {
        "request_id": "req_1", "admitted_at_ms": 1, "model": "m", "provider": "p",
        "outcome": "completed", "finish": "stop", "reason": None, "estimated": False,
        "stream": True, "first_token_ms": 3, "total_ms": 4, "charge_nanos": 12_345,
        "lines": [["input", 7, 33_333_333], ["output", 1, 12_111_666_669]],
    }  # fmt: skip

    shown = show_request(row)

    assert shown["charge_usd"] == "0.000012345"
    assert [line["usd"] for line in shown["lines"]] == ["0.000000233333331", "0.000012111666669"]
    assert shown["lines"][0]["usd_per_million"] == "0.033333333"


async def test_violations_are_counted_and_listed(console: Console, stores: FakeStores) -> None:
    stores.violations = [{"rule": "I7", "detail": "revenue is 2, charges are 1"}]

    state = (await Browser(console).run()).json

    assert state["violations"] == {"count": 1, "rows": stores.violations}


async def test_stores_that_are_away_are_named_and_what_they_know_is_null(
    console: Console, stores: FakeStores
) -> None:
    stores.away = True

    answer = await Browser(console).run()

    assert answer.status == 200
    assert set(answer.json["stores"].values()) == {"unavailable"}
    assert answer.json["balance"] is None
    assert answer.json["violations"] is None
    assert answer.json["requests"] is None
    assert answer.json["queue"] is None


# ---------------------------------------------------------------- who gets it

STRANGERS = {
    "a client on another machine": {"client": ("192.168.1.20", 50000)},
    "a client on another machine over IPv6": {"client": ("2001:db8::1", 50000)},
    "a client without an address": {"client": None},
    "a name that resolves to this machine": {"headers": ((b"host", b"evil.example:8000"),)},
    "a name that begins like ours": {"headers": ((b"host", b"127.0.0.1.evil.example"),)},
    "no host": {"headers": ()},
    "two hosts": {"headers": (HOST, (b"host", b"evil.example"))},
    "a proxy": {"headers": (HOST, (b"x-forwarded-for", b"127.0.0.1"))},
    "a proxy by the standard's header": {"headers": (HOST, (b"forwarded", b"for=10.0.0.1"))},
}
OTHER_SITES = {
    "another site": (b"sec-fetch-site", b"cross-site"),
    "another port of this machine": (b"sec-fetch-site", b"same-site"),
    "another origin": (b"origin", b"https://evil.example"),
    "another origin on this machine": (b"origin", b"http://127.0.0.1:3000"),
    "an origin that hides": (b"origin", b"null"),
}


@pytest.mark.parametrize("who", STRANGERS)
@pytest.mark.parametrize("path", ["/", "/local/state", "/local/events"])
async def test_strangers_get_neither_page_nor_key(console: Console, path: str, who: str) -> None:
    answer = await Browser(console, path, **STRANGERS[who]).run()  # type: ignore[arg-type]

    assert answer.status == 403
    assert answer.json["error"]["code"] == "forbidden"
    assert KEY.encode() not in answer.body


@pytest.mark.parametrize("who", OTHER_SITES)
@pytest.mark.parametrize("path", ["/local/state", "/local/events"])
async def test_another_site_in_the_same_browser_reads_nothing(
    console: Console, path: str, who: str
) -> None:
    answer = await Browser(console, path, headers=(HOST, OTHER_SITES[who])).run()

    assert answer.status == 403
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("client", "host"),
    [
        ("127.0.0.1", b"localhost:8000"),
        ("127.0.0.1", b"LOCALHOST"),
        ("::1", b"[::1]:8000"),
        ("::ffff:127.0.0.1", b"127.0.0.1:8000"),
    ],
)
async def test_a_browser_on_this_machine_is_served(
    console: Console, client: str, host: bytes
) -> None:
    own = (b"origin", b"http://" + host)
    fetched = (b"sec-fetch-site", b"same-origin")

    answer = await Browser(
        console, client=(client, 1), headers=((b"host", host), own, fetched)
    ).run()

    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_nothing_can_be_changed_here(console: Console, method: str) -> None:
    assert (await Browser(console, method=method).run()).status == 405


async def test_other_paths_are_not_found(console: Console) -> None:
    assert (await Browser(console, "/local/else").run()).status == 404


# ---------------------------------------------------------------- the page


async def test_the_page_holds_no_secret_and_may_run_only_its_own_code(console: Console) -> None:
    answer = await Browser(console, "/").run()

    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert KEY.encode() not in answer.body
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == 2


def test_the_page_is_one_file_and_writes_no_markup_from_data() -> None:
    text = load_page()[0].decode()

    assert not re.search(r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=(?!["']?data:)""", text)
    assert not re.search(r"@import|@font-face|url\(", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    # The policy forbids both: they would silently do nothing.
    assert not re.search(r"<[a-z][^>]*\s(?:style|on[a-z]+)=", text)


def test_every_control_of_the_page_has_a_name() -> None:
    text = load_page()[0].decode()

    for tag, inner in re.findall(r"<button([^>]*)>(.*?)</button>", text, re.DOTALL):
        assert "aria-label" in tag or inner.strip()
    for field in re.findall(r"""<(?:select|textarea)[^>]*id="([^"]+)""", text):
        assert f'for="{field}"' in text


# ---------------------------------------------------------------- live


async def test_a_listener_gets_the_state_at_once_and_again_when_it_changes(
    console: Console, stores: FakeStores
) -> None:
    page = Browser(console, "/local/events")
    listening = asyncio.create_task(page.run())
    await eventually(lambda: _true(len(page.events) == 1))
    assert page.headers["content-type"].startswith("text/event-stream")

    stores.balance_nanos -= 1
    await eventually(lambda: _true(len(page.events) == 2))

    assert page.events[1]["balance"]["usd"] == "9.999999999"
    page.leave()
    await listening


async def test_the_stores_are_asked_only_while_somebody_listens(
    console: Console, stores: FakeStores
) -> None:
    assert stores.calls == 0
    pages = [Browser(console, "/local/events") for _ in range(3)]
    listening = [asyncio.create_task(page.run()) for page in pages]
    await eventually(lambda: _true(all(page.events for page in pages)))
    # Three pages cost what one costs: balance, requests, violations, queue and Redis.
    assert stores.calls == 5

    for page in pages:
        page.leave()
    await asyncio.gather(*listening)
    poller = console._poller
    assert poller is not None
    await poller
    calls = stores.calls
    await asyncio.sleep(0)
    assert stores.calls == calls


async def test_stopping_the_server_ends_the_streams(
    console: Console, at_stop: list[Callable[[], None]]
) -> None:
    page = Browser(console, "/local/events")
    listening = asyncio.create_task(page.run())
    await eventually(lambda: _true(bool(page.events)))

    (stop,) = at_stop
    stop()

    await asyncio.wait_for(listening, 5)
    assert page.ended


async def _true(value: bool) -> bool:
    return value
