"""Traces of the control plane and the workers, by the OpenTelemetry SDK; loaded where it is on.

Owns the process's tracer: the same sampling, resource and collector as the data plane's. A worker's
spans hang below the request whose message it carries, and cost that worker no wait.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from opentelemetry.context import Context as OtelContext
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, SamplingResult
from opentelemetry.sdk.trace.sampling import Sampler as SdkSampler
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.util.types import Attributes

from gatewayz import VERSION
from gatewayz.core.settings import Settings
from gatewayz.net.http import HttpClient
from gatewayz.telemetry.collector import open_exporter, resource_of, sampler_of
from gatewayz.telemetry.context import Context, Sampler, read_context
from gatewayz.telemetry.export import Exporter
from gatewayz.telemetry.wire import ERROR, Span, span, trace_request

KINDS = {
    SpanKind.INTERNAL: 1, SpanKind.SERVER: 2, SpanKind.CLIENT: 3, SpanKind.PRODUCER: 4,
    SpanKind.CONSUMER: 5,
}  # fmt: skip


class _Rule(SdkSampler):
    """Our rule, for traces that begin here."""

    def __init__(self, rule: Sampler) -> None:
        self._rule = rule

    def should_sample(
        self,
        parent_context: OtelContext | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        route = str((attributes or {}).get("http.route", ""))
        kept = self._rule.keeps(trace_id.to_bytes(16, "big"), route)
        decision = Decision.RECORD_AND_SAMPLE if kept else Decision.DROP
        return SamplingResult(decision, attributes, trace_state)

    def get_description(self) -> str:
        return "gatewayz"


class _Hand(SpanProcessor):
    """Hands every span that ends to the exporter, in its bytes."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter

    def on_start(self, span: SdkSpan, parent_context: OtelContext | None = None) -> None:
        return

    def on_end(self, span: ReadableSpan) -> None:
        context = span.context
        if context is not None and context.trace_flags.sampled:
            self._exporter.add(encode(span))


def encode(ended: ReadableSpan) -> bytes:
    context = ended.context
    assert context is not None
    parent = ended.parent.span_id.to_bytes(8, "big") if ended.parent is not None else b""
    values: Mapping[str, Any] = ended.attributes or {}
    start_ns = ended.start_time or 0
    return span(
        Span(
            context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big"), parent,
            ended.name, KINDS[ended.kind], start_ns, ended.end_time or start_ns, values,
            ERROR if ended.status.status_code is StatusCode.ERROR else 0,
            ended.status.description or "", context.trace_state.to_header(),
        )
    )  # fmt: skip


class ControlTracer:
    """One per event loop: its exporter's connections belong to the loop they were made on."""

    def __init__(self, settings: Settings, exporter: Exporter, http: HttpClient) -> None:
        self.exporter = exporter
        self._http = http
        own = {name: value for name, value in resource_of(settings).items() if value is not None}
        self._rule = sampler_of(settings)
        provider = TracerProvider(
            sampler=ParentBased(_Rule(self._rule)),
            resource=Resource(own),
            shutdown_on_exit=False,
        )
        provider.add_span_processor(_Hand(exporter))
        self._tracer = provider.get_tracer("gatewayz", VERSION)

    def start(
        self, name: str, kind: SpanKind, parent: Context | None, values: Mapping[str, Any]
    ) -> Any:
        """A span of the SDK below `parent`; the caller ends it."""
        above = None
        if parent is not None:
            flags = TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT)
            above = set_span_in_context(
                NonRecordingSpan(
                    SpanContext(
                        int.from_bytes(parent.trace_id, "big"),
                        int.from_bytes(parent.span_id, "big"),
                        True,
                        flags,
                    )
                )
            )
        return self._tracer.start_span(name, above or OtelContext(), kind, dict(values))

    def under(self, span: Any, name: str, kind: SpanKind, values: Mapping[str, Any]) -> Any:
        return self._tracer.start_span(name, set_span_in_context(span), kind, dict(values))

    def keeps(self, parent: Context, path: str) -> bool:
        return self._rule.keeps(parent.trace_id, path, client=parent.sampled)

    async def close(self, *, within_s: float = 2.0) -> None:
        await self.exporter.close(within_s=within_s)
        await self._http.aclose()


class Settling:
    """The hops of charge messages from the queue to the ledger, of those that are traced."""

    def __init__(self, tracer: ControlTracer, messages: Iterable[Any]) -> None:
        self._tracer = tracer
        self._spans: dict[str, tuple[Any, Any]] = {}
        for message in messages:
            context = read_context(message.body.get("trace"))
            if context is None or not context.sampled:
                continue
            request_id = str(message.body.get("request_id"))
            hop = tracer.start(
                "process charges",
                SpanKind.CONSUMER,
                context,
                {
                    "messaging.operation.type": "process",
                    "messaging.destination.name": "charges",
                    "messaging.message.id": request_id,
                    "gatewayz.receives": message.receives,
                },
            )
            ledger = tracer.under(
                hop,
                "settle_charges ledger",
                SpanKind.CLIENT,
                {
                    "db.system.name": "postgresql",
                    "db.stored_procedure.name": "settle_charges",
                    "gatewayz.request_id": request_id,
                },
            )
            self._spans[message.id] = (hop, ledger)

    def settled(self) -> None:
        """The ledger has answered."""
        for _, ledger in self._spans.values():
            ledger.end()

    def end(self, done: Collection[str]) -> None:
        for message_id, (hop, ledger) in self._spans.items():
            if message_id not in done:
                hop.set_status(StatusCode.ERROR, "not settled")
            if ledger.is_recording():
                ledger.set_status(StatusCode.ERROR, "not settled")
                ledger.end()
            hop.end()


class ServedSpan:
    """One request of the control plane, below the client's own trace where it sent one."""

    def __init__(self, tracer: ControlTracer, call: Any, function: str) -> None:
        parent = read_context(call.header(b"traceparent"), call.header(b"tracestate"))
        if parent is not None:  # the rule here decides, not the caller
            parent = parent._replace(sampled=tracer.keeps(parent, call.path))
        self._method = call.method
        self._span = tracer.start(
            call.method,
            SpanKind.SERVER,
            parent,
            {
                "http.request.method": call.method,
                "url.path": call.path[:256],
                "gatewayz.function": function,
            },
        )

    def end(self, scope: Any, status: int) -> None:
        route = getattr(scope.get("route"), "path", None)
        if route is not None:
            self._span.update_name(f"{self._method} {route}")
            self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


def open_control(settings: Settings) -> ControlTracer | None:
    resource = resource_of(settings)
    http = HttpClient()
    exporter = open_exporter(
        settings, http, "traces", lambda parts: trace_request(resource, parts, version=VERSION)
    )
    return None if exporter is None else ControlTracer(settings, exporter, http)


async def finish_traces() -> None:
    """Send what this loop still has: the process may be frozen after it."""
    tracer = _tracers.get(asyncio.get_running_loop())
    if tracer is not None:
        await tracer.exporter.close()


_tracers: dict[asyncio.AbstractEventLoop, ControlTracer | None] = {}


def control_tracer(settings: Settings) -> ControlTracer | None:
    """The tracer of the running loop; None where nothing is traced."""
    loop = asyncio.get_running_loop()
    if loop not in _tracers:
        _tracers.clear()
        _tracers[loop] = open_control(settings)
    return _tracers[loop]
