"""A durable queue: at least once, any order. The port, and the queue that lives in Postgres.

A send that returns has been stored; one that raises may have been. Sending a message twice may
store it twice: handling is idempotent by an id in the body.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gatewayz.core.errors import GatewayError
from gatewayz.stores.group_commit import GroupCommit
from gatewayz.stores.postgres import Postgres

MAX_BATCH = 200
MAX_RECEIVES = 5
WORKER_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Received:
    """`id` is what `acknowledge` takes; `receives` counts deliveries, this one included."""

    id: str
    body: dict[str, Any]
    receives: int


@dataclass(frozen=True, slots=True)
class Depth:
    """What waits, what is being worked on, what is dead; age of the oldest waiting message, None
    where the queue itself does not tell."""

    waiting: int
    inflight: int
    dead: int
    oldest_ms: int | None


class Queue(Protocol):
    # Whether the database sees what waits here, so that its look-ups find it.
    in_ledger: bool

    async def send(self, queue: str, message_id: str, body: dict[str, Any]) -> None: ...
    async def receive(self, queue: str, limit: int, *, visible_s: float) -> list[Received]: ...
    async def acknowledge(self, queue: str, ids: list[str]) -> None: ...
    async def depth(self, queue: str) -> Depth: ...


class PostgresQueue:
    """A table read with SKIP LOCKED; for Vercel, self-hosted and local."""

    in_ledger = True

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._commits: GroupCommit[dict[str, Any]] = GroupCommit(
            self._write, max_messages=MAX_BATCH
        )

    async def send(self, queue: str, message_id: str, body: dict[str, Any]) -> None:
        await self._commits.add(queue, {"id": message_id, "body": body})

    async def _write(
        self, queue: str, batch: Sequence[dict[str, Any]]
    ) -> Mapping[int, GatewayError]:
        await self._postgres.rpc("send_messages", {"queue": queue, "messages": list(batch)})
        return {}

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
