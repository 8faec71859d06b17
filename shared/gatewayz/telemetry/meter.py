"""Metrics to a collector by OTLP, as what was added since the last time (delta temporality).

So that many processes, frozen and killed as platforms like, add up to what happened.
"""

from collections.abc import Sequence

from gatewayz import VERSION
from gatewayz.core import clock
from gatewayz.core.metrics import PER_SECOND, Metric
from gatewayz.core.money import NANOS_PER_USD
from gatewayz.core.settings import Settings
from gatewayz.net.http import HttpClient
from gatewayz.telemetry.collector import open_exporter, resource_of
from gatewayz.telemetry.export import Exporter
from gatewayz.telemetry.prometheus import PREFIX
from gatewayz.telemetry.wire import Point, Series, metrics_request

UNITS = {
    "Count": "1",
    "Nanodollars": "USD",
    "Milliseconds": "s",
    "Microseconds": "s",
}


class Meter:
    """A sink of core/metrics.py."""

    def __init__(self, settings: Settings, exporter: Exporter) -> None:
        self.exporter = exporter
        self._resource = resource_of(settings)
        self._since_ms = clock.now_ms()
        self._gathered: dict[tuple[str, tuple[str, ...]], tuple[Metric, list[int]]] = {}

    @classmethod
    def of(cls, settings: Settings, http: HttpClient) -> "Meter | None":
        exporter = open_exporter(settings, http, "metrics", b"".join)
        return None if exporter is None else cls(settings, exporter)

    def add(self, name: str, known: Metric, labels: Sequence[str], values: Sequence[int]) -> None:
        self._gathered.setdefault((name, tuple(labels)), (known, []))[1].extend(values)

    def flush(self) -> None:
        """Hand over what was gathered; the exporter sends it when it does."""
        if not self._gathered:
            return
        gathered, self._gathered = self._gathered, {}
        since_ms, self._since_ms = self._since_ms, clock.now_ms()
        series: dict[str, tuple[Metric, list[Point]]] = {}
        for (name, labels), (known, values) in gathered.items():
            told = dict(zip(known.labels, labels, strict=True))
            series.setdefault(name, (known, []))[1].append(_point(known, told, values))
        # A message of its own: messages of protobuf may stand one after the other.
        self.exporter.add(
            metrics_request(
                self._resource,
                [_series(name, known, points) for name, (known, points) in series.items()],
                start_ns=since_ms * 1_000_000,
                end_ns=self._since_ms * 1_000_000,
                version=VERSION,
            )
        )


def _series(name: str, known: Metric, points: list[Point]) -> Series:
    per = PER_SECOND.get(known.unit, 1)
    return Series(
        PREFIX + name,
        UNITS[known.unit],
        known.help,
        points,
        tuple(bound / per for bound in known.bounds),
        known.kind == "gauge",
    )


def _point(known: Metric, told: dict[str, str], values: list[int]) -> Point:
    per = PER_SECOND.get(known.unit) or (NANOS_PER_USD if known.unit == "Nanodollars" else 1)
    if known.kind == "histogram":
        counts = [0] * (len(known.bounds) + 1)
        for value in values:
            place = next((i for i, b in enumerate(known.bounds) if value <= b), len(known.bounds))
            counts[place] += 1
        return Point(told, sum(values) / per, counts)
    number = values[-1] if known.kind == "gauge" else sum(values)
    return Point(told, number if per == 1 else number / per)
