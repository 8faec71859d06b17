"""Group commit without a timer (D11): what comes while a write is in flight joins the next one.

A message alone is written at once. A write that fails in part fails only its members.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from gatewayz.core.errors import GatewayError, StoreTimeout

T = TypeVar("T")

MAX_WRITES = 4
# Writes a batch; returns the errors of members that failed alone, by their position.
Write = Callable[[str, Sequence[T]], Awaitable[Mapping[int, GatewayError]]]
_Waiting = tuple[T, int, "asyncio.Future[None]"]


class GroupCommit(Generic[T]):
    """Batches of one queue of at most `max_messages` and, but for a single message that is
    larger, `max_bytes`; at most MAX_WRITES of them in flight."""

    def __init__(self, write: Write[T], *, max_messages: int, max_bytes: int | None = None) -> None:
        self._write = write
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._waiting: dict[str, list[_Waiting[T]]] = {}
        self._writes: set[asyncio.Task[None]] = set()

    async def add(self, queue: str, message: T, size_bytes: int = 0) -> None:
        """Returns when the message was written; raises what its write raised."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(queue, []).append((message, size_bytes, future))
        if not self._writes or self._has_full_batch(queue):
            self._start(queue)
        await future

    def _has_full_batch(self, queue: str) -> bool:
        room = len(self._writes) < MAX_WRITES
        return room and len(self._waiting[queue]) >= self._max_messages

    def _start(self, queue: str) -> None:
        # The task takes its batch when it runs: what is sent in this turn of the loop joins.
        # It writes for many requests: its log lines are not those of the one that started it.
        task = asyncio.create_task(self._run(queue), context=Context())
        self._writes.add(task)
        task.add_done_callback(self._written)

    def _written(self, task: "asyncio.Task[None]") -> None:
        self._writes.discard(task)
        for queue, waiting in self._waiting.items():
            if waiting and len(self._writes) < MAX_WRITES:
                self._start(queue)

    async def _run(self, queue: str) -> None:
        batch = self._take(queue)
        if not batch:
            return
        if self._has_full_batch(queue):
            self._start(queue)
        try:
            failed = await self._write(queue, [message for message, _, _ in batch])
        except GatewayError as error:
            failed = dict.fromkeys(range(len(batch)), error)
        except BaseException:
            _resolve(batch, _all_unknown(batch))
            raise
        _resolve(batch, failed)

    def _take(self, queue: str) -> list[_Waiting[T]]:
        waiting = self._waiting[queue]
        count = total_bytes = 0
        for _, size_bytes, _ in waiting[: self._max_messages]:
            total_bytes += size_bytes
            if count and self._max_bytes is not None and total_bytes > self._max_bytes:
                break
            count += 1
        batch, self._waiting[queue] = waiting[:count], waiting[count:]
        return batch


def _all_unknown(batch: list[_Waiting[T]]) -> Mapping[int, GatewayError]:
    return dict.fromkeys(range(len(batch)), StoreTimeout("The process stopped during the write."))


def _resolve(batch: list[_Waiting[T]], failed: Mapping[int, GatewayError]) -> None:
    for position, (_, _, future) in enumerate(batch):
        if future.done():  # its sender was cancelled
            continue
        if (error := failed.get(position)) is None:
            future.set_result(None)
        else:
            future.set_exception(error)
