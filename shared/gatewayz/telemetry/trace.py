"""One trace per request in the data plane: a record of moments on the way, spans at its end.

Guarantees that without a collector nothing is kept (`Tracer.of` is None), that a request's own
work waits for nothing here, and that prompts and answers are only told where a setting says so.
"""

from functools import lru_cache
from random import randbytes
from typing import Any, Protocol

import orjson

from gatewayz import VERSION
from gatewayz.core import clock
from gatewayz.core.settings import Settings
from gatewayz.net.http import HttpClient
from gatewayz.telemetry.collector import open_exporter, resource_of, sampler_of
from gatewayz.telemetry.content import MAX_CONTENT_BYTES, input_of, output_of
from gatewayz.telemetry.context import Context, read_context
from gatewayz.telemetry.export import Exporter
from gatewayz.telemetry.wire import (
    CLIENT,
    PRODUCER,
    SERVER,
    Value,
    attributes,
    known_of,
    number_attribute,
    span_of,
    text_attribute,
    trace_request,
)

CHARGES = "charges"
MAX_ATTEMPTS = 8
# Places of spans: the request itself, the sending of its charge, then its attempts.
SENDING = 1
SEED_BYTES = 16 + 8 * (2 + MAX_ATTEMPTS)
ATTRIBUTES = 0x4A
# Ends of a request that are nobody's wish: traced whatever the share.
FAILED = frozenset({"failed", "cut", "empty", "expired"})
INPUT = frozenset({
    "input", "cache_read", "cache_write_5m", "cache_write_1h", "audio_in", "image_in",
})  # fmt: skip
OUTPUT = frozenset({"output", "reasoning", "audio_out", "image_out"})
DETAILS = {
    "cache_read": "gen_ai.usage.cache_read.input_tokens",
    "reasoning": "gen_ai.usage.reasoning.output_tokens",
}


class Charge(Protocol):
    """What is read of a charge message."""

    request_id: str
    account: str
    model: str
    provider: str | None
    stream: bool
    session: str | None
    lines: list[list[str | int]]
    charge_nanos: int
    outcome: Any
    finish: str | None
    attempts: list[dict[str, Any]]
    first_token_ms: int | None
    trace: str | None


class Trace:
    """The moments of one request; `end` of the tracer makes spans of it."""

    __slots__ = (
        "answered_s", "asked", "begun_s", "charge", "error", "failed", "hex", "method", "over",
        "parent", "route", "said", "said_bytes", "sampled", "seed", "starts_s", "state", "status",
        "stored_s", "trace_id", "unix_ns",
    )  # fmt: skip

    def __init__(self, above: Context | None, seed: bytes) -> None:
        self.seed = seed
        if above is None:
            self.trace_id, self.parent, self.state = seed[:16], b"", ""
        else:
            self.trace_id, self.parent, self.state = above.trace_id, above.span_id, above.state
        self.hex = self.trace_id.hex()
        self.sampled = self.failed = self.over = False
        self.route = self.method = ""
        self.begun_s = clock.monotonic_s()
        self.unix_ns = clock.now_ms() * 1_000_000
        self.starts_s: list[float] = []
        self.answered_s = self.stored_s = 0.0
        self.charge: Charge | None = None
        self.status = 200
        self.error: str | None = None
        self.asked: Any = None
        self.said: list[bytes] | None = None
        self.said_bytes = 0

    def span_id(self, place: int) -> bytes:
        """0 is the request's own span, 1 the sending of its charge, then its attempts."""
        at = 16 + 8 * place
        return self.seed[at : at + 8]

    def header(self, place: int) -> str:
        """The `traceparent` of what happens below one of its spans."""
        return f"00-{self.hex}-{self.span_id(place).hex()}-{'01' if self.sampled else '00'}"

    def serve(self, charge: Charge, asked: Any) -> None:
        """It was admitted: `charge` is filled on the way."""
        self.charge = charge
        if self.said is not None:
            self.asked = asked

    def attempt(self) -> None:
        """An offer is being tried from now on."""
        self.starts_s.append(clock.monotonic_s())

    def answered(self) -> None:
        self.answered_s = clock.monotonic_s()

    def onward(self) -> str:
        """The context that travels in the charge message: its span is the sending."""
        return self.header(SENDING)

    def queued(self, charge: Charge) -> str:
        """The same once the end is known: failures are kept whatever the share."""
        self.failed = is_failure(charge, self.status)
        self.sampled = self.sampled or self.failed
        return self.header(SENDING)

    def stored(self) -> None:
        self.stored_s = clock.monotonic_s()

    def see(self, out: bytes) -> None:
        """Bytes of an answer, where they are told (a setting)."""
        if self.said is not None and self.said_bytes < MAX_CONTENT_BYTES:
            self.said.append(out)
            self.said_bytes += len(out)

    def ns(self, at_s: float) -> int:
        return self.unix_ns + int((at_s - self.begun_s) * 1e9)


def is_failure(charge: Charge, status: int) -> bool:
    """Ours or a provider's: a caller's own mistake is sampled as all else."""
    if status >= 500 or charge.outcome in FAILED:
        return True
    return any(each["error"] is not None for each in charge.attempts)


class Tracer:
    """One per data-plane process."""

    def __init__(self, settings: Settings, exporter: Exporter) -> None:
        own = settings.telemetry
        self.exporter = exporter
        self._sampler = sampler_of(settings)
        self._content = own.content
        self._tells_all = own.upstream == "all"
        self._tells_own = own.upstream in ("all", "own")

    @classmethod
    def of(cls, settings: Settings, http: HttpClient) -> "Tracer | None":
        """None without a collector: then nothing else of this package runs."""
        resource = resource_of(settings)
        exporter = open_exporter(
            settings, http, "traces",
            lambda parts: trace_request(resource, parts, version=VERSION),
        )  # fmt: skip
        return None if exporter is None else cls(settings, exporter)

    def begin(self, method: str, path: str, parent: bytes | None, state: bytes | None) -> Trace:
        """A trace, going on from the client's where it sent one."""
        above = read_context(parent, state) if parent is not None else None
        trace = Trace(above, randbytes(SEED_BYTES))
        trace.method, trace.route = method, route_of(path)
        trace.sampled = self._sampler.keeps(
            trace.trace_id, trace.route, client=above is not None and above.sampled
        )
        if self._content:
            trace.said = []
        return trace

    def headers_for(self, trace: Trace, *, own: bool) -> dict[str, str]:
        """What a provider is told of the trace: nothing, unless it is `own` or all are told."""
        if not (self._tells_own if own else self._tells_all):
            return {}
        told = {"traceparent": trace.header(attempt_place(len(trace.starts_s)))}
        if trace.state:
            told["tracestate"] = trace.state
        return told

    def end(self, trace: Trace) -> None:
        """Make the spans of a request that is over, and leave them to the exporter."""
        if trace.over:
            return
        trace.over = True
        if not (trace.sampled or trace.failed or trace.status >= 500):
            return
        charge = trace.charge
        parts = [_request_span(trace, charge)]
        if charge is not None:
            last = min(len(trace.starts_s), len(charge.attempts)) - 1
            parts += [
                self._attempt_span(trace, charge, place, last=place == last)
                for place in range(last + 1)
            ]
            if trace.stored_s:
                parts.append(_sending_span(trace, charge))
        self.exporter.add(b"".join(parts))

    def _attempt_span(self, trace: Trace, charge: Charge, place: int, *, last: bool) -> bytes:
        entry, start_s = charge.attempts[place], trace.starts_s[place]
        error = entry["error"] or entry.get("cut")
        model = entry.get("model") or charge.model
        served = last and entry["error"] is None
        end_s = trace.answered_s if served else 0.0
        own = _attempt_known(
            trace.route, entry["provider"], model, charge.stream, entry["offer"], place + 1,
            entry.get("upstream_status"), error, charge.finish if served else None,
        )  # fmt: skip
        told = b""
        if served:
            told = _used(charge)
            if trace.said is not None:
                told += attributes(ATTRIBUTES, self._told(trace))
        return span_of(
            trace.trace_id, trace.span_id(attempt_place(place + 1)), trace.span_id(0),
            own, trace.ns(start_s), trace.ns(end_s or start_s + entry.get("ms", 0) / 1000), told,
        )  # fmt: skip

    def _told(self, trace: Trace) -> dict[str, Value | None]:
        said = output_of(b"".join(trace.said or ()))
        return {
            "gen_ai.input.messages": input_of(trace.asked),
            "gen_ai.output.messages": orjson.dumps(said).decode() if said else None,
        }


def attempt_place(number: int) -> int:
    """The place of the span of an attempt; those beyond the last place share it."""
    return SENDING + min(max(number, 1), MAX_ATTEMPTS)


# What a span says that many requests say alike is written once: names, routes, models, outcomes.
# What is left are ids, times and a few numbers.


@lru_cache(maxsize=4096)
def _request_known(
    method: str, route: str, status: int, error: str | None, state: str, account: str | None,
    outcome: str | None, attempts: int, failed: bool,
) -> bytes:  # fmt: skip
    return known_of(
        f"{method} {route}",
        SERVER,
        {
            "http.request.method": method,
            "http.route": route,
            "url.scheme": "https",
            "http.response.status_code": status,
            "error.type": error,
            "gatewayz.account": account,
            "gatewayz.outcome": outcome,
            "gatewayz.attempts": attempts if outcome is not None else None,
        },
        failed=failed,
        message=error or "" if failed else "",
        state=state,
    )


def _request_span(trace: Trace, charge: Charge | None) -> bytes:
    failed = trace.failed or trace.status >= 500
    told = b""
    if charge is None:
        own = _request_known(
            trace.method, trace.route, trace.status, trace.error, trace.state, None, None, 0, failed
        )
    else:
        failed = trace.status >= 500 or charge.outcome in FAILED
        own = _request_known(
            trace.method, trace.route, trace.status, trace.error, trace.state, charge.account,
            charge.outcome, len(charge.attempts), failed,
        )  # fmt: skip
        told = text_attribute("gatewayz.request_id", charge.request_id)
        told += number_attribute("gatewayz.charge_nanos", charge.charge_nanos)
        if charge.first_token_ms is not None:
            told += number_attribute("gatewayz.first_token_ms", charge.first_token_ms)
    return span_of(
        trace.trace_id, trace.span_id(0), trace.parent, own, trace.unix_ns,
        trace.ns(clock.monotonic_s()), told,
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _attempt_known(
    route: str, provider: str, model: str, stream: bool, offer: str, number: int,
    status: int | None, error: str | None, finish: str | None,
) -> bytes:  # fmt: skip
    operation = operation_of(route)
    return known_of(
        f"{operation} {model}",
        CLIENT,
        {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
            "gen_ai.response.model": None if error else model,
            "gen_ai.request.stream": stream,
            "gen_ai.response.finish_reasons": (finish,) if finish else None,
            "gatewayz.offer": offer,
            "gatewayz.attempt": number,
            "http.response.status_code": status,
            "error.type": error,
        },
        failed=error is not None,
        message=error or "",
    )


def _used(charge: Charge) -> bytes:
    """Tokens by the conventions of generative AI; sums, as clients know them."""
    read = written = 0
    told = text_attribute("gen_ai.response.id", charge.request_id)
    for cls, units, *_ in charge.lines:
        if cls in INPUT:
            read += int(units)
        elif cls in OUTPUT:
            written += int(units)
        if cls in DETAILS:
            told += number_attribute(DETAILS[str(cls)], int(units))
    told += number_attribute("gen_ai.usage.input_tokens", read)
    told += number_attribute("gen_ai.usage.output_tokens", written)
    if charge.session is not None:
        told += text_attribute("gen_ai.conversation.id", charge.session)
    return told


_SENDING = known_of(
    f"send {CHARGES}",
    PRODUCER,
    {"messaging.operation.type": "send", "messaging.destination.name": CHARGES},
)


def _sending_span(trace: Trace, charge: Charge) -> bytes:
    return span_of(
        trace.trace_id, trace.span_id(SENDING), trace.span_id(0), _SENDING,
        trace.ns(trace.answered_s or trace.begun_s), trace.ns(trace.stored_s),
        text_attribute("messaging.message.id", charge.request_id),
    )  # fmt: skip


@lru_cache(maxsize=1024)
def route_of(path: str) -> str:
    """The path without what a caller wrote into it: a model's name is no route."""
    head, found, rest = path.partition("/models/")
    if not found:
        return path[:128]
    method = rest.rpartition(":")[2]
    return f"{head}/models/{{model}}:{method[:40]}" if ":" in rest else f"{head}/models/{{model}}"


def operation_of(route: str) -> str:
    """The convention's word for a route."""
    last = route.rpartition("/")[2]
    if route.endswith("/chat/completions"):
        return "chat"
    if last == "completions":
        return "text_completion"
    if last in ("embeddings", "embed"):
        return "embeddings"
    if last in ("rerank", "moderations"):
        return last
    return "generate_content" if ":" in last else "chat"
