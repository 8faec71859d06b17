"""A durable queue: at least once, any order, messages keyed by their own id.

Owns group commit (D11): a message that arrives while a write is in flight joins the next one.
A send that returns has been stored; one that raises may have been.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

from gatewayz.core.errors import GatewayError, StoreTimeout
from gatewayz.stores.postgres import Postgres

MAX_BATCH = 200
MAX_WRITES = 4
MAX_RECEIVES = 5
WORKER_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Received:
    """`receives` counts deliveries, this one included."""

    id: str
    body: dict[str, Any]
    receives: int


@dataclass(frozen=True, slots=True)
class Depth:
    """What waits, what is being worked on, what is dead; age of the oldest waiting message."""

    waiting: int
    inflight: int
    dead: int
    oldest_ms: int


class Queue(Protocol):
    async def send(self, queue: str, message_id: str, body: dict[str, Any]) -> None: ...
    async def receive(self, queue: str, limit: int, *, visible_s: float) -> list[Received]: ...
    async def acknowledge(self, queue: str, ids: list[str]) -> None: ...
    async def depth(self, queue: str) -> Depth: ...


Waiting = tuple[str, dict[str, Any], "asyncio.Future[None]"]


class PostgresQueue:
    """A table read with SKIP LOCKED; for Vercel, self-hosted and local."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._waiting: dict[str, list[Waiting]] = {}
        self._writes: set[asyncio.Task[None]] = set()

    async def send(self, queue: str, message_id: str, body: dict[str, Any]) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(queue, [])
        waiting.append((message_id, body, future))
        full = len(waiting) >= MAX_BATCH and len(self._writes) < MAX_WRITES
        if not self._writes or full:
            self._start(queue)
        await future

    def _start(self, queue: str) -> None:
        write = asyncio.create_task(self._write(queue))
        self._writes.add(write)
        write.add_done_callback(self._written)

    def _written(self, write: "asyncio.Task[None]") -> None:
        self._writes.discard(write)
        for queue, waiting in self._waiting.items():
            if waiting and len(self._writes) < MAX_WRITES:
                self._start(queue)

    async def _write(self, queue: str) -> None:
        waiting = self._waiting[queue]
        batch, self._waiting[queue] = waiting[:MAX_BATCH], waiting[MAX_BATCH:]
        if not batch:
            return
        messages = [{"id": message_id, "body": body} for message_id, body, _ in batch]
        try:
            await self._postgres.rpc("send_messages", {"queue": queue, "messages": messages})
        except GatewayError as error:
            _resolve(batch, error)
        except asyncio.CancelledError:
            _resolve(batch, StoreTimeout("The process stopped during the write."))
            raise
        else:
            _resolve(batch, None)

    async def receive(self, queue: str, limit: int, *, visible_s: float) -> list[Received]:
        rows = await self._postgres.rpc(
            "receive_messages",
            {
                "queue": queue,
                "limit": limit,
                "visible_ms": round(visible_s * 1000),
                "max_receives": MAX_RECEIVES,
            },
            timeout_s=WORKER_TIMEOUT_S,
        )
        return [Received(row["id"], row["body"], row["receives"]) for row in rows]

    async def acknowledge(self, queue: str, ids: list[str]) -> None:
        await self._postgres.rpc(
            "delete_messages", {"queue": queue, "ids": ids}, timeout_s=WORKER_TIMEOUT_S
        )

    async def depth(self, queue: str) -> Depth:
        row = await self._postgres.rpc("queue_depth", {"queue": queue})
        return Depth(row["waiting"], row["inflight"], row["dead"], row["oldest_ms"])


def _resolve(batch: list[Waiting], error: Exception | None) -> None:
    for _, _, future in batch:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
