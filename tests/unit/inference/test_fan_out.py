"""Several calls of one request: side by side but not all at once, none left behind."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from gatewayz.core.errors import UpstreamBroken, UpstreamThrottled
from gatewayz.dialects.fan_out import Piece, Several
from gatewayz.inference.fan_out import AT_ONCE, MAX_SHARES, Merged, ask
from gatewayz.net.http import ConnectionBroken
from gatewayz.providers.config import load_providers

PROVIDER: Any = load_providers()["openai"]


@dataclass
class Stream:
    """Blocks, then b"" or an error."""

    blocks: list[Any]
    closed: bool = False

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        block: Any = self.blocks.pop(0) if self.blocks else b""
        if isinstance(block, Exception):
            raise block
        return block  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        self.closed = True


@dataclass
class Opened:
    """What was opened, and how many at once."""

    plans: list[list[Any]]
    refusals: dict[int, Exception] = field(default_factory=dict)
    streams: list[Stream] = field(default_factory=list)
    most: int = 0

    async def __call__(self, branch: int) -> Any:
        await asyncio.sleep(0)
        if branch in self.refusals:
            raise self.refusals[branch]
        stream = Stream(list(self.plans[branch]))
        self.streams.append(stream)
        self.most = max(self.most, sum(not each.closed for each in self.streams))
        return stream


async def read_all(merged: Merged) -> list[Piece]:
    pieces = []
    while block := await merged.read():
        assert isinstance(block, Piece)
        pieces.append(block)
    return pieces


async def test_all_streams_are_read_to_their_end_and_few_at_once() -> None:
    opened = Opened([[b"a%d" % n, b"b%d" % n] for n in range(3 * AT_ONCE)])
    merged = Merged(opened, len(opened.plans))
    await merged.begin()
    pieces = await read_all(merged)
    for branch in range(3 * AT_ONCE):
        mine = [bytes(piece) for piece in pieces if piece.branch == branch]
        assert mine == [b"a%d" % branch, b"b%d" % branch, b""]
    assert opened.most <= AT_ONCE
    assert all(stream.closed for stream in opened.streams)
    assert await merged.read() == b""
    await merged.aclose()


async def test_one_that_cannot_be_opened_at_first_closes_the_others() -> None:
    refusal = UpstreamThrottled("Slow down.", provider="x")
    opened = Opened([[b"a"]] * 3, {1: refusal})
    with pytest.raises(UpstreamThrottled):
        await Merged(opened, 3).begin()
    assert all(stream.closed for stream in opened.streams)


async def test_one_that_cannot_be_opened_later_is_told_in_the_stream() -> None:
    refusal = UpstreamThrottled("Slow down.", provider="x")
    opened = Opened([[b"a"]] * (AT_ONCE + 1), {AT_ONCE: refusal})
    merged = Merged(opened, AT_ONCE + 1)
    await merged.begin()
    pieces = await read_all(merged)
    assert [piece.failure for piece in pieces if piece.failure] == [refusal]


async def test_a_broken_one_breaks_the_read_and_leaving_closes_all() -> None:
    opened = Opened([[b"a"] * 1000, [ConnectionBroken("cut")]])
    merged = Merged(opened, 2)
    await merged.begin()
    with pytest.raises(ConnectionBroken):
        await read_all(merged)
    await merged.aclose()
    assert all(stream.closed for stream in opened.streams)


# ---------------------------------------------------------------- whole answers


@dataclass
class Call:
    answer: Any

    def read_answer(self, raw: bytes) -> Any:
        return raw.decode()


class Calls(Several):
    def __init__(self, *answers: Any) -> None:
        self._calls = [Call(answer) for answer in answers]

    @property
    def branches(self) -> Any:
        return self._calls

    def join(self, answers: Any) -> Any:
        return "".join(answers)


class Client:
    def __init__(self) -> None:
        self.running = self.most = self.cancelled = 0

    async def send(self, provider: Any, exchange: Any, *, timeout_s: float, max_bytes: int) -> Any:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            if exchange.answer is None:
                await asyncio.sleep(60)
            if isinstance(exchange.answer, Exception):
                raise exchange.answer
            return exchange.answer
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


async def asked(client: Any, calls: Any, max_bytes: int = 100) -> Any:
    return await ask(client, PROVIDER, calls, timeout_s=1, max_bytes=max_bytes)


async def test_answers_are_joined_in_order_and_few_are_asked_at_once() -> None:
    client = Client()
    texts = [b"%d," % number for number in range(30)]
    assert await asked(client, Calls(*texts)) == b"".join(texts).decode()
    assert client.most <= AT_ONCE


async def test_the_first_failure_stops_the_rest() -> None:
    client = Client()
    with pytest.raises(UpstreamThrottled):
        await asked(client, Calls(None, UpstreamThrottled("x", provider="x"), None))
    assert (client.running, client.cancelled) == (0, 2)


async def test_all_together_may_not_be_endless() -> None:
    with pytest.raises(UpstreamBroken):
        await asked(Client(), Calls(*[b"x" * 100] * (MAX_SHARES + 1)))
