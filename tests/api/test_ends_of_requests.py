"""How a request ends when its caller, our own code or a store fails at a bad moment: one message,
no clean end after a failure, nothing held. Speaks ASGI itself, so that it can fail where it likes.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from functions.chat.app import ChatApp
from gatewayz.billing.credits import CANNOT_TELL, Hold
from gatewayz.core import waits
from gatewayz.core.settings import Settings
from gatewayz.inference import answer, entry, job, relay
from gatewayz.net.http import HttpStream
from tests.world import Account, World, eventually

Message = dict[str, Any]


class Caller:
    """One request over bare ASGI. `fail` is called with every message before it is kept."""

    def __init__(
        self,
        app: ChatApp,
        account: Account,
        model: str = "sandbox/mock-n3",
        *,
        stream: bool = False,
        fail: Callable[[Message], Awaitable[None]] | None = None,
        **body: Any,
    ) -> None:
        content = {"model": model, "messages": [{"role": "user", "content": "hello"}], **body}
        self.body = json.dumps(content | {"stream": stream}).encode()
        self.headers = [
            (b"authorization", b"Bearer " + account.key.encode()),
            (b"content-length", b"%d" % len(self.body)),
        ]
        self.sent: list[Message] = []
        self.left = asyncio.Event()
        self.arrives = asyncio.Event()
        self.arrives.set()
        self._read = False
        self._app, self._fail = app, fail

    async def run(self) -> "Caller":
        scope = {
            "type": "http", "method": "POST", "path": "/v1/chat/completions",
            "query_string": b"", "headers": self.headers,
        }  # fmt: skip
        await self._app(scope, self._receive, self._send)
        return self

    async def _receive(self) -> Message:
        if not self._read:
            await self.arrives.wait()
            self._read = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if self._fail is not None:
            await self._fail(message)
        self.sent.append(message)

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()


@pytest.fixture
async def apps(world: World) -> AsyncIterator[Callable[..., ChatApp]]:
    made: list[ChatApp] = []

    def make(settings: Settings | None = None, **http: Any) -> ChatApp:
        settings = settings or world.settings
        made.append(ChatApp(replace(settings, http=replace(settings.http, **http))))
        return made[-1]

    yield make
    for app in made:
        await app.gateway().close()


async def the_row(world: World, account: Account) -> dict[str, Any]:
    """The one request of the account, once settled; nothing is held and the books add up."""
    assert await world.depth() == 1
    assert await world.settle() == 1
    await world.sweep()
    (row,) = await world.requests(account)
    assert (await world.balance(account))["held_nanos"] == 0
    assert await world.violations() == []
    return row


def failing(kind: type[Exception], when: Callable[[Message], bool]) -> Any:
    async def fail(message: Message) -> None:
        if when(message):
            raise kind("no way out")

    return fail


def is_start(message: Message) -> bool:
    return bool(message["type"] == "http.response.start")


def is_last(message: Message) -> bool:
    return message["type"] == "http.response.body" and not message["more_body"]


# ---------------------------------------------------------------- our own bugs


@pytest.mark.parametrize("stream", [False, True])
async def test_a_crash_after_the_charge_is_stored_sends_no_second_message(
    world: World, apps: Callable[..., ChatApp], stream: bool
) -> None:
    account = await world.account()
    when = is_last if stream else is_start
    await Caller(apps(), account, stream=stream, fail=failing(RuntimeError, when)).run()
    row = await the_row(world, account)
    assert row["outcome"] == "completed" and row["charge_nanos"] > 0


async def test_a_crash_before_the_charge_costs_nothing_and_is_told(
    world: World, apps: Callable[..., ChatApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await world.account()

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(answer, "bill", broken)
    caller = await Caller(apps(), account).run()
    assert caller.status == 500
    row = await the_row(world, account)
    assert (row["outcome"], row["charge_nanos"], row["reason"]) == ("failed", 0, "crash")


# ---------------------------------------------------------------- callers that do not read


@pytest.mark.parametrize("stream", [False, True])
async def test_F27_the_last_bytes_wait_only_so_long_for_a_caller_that_does_not_read(
    world: World, apps: Callable[..., ChatApp], monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    for module in (job, relay, answer):
        monkeypatch.setattr(module, "LAST_WRITE_S", 0.01)
    monkeypatch.setattr(waits, "TICK_S", 0.01)
    account = await world.account()

    async def never(message: Message) -> None:
        if is_last(message):
            await asyncio.Event().wait()

    async with asyncio.timeout(10):
        await Caller(apps(), account, stream=stream, fail=never).run()
    row = await the_row(world, account)
    assert row["outcome"] == "completed" and row["charge_nanos"] > 0


async def test_F27_an_error_waits_only_so_long_for_a_caller_that_does_not_read(
    world: World, apps: Callable[..., ChatApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "LAST_WRITE_S", 0.01)
    account = await world.account()

    async def never(message: Message) -> None:
        await asyncio.Event().wait()

    async with asyncio.timeout(10):
        await Caller(apps(), account, "sandbox/mock-err500", fail=never).run()
    assert (await the_row(world, account))["charge_nanos"] == 0


@pytest.mark.parametrize("kind", [ConnectionResetError, BrokenPipeError, TimeoutError])
async def test_a_broken_connection_while_writing_is_a_caller_who_left(
    world: World, apps: Callable[..., ChatApp], kind: type[Exception]
) -> None:
    account = await world.account()
    first = failing(kind, lambda m: m["type"] == "http.response.body" and bool(m["body"]))
    app = apps(left_grace_s=0.0)
    await Caller(app, account, "sandbox/mock-n3", stream=True, fail=first).run()
    row = await the_row(world, account)
    assert row["outcome"] in ("left", "completed") and row["charge_nanos"] > 0
    assert row["reason"] != "crash"


async def test_a_broken_connection_under_a_whole_answer_is_no_crash_and_is_paid(
    world: World, apps: Callable[..., ChatApp], capfd: pytest.CaptureFixture[str]
) -> None:
    account = await world.account()
    await Caller(apps(), account, fail=failing(ConnectionResetError, is_last)).run()
    row = await the_row(world, account)
    assert row["outcome"] == "completed" and row["charge_nanos"] > 0
    assert "request_crashed" not in capfd.readouterr().err


async def test_who_leaves_before_any_provider_was_reached_pays_nothing(
    world: World, apps: Callable[..., ChatApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await world.account()
    app = apps(left_grace_s=0.0)
    opening = asyncio.Event()

    async def connecting(*_: Any, **__: Any) -> Any:
        opening.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(app.gateway().client, "open", connecting)
    caller = Caller(app, account, stream=True)
    task = asyncio.create_task(caller.run())
    await opening.wait()
    caller.left.set()
    await task
    row = await the_row(world, account)
    assert (row["outcome"], row["charge_nanos"], row["lines"]) == ("left", 0, [])


# ---------------------------------------------------------------- time-outs that nobody set


@pytest.mark.parametrize("blocks", [0, 2])
async def test_a_time_out_without_a_cause_is_the_providers_and_never_a_clean_end(
    world: World, apps: Callable[..., ChatApp], monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    account = await world.account()
    read, seen = HttpStream.read, 0

    async def late(self: HttpStream, timeout_s: float | None = None) -> bytes:
        nonlocal seen
        if seen == blocks:
            raise TimeoutError
        seen += 1
        return await read(self, timeout_s)

    monkeypatch.setattr(HttpStream, "read", late)
    caller = await Caller(apps(), account, "sandbox/mock-n9-d5", stream=True).run()
    row = await the_row(world, account)
    if blocks:
        assert row["outcome"] == "cut" and row["charge_nanos"] > 0
        assert "upstream_timeout" in caller.text and "[DONE]" not in caller.text
    else:
        assert caller.status == 504
        assert (row["outcome"], row["charge_nanos"]) == ("failed", 0)


# ---------------------------------------------------------------- bodies


async def test_a_body_counts_against_the_limit_before_it_is_read(
    world: World, apps: Callable[..., ChatApp]
) -> None:
    account = await world.account()
    app = apps(max_inflight_bytes=2_000_000)
    gateway = app.gateway()
    slow = [Caller(app, account), Caller(app, account)]
    slow[0].headers[1] = (b"content-length", b"1500000")
    slow[1].headers.pop()  # chunked: what is usual is counted
    tasks = []
    for caller, counted in zip(slow, (1_500_000, 1_500_000 + entry.UNSTATED_BYTES), strict=True):
        caller.arrives.clear()
        tasks.append(asyncio.create_task(caller.run()))

        async def waits_for_it(counted: int = counted) -> bool:
            return gateway.inflight_bytes == counted

        await eventually(waits_for_it)
    refused = await Caller(app, account).run()
    assert (refused.status, json.loads(refused.text)["error"]["code"]) == (503, "overloaded")
    for caller in slow:
        caller.arrives.set()
    await asyncio.gather(*tasks)
    assert gateway.inflight_bytes == 0
    assert slow[0].status == 400  # shorter than it said


async def test_a_body_that_does_not_arrive_in_time_is_refused_and_gives_its_place_up(
    world: World, apps: Callable[..., ChatApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert entry.BODY_S == 120.0
    monkeypatch.setattr(entry, "BODY_S", 0.02)
    monkeypatch.setattr(waits, "TICK_S", 0.01)
    app = apps()
    caller = Caller(app, await world.account())
    caller.arrives.clear()
    async with asyncio.timeout(10):
        await caller.run()
    assert caller.status == 400 and "did not arrive in time" in caller.text
    assert app.gateway().inflight_bytes == app.gateway().requests == 0
    assert await world.depth() == 0


# ---------------------------------------------------------------- Redis is away


async def test_an_answer_on_a_private_hold_is_not_cut_where_its_hold_ends(
    world: World, apps: Callable[..., ChatApp]
) -> None:
    """A private lease cannot grow, and what exceeds it is named overage: nothing is cut at the
    4,096 tokens that a hold without a limit is made for."""
    stores = replace(world.settings.stores, redis_url="redis://127.0.0.1:1/0")
    app = apps(replace(world.settings, stores=stores))
    account = await world.account()
    caller = await Caller(app, account, "sandbox/mock-n5000-b200", stream=True).run()
    assert caller.status == 200 and caller.text.endswith("data: [DONE]\n\n")
    assert '"finish_reason":"stop"' in caller.text
    row = await the_row(world, account)
    assert row["outcome"] == "completed" and dict(map(_units, row["lines"]))["output"] > 4096
    hold = Hold("req_x", account.id, "l", 1, private=True)
    assert await app.gateway().credits.checkpoint(hold, "{}", 1) == CANNOT_TELL


def _units(line: list[Any]) -> tuple[str, int]:
    return line[0], line[1]
