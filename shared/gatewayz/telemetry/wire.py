"""OTLP as protobuf, written by hand: what the data plane exports, without the library's import.

Owns the bytes of spans and metric points as opentelemetry-proto defines them; a test reads them
back with its own classes. Pure: no I/O, no clock.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

Value = str | int | float | bool | Sequence[str]

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5
UNSET, OK, ERROR = 0, 1, 2
DELTA, CUMULATIVE = 1, 2
SCOPE = "gatewayz"
# An attribute beyond it is cut: a collector refuses the whole batch for one that is too large.
MAX_TEXT_CHARS = 64 * 1024
_SHORT = [bytes([number]) for number in range(128)]
_TIMES = struct.Struct("<BQBQ").pack
_DOUBLE = struct.Struct("<d").pack
_FIXED64 = struct.Struct("<Q").pack
_SIGNED64 = struct.Struct("<q").pack
_KEPT = b"\x85\x01\x01\x00\x00\x00"  # flags: sampled


def varint(number: int) -> bytes:
    if number < 128:
        return _SHORT[number]
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(tag: int, data: bytes) -> bytes:
    """A length-delimited field; `tag` is number << 3 | 2."""
    size = len(data)
    if size < 128 and tag < 128:
        return _SHORT[tag] + _SHORT[size] + data
    return varint(tag) + varint(size) + data


@lru_cache(maxsize=1024)
def _key(name: str) -> bytes:
    return field(0x0A, name.encode())


def _any(value: Value) -> bytes:
    if type(value) is str:
        return field(0x0A, value[:MAX_TEXT_CHARS].encode("utf-8", "replace"))
    if value is True or value is False:
        return b"\x10\x01" if value else b"\x10\x00"
    if type(value) is int:
        return b"\x18" + varint(value & 0xFFFFFFFFFFFFFFFF)
    if type(value) is float:
        return b"\x21" + _DOUBLE(value)
    assert not isinstance(value, int | float)
    return field(0x2A, b"".join(field(0x0A, _any(each)) for each in value))


def attribute(name: str, value: Value) -> bytes:
    """A KeyValue, without the tag of the field that it is in."""
    return _key(name) + field(0x12, _any(value))


@lru_cache(maxsize=8192)
def _known(tag: int, name: str, value: Value) -> bytes:
    return field(tag, attribute(name, value))


def attributes(tag: int, values: Mapping[str, Value | None]) -> bytes:
    """Those that are not None; names of models, providers and outcomes come again and again."""
    parts = []
    for name, value in values.items():
        if value is None:
            continue
        if type(value) is str and len(value) < 64:
            parts.append(_known(tag, name, value))
        else:
            parts.append(field(tag, attribute(name, value)))
    return b"".join(parts)


class Span(NamedTuple):
    """Times in nanoseconds since 1970; ids as bytes, `parent` empty at the root."""

    trace_id: bytes
    span_id: bytes
    parent: bytes
    name: str
    kind: int
    start_ns: int
    end_ns: int
    values: Mapping[str, Value | None]
    status: int = UNSET
    message: str = ""
    state: str = ""


def span(each: Span) -> bytes:
    """A span as a field of ScopeSpans."""
    parts = [b"\x0a\x10", each.trace_id, b"\x12\x08", each.span_id]
    if each.state:
        parts.append(field(0x1A, each.state.encode()))
    if each.parent:
        parts += (b"\x22\x08", each.parent)
    parts += (
        field(0x2A, each.name.encode()),
        b"\x30" + _SHORT[each.kind],
        _TIMES(0x39, each.start_ns, 0x41, max(each.end_ns, each.start_ns)),
        attributes(0x4A, each.values),
    )
    if each.status:
        status = b"\x18" + _SHORT[each.status]
        if each.message:
            status = field(0x12, each.message.encode()) + status
        parts.append(field(0x7A, status))
    parts.append(_KEPT)
    return field(0x12, b"".join(parts))


# ---------------------------------------------------------------- the same where it must be cheap
# A span in two parts: what many requests say alike, written once and kept by its caller, and what
# differs: ids, times, some numbers.


def known_of(
    name: str,
    kind: int,
    values: Mapping[str, Value | None],
    *,
    failed: bool = False,
    message: str = "",
    state: str = "",
) -> bytes:
    """The first part: everything of a span but its ids, its times and `span_of`'s `told`."""
    parts = [field(0x2A, name.encode()), b"\x30" + _SHORT[kind], attributes(0x4A, values)]
    if state:
        parts.append(field(0x1A, state.encode()))
    if failed:
        text = field(0x12, message.encode()) if message else b""
        parts.append(field(0x7A, text + b"\x18" + _SHORT[ERROR]))
    parts.append(_KEPT)
    return b"".join(parts)


def span_of(
    trace_id: bytes,
    span_id: bytes,
    parent: bytes,
    known: bytes,
    start_ns: int,
    end_ns: int,
    told: bytes,
) -> bytes:
    """A span as a field of ScopeSpans; `told` are more attributes."""
    above = b"\x22\x08" + parent if parent else b""
    times = _TIMES(0x39, start_ns, 0x41, end_ns if end_ns > start_ns else start_ns)
    body = b"".join((b"\x0a\x10", trace_id, b"\x12\x08", span_id, above, times, known, told))
    return b"\x12" + varint(len(body)) + body


def text_attribute(name: str, text: str) -> bytes:
    """A short text as an attribute of a span."""
    data = text.encode()
    if len(data) > 63:
        return field(0x4A, attribute(name, text))
    key = _key(name)
    size = len(data)
    head = _SHORT[len(key) + size + 4] + key + b"\x12" + _SHORT[size + 2] + b"\x0a" + _SHORT[size]
    return b"\x4a" + head + data


def number_attribute(name: str, number: int) -> bytes:
    """A number from 0 on as an attribute of a span."""
    key, data = _key(name), varint(number)
    size = len(data)
    return b"\x4a" + _SHORT[len(key) + size + 3] + key + b"\x12" + _SHORT[size + 1] + b"\x18" + data


def _resource(values: Mapping[str, Value | None]) -> bytes:
    return field(0x0A, attributes(0x0A, values))


def _scope(version: str) -> bytes:
    return field(0x0A, field(0x0A, SCOPE.encode()) + field(0x12, version.encode()))


def trace_request(
    resource: Mapping[str, Value | None], spans: Iterable[bytes], *, version: str
) -> bytes:
    """An ExportTraceServiceRequest of encoded spans."""
    scope = field(0x12, _scope(version) + b"".join(spans))
    return field(0x0A, _resource(resource) + scope)


class Point(NamedTuple):
    """One value of a metric. Histograms have `counts`, one more than the metric has bounds."""

    values: Mapping[str, Value | None]
    number: int | float
    counts: Sequence[int] = ()


class Series(NamedTuple):
    """A metric and its points. `bounds` make it a histogram; `gauge` takes it from the sums."""

    name: str
    unit: str
    help: str
    points: Sequence[Point]
    bounds: Sequence[float] = ()
    gauge: bool = False


def _number(point: Point, tag: int, times: bytes) -> bytes:
    number = point.number
    value = b"\x31" + _SIGNED64(number) if type(number) is int else b"\x21" + _DOUBLE(number)
    return field(tag, times + value + attributes(0x3A, point.values))


def _bucketed(point: Point, bounds: Sequence[float], times: bytes) -> bytes:
    counts = b"".join(map(_FIXED64, point.counts))
    edges = b"".join(map(_DOUBLE, bounds))
    return field(
        0x0A,
        times
        + b"\x21" + _FIXED64(sum(point.counts))
        + b"\x29" + _DOUBLE(point.number)
        + field(0x32, counts)
        + field(0x3A, edges)
        + attributes(0x4A, point.values),
    )  # fmt: skip


def _metric(series: Series, times: bytes) -> bytes:
    head = field(0x0A, series.name.encode()) + field(0x12, series.help.encode())
    head += field(0x1A, series.unit.encode())
    if series.bounds:
        points = b"".join(_bucketed(point, series.bounds, times) for point in series.points)
        return field(0x12, head + field(0x4A, points + b"\x10" + _SHORT[DELTA]))
    points = b"".join(_number(point, 0x0A, times) for point in series.points)
    if series.gauge:
        return field(0x12, head + field(0x2A, points))
    return field(0x12, head + field(0x3A, points + b"\x10" + _SHORT[DELTA] + b"\x18\x01"))


def metrics_request(
    resource: Mapping[str, Value | None],
    series: Iterable[Series],
    *,
    start_ns: int,
    end_ns: int,
    version: str,
) -> bytes:
    """An ExportMetricsServiceRequest: what was added between two moments (delta temporality)."""
    times = _TIMES(0x11, start_ns, 0x19, end_ns)
    metrics = b"".join(_metric(each, times) for each in series)
    return field(0x0A, _resource(resource) + field(0x12, _scope(version) + metrics))
