"""Asks a provider what an exchange is: one call, or several side by side that are one answer.

Guarantees that no call of a request is left running when another has failed or the caller has
gone, and that at most AT_ONCE of them are open.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from gatewayz.core.errors import UpstreamBroken, UpstreamError, first_of
from gatewayz.dialects.exchange import Delivered, Exchange
from gatewayz.dialects.fan_out import Piece, Several
from gatewayz.net.http import HttpStream
from gatewayz.providers.client import ProviderClient
from gatewayz.providers.provider import Provider

AT_ONCE = 8
QUEUED_BLOCKS = 16
# All answers of a request together may be as large as so many of the largest.
MAX_SHARES = 4


class Upstream(Protocol):
    """A stream that is being read: one, or several as one."""

    async def read(self) -> bytes: ...
    async def aclose(self) -> None: ...


async def ask(
    client: ProviderClient,
    provider: Provider,
    exchange: Exchange,
    *,
    timeout_s: float,
    max_bytes: int,
) -> Delivered:
    """The whole answer; an UpstreamError when a call failed."""
    if not isinstance(exchange, Several):
        raw = await client.send(provider, exchange, timeout_s=timeout_s, max_bytes=max_bytes)
        return exchange.read_answer(raw)
    branches = exchange.branches
    turns = asyncio.Semaphore(AT_ONCE)
    left_bytes = MAX_SHARES * max_bytes

    async def one(branch: Exchange) -> Delivered:
        nonlocal left_bytes
        async with turns:
            raw = await client.send(provider, branch, timeout_s=timeout_s, max_bytes=max_bytes)
        left_bytes -= len(raw)
        if left_bytes < 0:
            raise UpstreamBroken("The provider's answers are too large.", provider=provider.slug)
        return branch.read_answer(raw)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(branch)) for branch in branches]
    except BaseExceptionGroup as errors:
        raise first_of(errors) from None
    joined: Delivered = exchange.join([task.result() for task in tasks])
    return joined


async def open_upstream(
    client: ProviderClient,
    provider: Provider,
    exchange: Exchange,
    *,
    timeout_s: float,
    total_s: float,
) -> Upstream:
    """The stream of the answer, opened; an UpstreamError when it cannot be."""
    if not isinstance(exchange, Several):
        stream: HttpStream = await client.open(
            provider, exchange, timeout_s=timeout_s, total_s=total_s
        )
        return stream
    branches = exchange.branches

    def opening(branch: int) -> Awaitable[HttpStream]:
        return client.open(provider, branches[branch], timeout_s=timeout_s, total_s=total_s)

    merged = Merged(opening, len(branches))
    await merged.begin()
    return merged


class Merged:
    """Several streams read as one: their blocks as Pieces as they come, b"" when all are over."""

    def __init__(self, opening: Callable[[int], Awaitable[HttpStream]], branches: int) -> None:
        self._opening = opening
        self._waiting = iter(range(min(AT_ONCE, branches), branches))
        self._left = branches
        self._blocks: asyncio.Queue[Piece | Exception] = asyncio.Queue(QUEUED_BLOCKS)
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Open the first ones: what fails now can still be tried elsewhere."""
        opened: dict[int, HttpStream] = {}

        async def open_one(branch: int) -> None:
            opened[branch] = await self._opening(branch)

        try:
            async with asyncio.TaskGroup() as group:
                for branch in range(min(AT_ONCE, self._left)):
                    group.create_task(open_one(branch))
        except BaseException as errors:
            for stream in opened.values():
                await stream.aclose()
            if isinstance(errors, BaseExceptionGroup):
                raise first_of(errors) from None
            raise
        self._tasks = [
            asyncio.create_task(self._pump(branch, stream)) for branch, stream in opened.items()
        ]

    async def _pump(self, branch: int, stream: HttpStream) -> None:
        """Read a stream to its end, then the next one that waits."""
        try:
            while True:
                await self._drain(branch, stream)
                branch = next(self._waiting, -1)
                if branch < 0:
                    return
                stream = await self._opening(branch)
        except UpstreamError as error:
            await self._blocks.put(Piece.of(branch, b"", error))
        except Exception as error:
            await self._blocks.put(error)

    async def _drain(self, branch: int, stream: HttpStream) -> None:
        try:
            while True:
                block = await stream.read()
                await self._blocks.put(Piece.of(branch, block))
                if not block:
                    return
        finally:
            await stream.aclose()

    async def read(self) -> bytes:
        """The next block of any of them. NetError as a single stream's."""
        if not self._left:
            return b""
        block = await self._blocks.get()
        if isinstance(block, Exception):
            raise block
        if not len(block):
            self._left -= 1
        return block

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
