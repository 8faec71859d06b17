"""Totals of all processes in one Redis hash: what GET /metrics shows, whoever answers it.

Each process adds what it gathered, at most once a period and behind its requests. Guarantees that
a value is added once or, when Redis is away, later; that a wild label cannot grow the hash without
end; and that no process ever tells its own numbers as those of all.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gatewayz.core.errors import StoreTimeout, StoreUnavailable
from gatewayz.core.log import get_log
from gatewayz.core.metrics import Metric, catalogue
from gatewayz.stores.redis import RedisScripts

log = get_log(__name__)

METRICS, KEY = "metrics_v1", "metrics:{totals}"
# Between the parts of a field: no label has it.
US = "\x1f"
# About 4 MB of Redis; sixty thousand is far above what the catalogue's labels come to in practice.
MAX_FIELDS = 60_000
MAX_PENDING = 20_000
REFUSED = "!refused"
MAX_LABEL_CHARS = 160


class Totals:
    """A sink of core/metrics.py; one per process, on the loop that its Redis belongs to."""

    def __init__(self, redis: RedisScripts) -> None:
        self._redis = redis
        self._loop = asyncio.get_running_loop()
        self._pending: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, name: str, known: Metric, labels: Sequence[str], values: Sequence[int]) -> None:
        base = field_of(name, labels)
        if known.kind == "gauge":
            self._pending["=" + base] = values[-1]
            return
        if known.kind == "counter":
            self._add(base, sum(values))
            return
        bounds = known.bounds
        for value in values:
            place = next((i for i, bound in enumerate(bounds) if value <= bound), len(bounds))
            self._add(f"{base}{US}#{place}", 1)
        self._add(f"{base}{US}+", sum(values))

    def _add(self, field: str, value: int) -> None:
        if len(self._pending) < MAX_PENDING or "+" + field in self._pending:
            self._pending["+" + field] = self._pending.get("+" + field, 0) + value

    def flush(self) -> None:
        """Begin to write; returns at once. Safe from another thread's loop."""
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._start()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        if self._task is None and self._pending:
            self._task = self._loop.create_task(self._write())
            self._task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._task = None

    async def _write(self) -> None:
        pending, self._pending = self._pending, {}
        args: list[str | int] = [MAX_FIELDS]
        for field, value in pending.items():
            args += (field, value)
        try:
            await self._redis.script(METRICS, [KEY], args)
        except StoreUnavailable:
            # It was not run: the same again with the next.
            for field, value in pending.items():
                more = self._pending.get(field)
                if field[0] == "=":
                    self._pending.setdefault(field, value)
                else:
                    self._pending[field] = value + (more or 0)
        except StoreTimeout as error:
            # Nobody knows: rather a little too few than twice.
            log.info("totals_unknown", fields=len(pending), error=error.metric)

    async def finish(self) -> None:
        """Wait for what is being written; a platform may freeze the process from then on."""
        while self._task is not None:
            await asyncio.wait({self._task})

    async def close(self) -> None:
        self._start()
        await self.finish()


def field_of(name: str, labels: Sequence[str]) -> str:
    return US.join([name, *(label.replace(US, " ")[:MAX_LABEL_CHARS] for label in labels)])


class Sample(NamedTuple):
    """One series of a metric: a number, or of a histogram its buckets and the sum."""

    labels: tuple[str, ...]
    number: int
    counts: tuple[int, ...] = ()


Samples = dict[str, list[Sample]]


async def read_totals(redis: RedisScripts) -> tuple[Samples, int]:
    """What all processes have added, by metric, and how many values had no room.

    A field of a metric that the catalogue does not know (any more) is left out.
    """
    flat = await redis.script(METRICS, [KEY], [MAX_FIELDS])
    fields = dict(zip(flat[::2], map(int, flat[1::2]), strict=True))
    refused = fields.pop(REFUSED, 0)
    return samples_of(fields), refused


def samples_of(fields: Mapping[str, int]) -> Samples:
    known = catalogue()
    plain: Samples = {}
    parts: dict[tuple[str, tuple[str, ...]], tuple[dict[int, int], list[int]]] = {}
    for field, value in fields.items():
        name, *labels = field.split(US)
        metric = known.get(name)
        if metric is None:
            continue
        if metric.kind != "histogram":
            if len(labels) == len(metric.labels):
                plain.setdefault(name, []).append(Sample(tuple(labels), value))
            continue
        if len(labels) != len(metric.labels) + 1:
            continue
        *own, part = labels
        counts, sums = parts.setdefault((name, tuple(own)), ({}, []))
        if part == "+":
            sums.append(value)
        elif part[:1] == "#" and part[1:].isdigit():
            counts[int(part[1:])] = value
    for (name, own_labels), (counts, sums) in parts.items():
        buckets = tuple(counts.get(place, 0) for place in range(len(known[name].bounds) + 1))
        plain.setdefault(name, []).append(Sample(own_labels, sum(sums), buckets))
    return plain
