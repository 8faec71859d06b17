"""Requests that last, callers that dawdle, processes that stay warm, answers without an end."""

import asyncio
import gzip
import socket
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from gatewayz.core import clock
from tests.fakes.upstream import Act, RawUpstream, chunk, event_stream
from tests.faults.scene import (
    INPUT,
    OUTPUT,
    Links,
    RawCall,
    Scene,
    chat_body,
    content_of,
    error_of,
    http_request,
    reached,
)
from tests.faults.server import Stage
from tests.faults.upstreams import ORDERED, ask, deaf, delta, providers_file, sse
from tests.world import Account

__all__ = ["deaf", "providers_file"]

STREAM = "sandbox/mock-n4-in10-out4-lockstep."
MB = 1024 * 1024

# ------------------------------------------------------------------ F18


class Askew(clock.SystemClock):
    """A machine whose calendar is wrong by `ms`; its durations are right."""

    def __init__(self) -> None:
        self.ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ms


@pytest.fixture
def askew() -> Iterator[Askew]:
    made = Askew()
    before = clock.use(made)
    yield made
    clock.use(before)


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_F18_a_function_whose_clock_is_wrong(
    world: Scene, askew: Askew, minutes: int
) -> None:
    """Nothing ends early: holds, leases and keys are judged by the clocks of the stores."""
    account = await world.account()
    askew.ms = minutes * 60_000
    lock = f"F18at{minutes + 10}"
    task = asyncio.create_task(world.stream(account, STREAM + lock))
    await reached(lambda: world.sandbox.streams)
    assert len(world.holds(account)) == 1
    swept = await world.sweep()
    assert (swept.holds, swept.leases) == (0, 0) and len(world.holds(account)) == 1
    await world.released(lock, 4)
    status, _, text = await task
    assert (status, text[-14:]) == (200, "data: [DONE]\n\n")
    # The other half of the fleet is right, and shares the lease.
    askew.ms = 0
    assert (await world.post(account, "sandbox/mock-n2-in10-out2")).status_code == 200
    rows = await world.settled(account)
    charges = sorted(row["charge_nanos"] for row in rows)
    assert charges == [10 * INPUT + 2 * OUTPUT, 10 * INPUT + 4 * OUTPUT]
    assert {row["cause"] for row in rows} == {None}
    assert len(await world.sql("select 1 from ledger.leases")) == 1


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_F18_a_clock_that_is_set_right_in_the_middle_of_a_stream(
    world: Scene, askew: Askew, minutes: int
) -> None:
    account = await world.account()
    lock = f"F18mid{minutes + 10}"
    task = asyncio.create_task(world.stream(account, STREAM + lock))
    await reached(lambda: world.sandbox.streams)
    await world.released(lock, 2)
    await reached(lambda: world.sandbox.chunks >= 2)
    askew.ms = minutes * 60_000
    await world.released(lock, 2)
    status, _, text = await task
    assert (status, error_of(text), text[-14:]) == (200, None, "data: [DONE]\n\n")
    row = await world.one(account)
    assert row["charge_nanos"] == 10 * INPUT + 4 * OUTPUT
    assert 0 <= row["first_token_ms"] <= row["total_ms"] < 60_000


# ------------------------------------------------------------------ F25


@pytest.mark.tuned(deadline_s=1.0)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/chat/completions"])
async def test_F25_a_stream_that_lasts_longer_than_its_function(world: Scene, path: str) -> None:
    """An error event, never a clean end; what was delivered is settled, the upstream closed."""
    account = await world.account()
    lock = "F25" + path[1:4].strip("/")
    task = asyncio.create_task(world.stream(account, STREAM + lock, path=path))
    await reached(lambda: world.sandbox.streams)
    await world.released(lock, 2)
    status, _, text = await task
    assert status == 200
    error = error_of(text.removesuffix("data: [DONE]\n\n"))
    assert error is not None and "upstream_timeout" in orjson.dumps(error).decode()
    await reached(lambda: world.sandbox.left)
    row = await world.one(account)
    assert (row["outcome"], row["estimated"]) == ("cut", True)
    assert not world.holds(account)
    assert row["charge_nanos"] == await world.charged(account) > 0
    units = {line[0]: line[1] for line in row["lines"]}
    assert row["charge_nanos"] == units["input"] * INPUT + units["output"] * OUTPUT


@pytest.mark.tuned(deadline_s=0.5)
async def test_F25_a_whole_answer_that_takes_longer_than_its_function(world: Scene) -> None:
    account = await world.account()
    got = await world.post(account, "sandbox/mock-hang")
    assert (got.status_code, got.json()["error"]["code"]) == (504, "upstream_timeout")
    row = await world.one(account)
    assert (row["outcome"], row["charge_nanos"]) == ("failed", 0)


# ------------------------------------------------------------------ F27


class Counted(list[Any]):
    """Steps of a raw upstream that tell how many were taken."""

    taken = 0

    def __iter__(self) -> Iterator[Any]:
        for step in super().__iter__():
            self.taken += 1
            yield step


def _endless(event: bytes, megabytes: int) -> Counted:
    return Counted([event_stream(), *[event] * (megabytes * MB // len(event))])


async def _slow_reader(world: Scene, account: Account, model: str) -> RawCall:
    """A caller whose own buffers are as small as can be."""
    call = RawCall(world)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", call._port))
    call._reader, call._writer = await asyncio.open_connection(sock=sock, limit=4096)
    call._writer.write(http_request(account, chat_body(model, stream=True)))
    await call._reader.readexactly(1)
    return call


WORDS = b"data: " + orjson.dumps(delta("so it goes on " * 2000)) + b"\n\n"


@pytest.mark.tuned(left_grace_s=0.05)
async def test_F27_what_a_slow_caller_does_not_read_stays_with_the_provider(
    world: Scene, raw: RawUpstream
) -> None:
    """Only buffers of a socket's size lie between, however much the provider has to say."""
    steps = _endless(WORDS, 96)
    raw.play = lambda request: steps
    account = await world.account(usd=1000)
    call = await _slow_reader(world, account, "patient/x")
    seen = [-1] * 15

    def stuck() -> bool:
        seen.append(steps.taken)
        return len(set(seen[-15:])) == 1

    await reached(stuck)
    for _ in range(20):
        await call._reader.readexactly(1)
    sent = steps.taken * len(WORDS)
    assert sent < 24 * MB, f"{sent / MB:.0f} MB were taken from the provider for nobody"
    call.leave()
    row = await world.one(account)
    # What the provider still had to say may be read to its end, which here is none.
    assert row["outcome"] in ("left", "cut") and row["charge_nanos"] > 0


@pytest.mark.tuned(left_grace_s=0.05)
async def test_F27_who_does_not_read_within_the_idle_limit_has_left(
    world: Scene, raw: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The charge is stored then, and not when the deadline comes."""
    monkeypatch.setattr("gatewayz.inference.relay.LAST_WRITE_S", 0.2)
    raw.play = lambda request: _endless(WORDS, 32)
    account = await world.account(usd=1000)
    call = await _slow_reader(world, account, "impatient/x")
    row = await world.one(account)
    assert row["outcome"] == "left" and row["charge_nanos"] > 0
    assert not world.holds(account)
    call.leave()


# ------------------------------------------------------------------ F28


async def _invoke(world: Scene, account: Account, body: dict[str, Any]) -> str:
    """One invocation of the function as its server makes it, without a client's costs."""
    raw = orjson.dumps(body)
    headers = [(b"authorization", b"Bearer " + account.key.encode())]
    headers.append((b"content-length", b"%d" % len(raw)))
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b""}
    incoming = [{"type": "http.request", "body": raw, "more_body": False}]
    sent: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return incoming.pop() if incoming else await asyncio.Event().wait()  # type: ignore[return-value]

    async def send(message: dict[str, Any]) -> None:
        sent.append(message.get("body", b""))

    await world.chat({**scope, "headers": headers}, receive, send)
    return b"".join(sent).decode()


async def test_F28_a_thousand_warm_requests_of_two_tenants(
    world: Scene, links: Links, stage: Stage
) -> None:
    """Nothing of one request is in the next: each says, costs and records only its own."""
    one, two = await world.account(), await world.account()
    words = {one.id: "amaranth", two.id: "bergamot"}
    for account in (one, two):
        assert (await world.post(account)).status_code == 200
    await world.quiet()
    opened = links.redis.connections + links.postgres.connections
    client = world.chat.gateway().http

    async def thousand() -> None:
        for turn in range(500):
            for account in (one, two) if turn % 2 else (two, one):
                message = {"role": "user", "content": words[account.id]}
                body = {"model": "sandbox/echo", "messages": [message], "stream": turn % 5 == 0}
                text = await _invoke(world, account, body)
                said = content_of(text) if body["stream"] else text
                assert words[account.id] in said
                assert not any(w in said for own, w in words.items() if own != account.id)

    running = asyncio.run_coroutine_threadsafe(thousand(), stage.loop)
    await asyncio.wrap_future(running)
    await world.quiet()
    assert world.chat.gateway().http is client
    assert links.redis.connections + links.postgres.connections <= opened + 4
    await world.settle()
    for account in (one, two):
        rows = await world.sql(
            "select key_id, outcome, charge_nanos, count(*) from ledger.requests where account = $1"
            " and request_id > (select min(request_id) from ledger.requests where account = $1)"
            " group by 1, 2, 3",
            account.id,
        )
        assert len(rows) == 1, "the same request costs the same, whoever was served before"
        assert (rows[0]["key_id"], rows[0]["count"]) == (account.key_id, 500)
    assert "loop is closed" not in world.logs.getvalue()


# ------------------------------------------------------------------ F29, F35


async def test_F29_an_answer_is_never_buffered_without_a_limit(
    world: Scene, raw: RawUpstream
) -> None:
    """Cut at the cap while it comes: the upstream gets rid of little more than that."""
    block = chunk(b"x" * 65536)
    steps = Counted([_head(b"transfer-encoding: chunked"), *[block] * (256 * MB // len(block))])
    raw.play = lambda request: steps
    account, status, text = await ask(world, "raw/x", stream=False)
    assert (status, orjson.loads(text)["error"]["code"]) == (502, "upstream_invalid_response")
    assert steps.taken * len(block) < world.settings.http.max_answer_bytes + 24 * MB
    row = await world.one(account)
    assert (row["outcome"], row["charge_nanos"]) == ("failed", 0)
    assert [attempt["error"] for attempt in row["attempts"]] == ["UpstreamBroken"]


def _head(*headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"content-type: application/json", *headers, b"", b""])


async def test_F35_a_line_without_an_end_is_cut(world: Scene, raw: RawUpstream) -> None:
    line = Counted([event_stream(), b"data: ", *[b"x" * 65536] * 1600])
    raw.play = lambda request: line
    account, status, text = await ask(world, "raw/x", stream=True)
    assert (status, orjson.loads(text)["error"]["code"]) == (502, "upstream_invalid_response")
    assert line.taken < 800, "half of it was read"
    assert (await world.one(account))["charge_nanos"] == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_F35_a_bomb_is_not_inflated(world: Scene, raw: RawUpstream, stream: bool) -> None:
    body = b"data: " + b"0" * (400 * MB // 4) if stream else b" " * (400 * MB // 4)
    bomb = gzip.compress(body, 1)
    assert len(bomb) < MB
    kind = b"text/event-stream" if stream else b"application/json"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: " + kind + b"\r\ncontent-encoding: gzip\r\n"
    raw.play = lambda request: [head + b"content-length: %d\r\n\r\n" % len(bomb), bomb]
    account, status, _ = await ask(world, "raw-or-spare/d0", stream=stream, provider=ORDERED)
    assert status == 200, "the next offer answers"
    row = await world.one(account)
    assert (row["provider"], row["outcome"]) == ("spare", "completed")
    assert [attempt["error"] for attempt in row["attempts"]] == ["UpstreamBroken", None]


async def test_F35_after_content_it_is_a_cut(world: Scene, raw: RawUpstream) -> None:
    good = sse(events=[delta("Hello "), delta("there")], done=False)
    raw.play = lambda request: [event_stream(), good, b"data: ", *[b"x" * 65536] * 800, Act.CUT]
    account, status, text = await ask(world, "raw/x", stream=True)
    assert status == 200 and error_of(text) is not None and content_of(text) == "Hello there"
    row = await world.one(account)
    assert row["outcome"] == "cut" and row["charge_nanos"] > 0
