"""A world that is decided by a seed: virtual time, one step at a time, faults at every await.

Everything of ours is real, down to SQL and Lua; only clocks, the network, chance and the order of
what happens belong to the world. Whoever waits for a store, the upstream or the caller is parked;
the world picks who goes on and how it fares. The same seed gives the same run.
"""

import asyncio
import contextvars
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from typing import Any

from gatewayz.core.errors import GatewayError, InternalError, StoreTimeout, StoreUnavailable

START_MS = 1_797_000_000_000
MAX_STEPS = 30_000
SPIN_TURNS = 200
TICKS_PER_S = 2**16
STORES = ("postgres", "redis")
OWNER: contextvars.ContextVar["Process | None"] = contextvars.ContextVar("owner", default=None)
Work = Callable[[], Awaitable[Any]]


class SimulationFailed(AssertionError):
    """The money does not add up, or something never ends."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time stands still until the world moves it; sockets work as ever."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        super().__init__()

    def time(self) -> float:
        return self.now_s

    def create_task(self, coro: Any, **options: Any) -> Any:
        task = super().create_task(coro, **options)
        if (owner := OWNER.get()) is not None:
            owner.tasks.append(task)
        return task

    def move_to(self, time_s: float) -> None:
        """In ticks that binary fractions have exactly: no rounding, so a limit is met at once."""
        self.now_s = max(self.now_s, math.ceil(time_s * TICKS_PER_S) / TICKS_PER_S)

    @property
    def idle(self) -> bool:
        """Nobody but the running task could do anything now."""
        return not self._ready and (self.next_s() or self.now_s + 1) > self.now_s  # type: ignore[attr-defined]

    def next_s(self) -> float | None:
        """When the next timer is due."""
        timers = self._scheduled  # type: ignore[attr-defined]
        return min((t.when() for t in timers if not t.cancelled()), default=None)


class VirtualClock:
    """What `core.clock` gives to all of our code."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return START_MS + round(self._loop.now_s * 1000)

    def monotonic_s(self) -> float:
        return self._loop.now_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(eq=False)
class Process:
    """A process of ours. Killed, nothing that it does has any effect, its cleanup included."""

    name: str
    dead: bool = False
    tasks: list["asyncio.Task[Any]"] = field(default_factory=list)

    def start(self, work: Any) -> "asyncio.Task[Any]":
        def start() -> "asyncio.Task[Any]":
            OWNER.set(self)
            return asyncio.get_running_loop().create_task(work)

        return contextvars.copy_context().run(start)


@dataclass(eq=False)
class Step:
    """Somebody of `process` waits for `place`; `work` is what happens there."""

    process: Process
    place: str
    label: str
    work: Work | None
    future: "asyncio.Future[Any]"


@dataclass(frozen=True)
class Chances:
    """Of one step each: what may go wrong there. `flush`, `outage` are of any step."""

    refuse: float = 0.0  # not applied, and known not to be
    lose: float = 0.0  # applied, the reply is lost
    hang: float = 0.0  # not applied, which nobody can know
    late: float = 0.0  # applied after the caller gave up
    twice: float = 0.0  # delivered two times
    kill: float = 0.0  # the process dies here: before or after it was applied
    flush: float = 0.0
    outage: float = 0.0

    def times(self, factor: int) -> "Chances":
        return Chances(**{each.name: getattr(self, each.name) * factor for each in fields(self)})


CALM = Chances()
CHANCES = {
    "calm": CALM,
    "ambiguous": Chances(refuse=0.02, lose=0.02, hang=0.02, late=0.02, twice=0.02),
    "crashes": Chances(kill=0.004, twice=0.01),
    "flushes": Chances(flush=0.006, lose=0.01),
    "outages": Chances(outage=0.006),
    "everything": Chances(0.01, 0.01, 0.01, 0.01, 0.01, kill=0.002, flush=0.002, outage=0.002),
}


class World:
    """Owns chance, time and the parked steps."""

    def __init__(self, seed: int, loop: VirtualLoop) -> None:
        self.seed = seed
        self.loop = loop
        self.random = random.Random(seed)
        self.kind = list(CHANCES)[seed % len(CHANCES)]
        self.chances = CHANCES[self.kind].times(self.random.choice([1, 1, 3, 6]))
        self.trace: list[str] = []
        self.kills = self.flushes = self.spins = 0
        self.on_step: Callable[[Step], Awaitable[None]] | None = None
        self.on_kill: Callable[[Process], None] | None = None
        self.flush: Work | None = None
        self._parked: list[Step] = []
        self._late: list[tuple[float, Work]] = []
        self._down_until_s = dict.fromkeys(STORES, 0.0)

    # ------------------------------------------------------------ for who lives in the world

    async def pass_through(
        self, process: Process, place: str, label: str, work: Work | None = None
    ) -> Any:
        """Wait until the world lets this step happen; what it gives."""
        if process.dead:
            raise asyncio.CancelledError
        step = Step(process, place, label, work, self.loop.create_future())
        self._parked.append(step)
        return await step.future

    def kill(self, process: Process) -> None:
        """As by SIGKILL: what was on the wire may still arrive, nothing else happens."""
        if process.dead:
            return
        process.dead = True
        self.kills += 1
        self.trace.append(f"{process.name} dies")
        for step in [s for s in self._parked if s.process is process]:
            self._parked.remove(step)
            if step.work is not None and self.random.random() < 0.5:
                self._late.append((self.loop.now_s, step.work))
        for task in process.tasks:
            task.cancel()
        process.tasks.clear()
        if self.on_kill is not None:
            self.on_kill(process)

    # ------------------------------------------------------------ the one who decides

    async def run_until(self, done: Callable[[], bool]) -> None:
        """Let things happen until `done`."""
        for _ in range(MAX_STEPS):
            await self._let_all_run()
            if done():
                return
            await self._disturb()
            steps = [step for step in self._parked if not step.future.done()]
            if steps and (self.random.random() < 0.9 or self.loop.next_s() is None):
                step = self.random.choice(steps)
                self._parked.remove(step)
                await self._perform(step)
            else:
                self._parked = steps
                self._advance()
        raise SimulationFailed(f"no end after {MAX_STEPS} steps at {self.loop.now_s:.1f} s")

    async def wait(self, task: "asyncio.Task[Any]") -> Any:
        await self.run_until(task.done)
        return task.result()

    async def pass_time(self, seconds: float) -> None:
        """Nothing but time passes, and what it brings."""
        end_s = self.loop.now_s + seconds
        timer = self.loop.call_at(end_s, lambda: None)
        await self.run_until(lambda: self.loop.now_s >= end_s)
        timer.cancel()

    async def _let_all_run(self) -> None:
        for _ in range(SPIN_TURNS):
            await asyncio.sleep(0)
            if self.loop.idle:
                return
        # Somebody waits for the clock without sleeping: let it have some time.
        self.spins += 1
        self.loop.move_to(self.loop.now_s + 0.001)

    def _advance(self) -> None:
        next_s = self.loop.next_s()
        if next_s is None:
            raise SimulationFailed("everybody waits, nobody ever wakes")
        self.loop.move_to(next_s)

    async def _disturb(self) -> None:
        due = [work for at_s, work in self._late if at_s <= self.loop.now_s]
        self._late = [late for late in self._late if late[0] > self.loop.now_s]
        for work in due:
            self.trace.append("late")
            await _outcome(work)
        chance = self.random.random()
        if chance < self.chances.flush and self.flush is not None:
            self.trace.append("flush")
            self.flushes += 1
            await self.flush()
        elif chance > 1 - self.chances.outage:
            store = self.random.choice(STORES)
            self.trace.append(f"{store} down")
            self._down_until_s[store] = self.loop.now_s + self.random.uniform(0.1, 5.0)

    async def _perform(self, step: Step) -> None:
        self.loop.move_to(self.loop.now_s + self.random.uniform(0.0005, 0.004))
        fate = self._fate(step)
        self.trace.append(f"{step.process.name} {step.label} {fate}")
        if fate in ("killed before", "killed after"):
            if fate == "killed after" and step.work is not None:
                await _outcome(step.work)
            self.kill(step.process)
        elif fate == "refused":
            step.future.set_exception(StoreUnavailable("The simulation refused it."))
        elif fate in ("hung", "late"):
            step.future.set_exception(StoreTimeout("The simulation let it hang."))
            if fate == "late" and step.work is not None:
                self._late.append((self.loop.now_s + self.random.uniform(0, 10), step.work))
                return
        else:
            await self._apply(step, fate)
        if self.on_step is not None:
            await self.on_step(step)

    async def _apply(self, step: Step, fate: str) -> None:
        if fate == "twice" and step.work is not None:
            await _outcome(step.work)
        value, error = (None, None) if step.work is None else await _outcome(step.work)
        if fate == "lost":
            step.future.set_exception(StoreTimeout("The simulation lost the reply."))
        elif error is not None:
            step.future.set_exception(error)
        else:
            step.future.set_result(value)

    def _fate(self, step: Step) -> str:
        chances, chance = self.chances, self.random.random()
        down_until_s = self._down_until_s.get(step.place, 0.0)
        if down_until_s > self.loop.now_s and chances != CALM:
            return "refused" if chance < 0.5 else "hung"
        fates = [("killed before", chances.kill / 2), ("killed after", chances.kill / 2)]
        if step.place in STORES:
            fates += [("refused", chances.refuse), ("lost", chances.lose), ("hung", chances.hang)]
            fates += [("late", chances.late)]
        if step.place == "postgres":
            # What may be sent again by who cannot know: every function of ours is idempotent.
            fates += [("twice", chances.twice)]
        for fate, share in fates:
            if chance < share:
                return fate
            chance -= share
        return "ok"


async def _outcome(work: Work) -> tuple[Any, GatewayError | None]:
    try:
        return await work(), None
    except InternalError as error:
        raise SimulationFailed("a store failed in a way that nobody foresaw") from error
    except GatewayError as error:
        return None, error
