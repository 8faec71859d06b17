"""One run: two data-plane processes, a worker, a sweeper, an operator, and twenty callers."""

import asyncio
import contextlib
import importlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import asyncpg
import orjson
import redis.asyncio

from gatewayz.accounts.keys import generate_key, hash_key
from gatewayz.billing.credits import Credits
from gatewayz.billing.sweep import Sweeper
from gatewayz.catalog.load import load_catalog
from gatewayz.catalog.model import Catalog, Entry
from gatewayz.core import clock, ids
from gatewayz.core.errors import GatewayError
from gatewayz.core.settings import Settings
from gatewayz.inference import gateway as gateway_module
from gatewayz.providers.config import TimeLimits
from gatewayz.stores.direct_postgres import DirectPostgres
from gatewayz.stores.open import Stores
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.queue import Queue
from gatewayz.stores.redis import RespRedis
from gatewayz.stores.secrets import Secrets
from gatewayz.telemetry.passing import Passing
from tests.simulation.audit import Auditor, Caller, Evidence, Verdict, judge
from tests.simulation.budgets import judge_budgets, set_budgets
from tests.simulation.payments import Payments
from tests.simulation.ports import (
    SimulatedPostgres,
    SimulatedQueue,
    SimulatedRedis,
    TimedPostgres,
)
from tests.simulation.upstream import Script, ScriptedClient
from tests.simulation.world import CALM, Process, SimulationFailed, Step, VirtualClock, VirtualLoop
from tests.simulation.world import World as _World

MODEL = "sandbox/echo"
ACCOUNTS = ["acct_a", "acct_b"]
CALLERS = 20
DEADLINE_S, GRACE_S, SWEEP_S, IDLE_MS = 60.0, 20, 20.0, 45_000
PRICES = [(500_000_000, 1_500_000_000), (700_000_000, 2_100_000_000), (90_000_001, 333_333_333)]
ENDPOINT = "/v1/chat/completions"


class Scene:
    def __init__(self, world: _World, settings: Settings) -> None:
        self.world = world
        http = replace(settings.http, deadline_s=DEADLINE_S, status_hold_s=5.0, keepalive_s=5.0)
        credit = replace(
            settings.credit, lease_ttl_s=100, hold_grace_s=GRACE_S, checkpoint_s=2.0,
            checkpoint_chunks=4,
        )  # fmt: skip
        catalog = replace(settings.catalog, sandbox_url="http://127.0.0.1:1/v1")
        self.settings = replace(settings, http=http, credit=credit, catalog=catalog)
        self.providers, self._catalog = load_catalog(self.settings.catalog)
        limits = TimeLimits(first_token_s=20.0, idle_s=25.0)
        sandbox = replace(
            self.providers["sandbox"], timeouts=limits,
            cancel_stops_billing=world.random.random() < 0.5,
        )  # fmt: skip
        self.providers = {**self.providers, "sandbox": sandbox}
        self.evidence = Evidence()
        self.callers: list[Caller] = []
        self.keys: dict[str, str] = {}
        self.revoked: set[str] = set()
        self.prices = PRICES[0]
        self.ending = False
        self.payments = Payments(world, ACCOUNTS, world.seed)
        self._worker = importlib.import_module("functions.settle_charges.worker")
        self._worker.passing = Passing()  # what it knows of accounts is of this run alone
        self._apps: dict[str, tuple[Process, Any]] = {}
        self._running: list[asyncio.Task[Any]] = []

    async def open(self) -> None:
        stores = self.settings.stores
        self.postgres: DirectPostgres = TimedPostgres(
            stores.database_url, timeout_s=60.0, pooled=False
        )
        self.redis = RespRedis(stores.redis_url, timeout_s=60.0)
        self._connection = await asyncpg.connect(stores.database_url)
        self._client = redis.asyncio.Redis.from_url(stores.redis_url, decode_responses=True)
        self.auditor = Auditor(self._connection, self._client)
        await self.postgres.rpc("prepare_partitions", {})
        chance = self.world.random
        for account in ACCOUNTS:
            rpc = self.postgres.rpc
            await rpc("open_account", {"account": account, "name": account, "stage": "test"})
            await self.grant(self.postgres, account, chance.choice([9, 30, 60, 200, 1000]))
            await self.new_key(self.postgres, account)
        await set_budgets(self.world, self.postgres, self.redis, self.keys, ACCOUNTS)
        await self.payments.open(self.postgres, self._connection)
        self.world.on_step = self._after
        self.world.on_kill = self._replace
        self.world.flush = self._flush

    async def close(self) -> None:
        self.world.on_kill = None
        for process in [process for process, _ in self._apps.values()]:
            self.world.kill(process)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._client.aclose()
        await self._connection.close()
        await self.redis.close()
        await self.postgres.close()

    # ------------------------------------------------------------ what the world is made of

    def stores(self, process: Process) -> Stores:
        postgres = SimulatedPostgres(self.world, process, self.postgres, self.evidence)
        scripts = SimulatedRedis(self.world, process, self.redis, self.evidence)
        queue = cast(Queue, SimulatedQueue(self.world, postgres))
        return Stores(postgres, scripts, queue, Secrets())

    def data_plane(self, name: str) -> tuple[Process, Any]:
        """The process of that name, started anew after each death."""
        known = self._apps.get(name)
        if known is not None and not known[0].dead:
            return known
        process = Process(name)
        chat = importlib.import_module("functions.chat.app").ChatApp(self.settings)
        catalog = self.catalog()
        gateway = gateway_module.Gateway(
            self.settings, self.stores(process), catalog, self.providers
        )
        gateway.client = cast(Any, ScriptedClient(self.world, process, self.callers))
        chat._gateway = gateway
        self._apps[name] = (process, chat)
        return self._apps[name]

    def catalog(self) -> Catalog:
        """The one model at today's price."""
        model = self._catalog.find(MODEL)
        assert model is not None
        (offer,) = self._catalog.offers(MODEL)
        assert offer.price is not None
        nanos = dict(offer.price.nanos_per_million) | dict(
            zip(("input", "output"), self.prices, strict=True)
        )
        price = replace(offer.price, version=version(self.prices), nanos_per_million=nanos)
        entry = Entry(model, (replace(offer, price=price),))
        return Catalog([entry], aliases={}, ready=frozenset({"sandbox"}))

    async def grant(self, postgres: Postgres, account: str, millis: int) -> None:
        params = {"op_id": ids.new_id("g_"), "account": account, "amount_nanos": millis * 10**6}
        await postgres.rpc("grant_credit", params | {"reason": "simulation"})

    async def new_key(self, postgres: Postgres, account: str) -> None:
        key = generate_key("test")
        digest = hash_key(key.text.encode(), self.settings.keys.pepper.encode()).hex()
        key_id = ids.new_id("key_")
        params = {"key_id": key_id, "account": account, "name": "k", "hash": digest}
        await postgres.rpc("create_key", params | {"prefix": key.prefix})
        await postgres.rpc(
            "change_key",
            {"account": account, "key_id": key_id, "actor": "sim", "set": {"team": "red"}},
        )
        self.keys[account], self.keys[key.text] = key.text, key_id

    async def _after(self, step: Step) -> None:
        await self.auditor.after(step, ACCOUNTS)

    async def _flush(self) -> None:
        await self._client.flushall()
        self.evidence.flushed()

    def _replace(self, process: Process) -> None:
        if process.name in self._apps:
            self.data_plane(process.name)

    # ------------------------------------------------------------ who acts in it

    async def repeat(self, name: str, period_s: float, work: Any) -> None:
        """`work(stores)` again and again in a process that may die and comes again."""
        process = Process(name)
        while not self.ending:
            if process.dead:
                process = Process(name)
            task = process.start(_quietly(work(self.stores(process))))
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
            await asyncio.sleep(period_s * self.world.random.uniform(0.5, 1.5))

    async def settle(self, stores: Stores) -> None:
        await self._worker.worker.step(stores)

    async def sweep(self, stores: Stores) -> None:
        await Sweeper(stores.postgres, stores.redis).sweep(idle_ms=IDLE_MS)

    async def operate(self, stores: Stores) -> None:
        """Change a price, add credit, or replace a key."""
        chance = self.world.random
        account = chance.choice(ACCOUNTS)
        match chance.randrange(4):
            case 0:
                self.prices = chance.choice(PRICES)
                for _, chat in self._apps.values():
                    chat._gateway.catalog = self.catalog()
                    chat._gateway.resolver.grown(chat._gateway.catalog)
                for caller in self.callers:
                    if caller.offered and not caller.reached_upstream:
                        caller.offered[version(self.prices)] = self.prices
            case 1:
                await self.grant(stores.postgres, account, chance.choice([1, 20]))
            case 2:
                key = self.keys[account]
                await self.new_key(stores.postgres, account)
                row = await stores.postgres.rpc(
                    "revoke_key", {"account": account, "key_id": self.keys[key]}
                )
                credits = Credits(stores.postgres, stores.redis, lease_ttl_s=200)
                await credits.push_epoch(account, row["epoch"])
                self.revoked.add(key)

    async def call(self, caller: Caller) -> None:
        await asyncio.sleep(caller.at_s)
        if self.world.random.random() < 0.9:
            caller.key = self.keys[caller.account]
        name = self.world.random.choice(["chat1", "chat2"])
        caller.process, chat = self.data_plane(name)
        caller.prices = self.prices
        caller.offered[version(self.prices)] = self.prices
        caller.revoked_before = caller.key in self.revoked
        await asyncio.wait([caller.process.start(self._request(caller, chat))])

    async def _request(self, caller: Caller, chat: Any) -> None:
        content: dict[str, Any] = {"model": MODEL, "stream": caller.stream}
        content["messages"] = [{"role": "user", "content": f"script {caller.number}"}]
        if caller.max_tokens is not None:
            content["max_tokens"] = caller.max_tokens
        raw = orjson.dumps(content)
        read = importlib.import_module("functions.chat.app")
        caller.prompt_tokens = read.read_call(read.CHAT, None, raw).prompt_tokens
        headers = [
            (b"authorization", b"Bearer " + caller.key.encode()),
            (b"x-request-id", caller.label.encode()),
            (b"content-length", str(len(raw)).encode()),
        ]
        scope = {"type": "http", "method": "POST", "path": ENDPOINT, "query_string": b""}
        incoming = [{"type": "http.request", "body": raw, "more_body": False}]
        left = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if incoming:
                return incoming.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            async def arrive() -> None:
                if message["type"] == "http.response.start":
                    caller.status = message["status"]
                elif not left.is_set():
                    caller.body += message["body"]
                    caller.ended = not message["more_body"]
                if caller.leaves_after is not None and len(caller.body) > caller.leaves_after:
                    left.set()

            await self.world.pass_through(caller.process, "caller", "receive", arrive)

        await chat({**scope, "headers": headers}, receive, send)

    def draw_callers(self) -> None:
        chance = self.world.random
        for number in range(CALLERS):
            account = chance.choice(ACCOUNTS)
            caller = Caller(
                number, account, self.keys[account], chance.random() < 0.7,
                Script.draw(chance), chance.uniform(0, 60) * chance.choice([0.05, 1]),
                max_tokens=chance.choice([None, None, 40, 2000]),
                leaves_after=chance.choice([None, None, None, 0, 900]),
            )  # fmt: skip
            self.callers.append(caller)

    async def play(self) -> Verdict:
        """Everything from the first call to the last sweep."""
        world = self.world
        self.draw_callers()
        calls = [asyncio.create_task(self.call(caller)) for caller in self.callers]
        acts: list[tuple[str, float, Callable[[Stores], Awaitable[None]]]] = [
            ("worker", world.random.choice([2.0, 2.0, 90.0]), self.settle),
            ("sweeper", SWEEP_S, self.sweep),
            ("operator", 15.0, self.operate),
            ("payments", 8.0, self.payments.act),
        ]
        loops = [asyncio.create_task(self.repeat(*act)) for act in acts]
        self._running = [*calls, *loops]
        await world.run_until(lambda: all(call.done() for call in calls))
        for task in calls:
            task.result()
        world.chances, self.ending = CALM, True
        await world.run_until(lambda: all(loop.done() for loop in loops))
        for task in loops:
            task.result()
        return await self._end()

    async def _end(self) -> Verdict:
        """The faults are over: what is left must heal by itself, and in time."""
        world = self.world
        chief = Process("chief")
        stores = self.stores(chief)
        await self.postgres.rpc("redrive", {"queue": "charges"})
        await self.payments.end(self.postgres, self._connection)
        for _ in range(3):
            await world.pass_time(70)
            await world.wait(chief.start(self.settle(stores)))
        await world.wait(chief.start(self.sweep(stores)))
        # L1: deadline, grace and a sweep are over.
        if held := await self.auditor.holds(ACCOUNTS):
            raise SimulationFailed(f"{held} holds outlive their deadline (L1)")
        if private := [row for row in await self.auditor.leases() if row["private"]]:
            raise SimulationFailed(f"private leases outlive their deadline (L1): {private}")
        await world.pass_time(1800)
        await world.wait(chief.start(self.sweep(stores)))
        await world.wait(chief.start(self.settle(stores)))
        depth = await self.postgres.rpc("queue_depth", {"queue": "charges"})
        if depth["waiting"] or depth["inflight"] or depth["dead"]:
            raise SimulationFailed(f"charges are stuck (L3, L4): {depth}")
        for book, balance in await self.auditor.books():
            if book.startswith("held") and balance:
                raise SimulationFailed(f"{book} holds {balance} after half an hour (L2)")
            if book.startswith("wallet") and balance < 0 and not self.payments.took_back:
                raise SimulationFailed(f"{book} is {balance}")
        verdict = judge(self.callers, await self.auditor.rows(), self.evidence)
        verdict.budgets = await judge_budgets(world, self._connection)
        return verdict


def version(prices: tuple[int, int]) -> str:
    return f"v{prices[0]}"


async def _quietly(work: Awaitable[None]) -> None:
    """A run that fails is tried again at its next time."""
    with contextlib.suppress(GatewayError):
        await work


class _Lines(logging.Handler):
    """Messages that only an ERROR line has; crashes, which nothing here may cause."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__(logging.WARNING)
        self._evidence = evidence
        self.crashes: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        fields = getattr(record, "fields", {})
        if record.msg == "charge_unsent":
            self._evidence.in_log.add(orjson.loads(fields["evidence"])["request_id"])
        elif record.levelno >= logging.ERROR and record.exc_info:
            self.crashes.append(f"{record.msg}: {record.exc_info[1]!r}")


@contextlib.contextmanager
def _ruled_by(world: _World, scene: Scene) -> Iterator[_Lines]:
    """Clock, chance and log lines belong to the world."""
    before = clock.use(VirtualClock(world.loop))
    system, http = ids.os, gateway_module.HttpClient
    ids.os = _Chance(world.random)
    gateway_module.HttpClient = lambda: None
    lines = _Lines(scene.evidence)
    logger = logging.getLogger("gatewayz")
    logger.addHandler(lines)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield lines
    finally:
        logger.propagate = propagate
        logger.removeHandler(lines)
        ids.os, gateway_module.HttpClient = system, http
        clock.use(before)


class _Chance:
    """Of `os`, what ids are made of."""

    def __init__(self, chance: random.Random) -> None:
        self.urandom = chance.randbytes


def simulate(seed: int, settings: Settings) -> tuple[Verdict, _World]:
    """Run one seed from an empty ledger; SimulationFailed says what is wrong."""
    loop = VirtualLoop()
    world = _World(seed, loop)

    async def main() -> Verdict:
        scene = Scene(world, settings)
        with _ruled_by(world, scene) as lines:
            await scene.open()
            try:
                verdict = await scene.play()
            finally:
                await scene.close()
            if lines.crashes:
                raise SimulationFailed(f"crashed: {lines.crashes}")
            return verdict

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main()), world
