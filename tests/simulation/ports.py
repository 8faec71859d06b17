"""The real stores behind the world's hand: each call is a step, in the world's time."""

from collections.abc import Sequence
from typing import Any

import orjson

from gatewayz.billing.slot import ADMIT
from gatewayz.core import clock
from gatewayz.stores.direct_postgres import DirectPostgres
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.queue import PostgresQueue, Received
from gatewayz.stores.redis import RespRedis
from tests.simulation.world import Process, World


class TimedPostgres(DirectPostgres):
    """`ledger.now()` is the world's time in every call."""

    async def _use(self, connection: Any, statement: str, argument: str) -> Any:
        moment = f"{clock.now_ms() / 1000:.3f}"
        await connection.fetchval(
            "select set_config('gatewayz.now', to_timestamp($1::text::float8)::text, false)", moment
        )
        return await super()._use(connection, statement, argument)


class SimulatedPostgres:
    def __init__(self, world: World, process: Process, real: DirectPostgres, seen: Any) -> None:
        self._world, self._process, self._real, self._seen = world, process, real, seen

    async def rpc(
        self, name: str, params: dict[str, Any], *, timeout_s: float | None = None
    ) -> Any:
        sent = orjson.loads(orjson.dumps(params))

        async def work() -> Any:
            answer = await self._real.rpc(name, sent)
            self._seen.rpc(name, sent, answer)
            return answer

        return await self._world.pass_through(self._process, "postgres", name, work)

    async def close(self) -> None: ...


class SimulatedRedis:
    """The admission script takes the world's time as its second argument (D14)."""

    def __init__(self, world: World, process: Process, real: RespRedis, seen: Any) -> None:
        self._world, self._process, self._real, self._seen = world, process, real, seen

    async def script(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        async def work() -> Any:
            given = list(args)
            if name == ADMIT:
                given[1] = clock.now_ms()
            answer = await self._real.script(name, keys, given)
            if name == ADMIT:
                self._seen.script(given, answer)
            return answer

        label = f"{name} {args[0]}"
        return await self._world.pass_through(self._process, "redis", label, work)

    async def close(self) -> None: ...


class SimulatedQueue(PostgresQueue):
    """At least once and in no order: messages come again, together, and some much later."""

    def __init__(self, world: World, postgres: Postgres) -> None:
        super().__init__(postgres)
        self._world = world
        self._known: list[Received] = []

    async def receive(self, queue: str, limit: int, *, visible_s: float) -> list[Received]:
        messages = await super().receive(queue, limit, visible_s=visible_s)
        self._known += messages
        chance = self._world.random
        if self._world.kind != "calm":
            again = [m for m in messages if chance.random() < 0.1]
            again += [m for m in self._known if chance.random() < 0.02]
            messages = [*messages, *again]
            chance.shuffle(messages)
        return messages
