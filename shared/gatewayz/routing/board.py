"""The health of offers and providers as this process knows it, shared with all others by Redis.

What happens is noted here at once and told to Redis with the next admission, failures without
delay. Guarantees a view without I/O; while Redis is away the same breakers run in the process.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from gatewayz.core import clock
from gatewayz.core.errors import DependencyError
from gatewayz.core.log import get_log
from gatewayz.routing.breaker import (
    COOL,
    ERRORS,
    FAILS,
    FOUND_MISSING,
    HIDDEN,
    LOW,
    OPENED,
    OUTAGE,
    PROBE,
    REQUESTS,
    SHAKY,
    SLOT,
    SLOT_MS,
    SLOTS,
    UNTIL,
    Row,
    apply,
    new_row,
)
from gatewayz.routing.figures import bucket_of, percentiles
from gatewayz.routing.view import Health, View
from gatewayz.stores.redis import RedisScripts

log = get_log(__name__)

HEALTH = "health_v2"
TAG = "{health}"
# A view older than this is refreshed with the next admission (D12 allows a second).
FRESH_S = 0.25
# Percentiles move slowly and cost more to read.
FIGURES_S = 10.0
MAX_SCOPES = 20_000
NO_PIN = ""


class Reply(NamedTuple):
    """What the shared state says: the scopes whose probe is ours, and the conversation's pin."""

    granted: frozenset[str]
    pin: str
    shared: bool  # False: Redis is away, and this process decided alone


class _Scope:
    """One offer or provider: its row in our own milliseconds, and what Redis was not told yet."""

    __slots__ = (
        "calm", "counts", "events", "figures_s", "health", "row", "successes",
        "synced_s",
    )  # fmt: skip

    def __init__(self) -> None:
        self.row: Row = new_row()
        self.events: list[str] = []
        self.counts: dict[str, int] = {}
        # Nothing but successes lately: more of them change nothing that a plan reads, so they are
        # only counted, until something else happens or Redis is told.
        self.calm = False
        self.successes = 0
        self.health: Health | None = None
        self.synced_s = self.figures_s = -1e9


class Board:
    """One per process. `jitter` gives 0–999; only the simulation tells Redis what time it is."""

    def __init__(
        self,
        redis: RedisScripts,
        *,
        jitter: Callable[[], int] | None = None,
        server_now_ms: Callable[[], int] | None = None,
    ) -> None:
        self._redis = redis
        self._jitter = jitter or (lambda: random.randrange(1000))
        self._server_now_ms = server_now_ms or (lambda: 0)
        self._scopes: dict[str, _Scope] = {}
        self._entries: dict[str, Health] = {}
        self._urgent: set[str] = set()
        self._telling: asyncio.Task[None] | None = None
        self._putting: set[asyncio.Task[Any]] = set()

    # ------------------------------------------------------------ what is known

    def view(self) -> View:
        """What is known now, without asking anybody."""
        return View(clock.monotonic_s(), self._entries)

    def stale(self, scopes: Collection[str]) -> bool:
        """Is it time to ask Redis about one of them?"""
        limit_s = clock.monotonic_s() - FRESH_S
        for name in scopes:
            scope = self._scopes.get(name)
            if scope is None or scope.synced_s < limit_s or name in self._urgent:
                return True
        return False

    @property
    def urgent(self) -> bool:
        """Is there something that the others should know at once?"""
        return bool(self._urgent)

    @property
    def busy(self) -> bool:
        """Is something to be told, or being told just now?"""
        telling = self._telling is not None and not self._telling.done()
        return telling or bool(self._urgent) or bool(self._putting)

    # ------------------------------------------------------------ what happened

    def succeeded(self, offer: str, provider: str, *, took_ms: int = 0) -> None:
        """An answer came, or its beginning, so long after its attempt was made."""
        now_ms = 0
        for name in (offer, provider):
            scope = self._scope(name)
            if scope.calm:
                scope.successes += 1
                continue
            now_ms = now_ms or _now_ms()
            if scope.row[UNTIL] > now_ms and scope.row[OUTAGE] <= now_ms - took_ms:
                # Tried though it was open, because hardly anybody else was left: it works.
                self.tell(name, "y")
                continue
            if scope.row[UNTIL]:
                self._urgent.add(name)  # a probe went well: the others may come back
            elif scope.row[FAILS] or scope.row[HIDDEN] == FOUND_MISSING:
                self._urgent.add(name)
            self._note(scope, name, "s1")

    def measured(
        self,
        offer: str,
        *,
        first_token_ms: float | None = None,
        tokens_per_s: float | None = None,
        tools_valid: bool | None = None,
    ) -> None:
        """What an answer showed when it was over."""
        counts = self._scope(offer).counts
        if first_token_ms is not None:
            key = f"l{bucket_of(first_token_ms)}"
            counts[key] = counts.get(key, 0) + 1
        if tokens_per_s is not None:
            key = f"t{bucket_of(tokens_per_s)}"
            counts[key] = counts.get(key, 0) + 1
        if tools_valid is not None:
            key = f"v{int(tools_valid)}"
            counts[key] = counts.get(key, 0) + 1

    def tell(self, name: str, event: str) -> None:
        """Something the others should know at once (breaker.apply has the events)."""
        self._note(self._scope(name), name, event)
        self._urgent.add(name)

    def _scope(self, name: str) -> _Scope:
        scope = self._scopes.get(name)
        if scope is None:
            if len(self._scopes) >= MAX_SCOPES:
                # Offers come and go over the months of a process; Redis knows them still.
                self._scopes.clear()
                self._entries.clear()
                self._urgent.clear()
            scope = self._scopes[name] = _Scope()
        return scope

    def _note(self, scope: _Scope, name: str, event: str) -> None:
        self._fold(scope)
        self._append(scope, event)
        self._judge(scope, name)

    def _fold(self, scope: _Scope) -> None:
        """Successes that were only counted become an event like any other."""
        if scope.successes:
            event, scope.successes = f"s{scope.successes}", 0
            self._append(scope, event)

    def _append(self, scope: _Scope, event: str) -> None:
        events = scope.events
        if event[0] == "s" and events and events[-1][0] == "s":
            events[-1] = f"s{int(events[-1][1:]) + int(event[1:])}"
        else:
            events.append(event)
        scope.row, _ = apply(scope.row, event, _now_ms(), self._jitter())

    def _judge(self, scope: _Scope, name: str) -> None:
        """Keep what the planner reads in step with the row."""
        row, known = scope.row, scope.health
        health = Health(
            open_until_s=row[UNTIL] / 1000,
            cooling_until_s=row[COOL] / 1000,
            outage_at_s=row[OUTAGE] / 1000,
            hidden=bool(row[HIDDEN]),
            low_credit=row[LOW] > _now_ms(),
            shaky=row[SHAKY] > _now_ms(),
            requests=sum(row[REQUESTS : REQUESTS + SLOTS]),
            errors=sum(row[ERRORS : ERRORS + SLOTS]),
            latency=known.latency if known else {},
            throughput=known.throughput if known else {},
            tools_valid=known.tools_valid if known else None,
        )
        scope.health = self._entries[name] = health
        scope.calm = health.well and not row[FAILS] and not row[PROBE]

    # ------------------------------------------------------------ with the others

    def tell_others(self) -> None:
        """Tell what is urgent now, beside whatever the caller does next."""
        if self._urgent and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._tell_all())

    async def _tell_all(self) -> None:
        while self._urgent:
            if not (await self.sync(())).shared:
                return

    def put_pin(self, name: str, value: str, life_s: float) -> None:
        """Keep a conversation's place in Redis, beside what follows; losing it does no harm."""
        task = asyncio.create_task(self.sync((), pin=name, put=value, life_s=life_s))
        self._putting.add(task)
        task.add_done_callback(self._putting.discard)

    async def finish_background(self) -> None:
        """Wait until the others know; called before an invocation or the process ends."""
        self.tell_others()
        waiting: set[asyncio.Task[Any]] = set(self._putting)
        if self._telling is not None and not self._telling.done():
            waiting.add(self._telling)
        if waiting:
            await asyncio.wait(waiting)

    async def sync(
        self,
        scopes: Sequence[str],
        *,
        probes: Collection[str] = (),
        pin: str = NO_PIN,
        put: str = "",
        life_s: float = 0,
        figures: bool = False,
    ) -> Reply:
        """Tell Redis what happened and learn what it knows; one call, never raises.

        `pin` is the key of a conversation, to be read, or written when there is something to
        `put`. Scopes with urgent news come along.
        """
        names = list(dict.fromkeys((*scopes, *self._urgent)))
        self._urgent.clear()
        sent = [self._take(name, name in probes, figures) for name in names]
        keys = [key for name in names for key in (f"brk:{TAG}:{name}", f"seen:{TAG}:{name}")]
        action = "set" if put else "get" if pin else ""
        if pin:
            keys.append(f"pin:{TAG}:{pin}")
        arguments: list[str | int] = [
            self._server_now_ms(), self._jitter(), len(names), action, put, round(life_s * 1000),
            *(" ".join(events) for events in sent),
        ]  # fmt: skip
        try:
            reply: list[str] = await self._redis.script(HEALTH, keys, arguments)
        except DependencyError as error:
            log.debug("health_alone", error=error.metric)
            return self._decide_alone(names, sent, probes)
        granted = set()
        for i, name in enumerate(names):
            if self._adopt(name, reply[2 * i], reply[2 * i + 1]):
                granted.add(name)
        return Reply(frozenset(granted), reply[-1] if pin else "", shared=True)

    def _take(self, name: str, probe: bool, figures: bool) -> list[str]:
        """The events of a scope for Redis; they are its own from now on."""
        scope = self._scope(name)
        self._fold(scope)
        events, scope.events = scope.events, []
        if scope.counts:
            events += [f"{key}:{count}" for key, count in scope.counts.items()]
            scope.counts = {}
        if probe:
            events.append("p")
        now_s = clock.monotonic_s()
        if figures and "/" in name and now_s - scope.figures_s > FIGURES_S:
            scope.figures_s = now_s
            events.append("?")
        # At the call, not at its end: who asks meanwhile need not ask again.
        scope.synced_s = now_s
        return events

    def _adopt(self, name: str, state: str, seen: str) -> bool:
        """Take the shared state over; whether the probe is ours."""
        fields = [int(part) for part in state.split()]
        fails, opened, until, probe, outage, cool, hidden, low, shaky, requests, errors = fields[
            :11
        ]
        scope, now_ms = self._scope(name), _now_ms()
        self._fold(scope)
        row = new_row()
        row[FAILS], row[OPENED], row[HIDDEN] = fails, opened, hidden
        # Half open is a time that is over, so it must not be 0.
        row[UNTIL] = 0 if until < 0 else max(now_ms + until, 1) if until else max(now_ms - 1, 1)
        row[PROBE] = now_ms + probe if probe else 0
        row[OUTAGE] = max(now_ms - outage, 1) if outage >= 0 else 0
        row[COOL] = now_ms + cool if cool else 0
        row[LOW] = now_ms + low if low else 0
        row[SHAKY] = now_ms + shaky if shaky else 0
        row[SLOT], row[REQUESTS], row[ERRORS] = now_ms // SLOT_MS, requests, errors
        for event in scope.events:  # what happened while the call was under way
            row, _ = apply(row, event, now_ms, self._jitter())
        scope.row = row
        if seen:
            scope.health = _with_figures(scope.health or Health(), seen)
        if scope.health is not None or any(fields):
            self._judge(scope, name)
        return fields[11] == 1

    def _decide_alone(
        self, names: Sequence[str], sent: Sequence[list[str]], probes: Collection[str]
    ) -> Reply:
        """Redis is away: the rows here are the breakers. What was not told is told later."""
        granted = set()
        for name, events in zip(names, sent, strict=True):
            scope = self._scope(name)
            scope.events = [e for e in events if e[0] not in "?pltv"][-64:] + scope.events
            if name in probes:
                scope.row, given = apply(scope.row, "p", _now_ms(), 0)
                if given:
                    granted.add(name)
        return Reply(frozenset(granted), "", shared=False)


def _with_figures(health: Health, seen: str) -> Health:
    """`health` with the percentiles of counts as the script gives them: kind and bucket:count."""
    counts: dict[str, dict[int, int]] = {"l": {}, "t": {}, "v": {}}
    for part in seen.split():
        key, _, count = part.partition(":")
        counts[key[0]][int(key[1:])] = int(count)
    calls = counts["v"]
    return Health(
        latency=percentiles(counts["l"], scale=1000),
        throughput=percentiles(counts["t"], descending=True),
        tools_valid=calls.get(1, 0) / sum(calls.values()) if calls else None,
    )


def _now_ms() -> int:
    return int(clock.monotonic_s() * 1000)


def scopes_of(offers: Sequence[Any]) -> list[str]:
    """The scopes that decide about these offers."""
    names: dict[str, None] = {}
    for offer in offers:
        names[offer.id] = None
        names[offer.provider] = None
    return list(names)
