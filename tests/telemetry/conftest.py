"""A collector in memory, read by the genuine protobuf classes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gatewayz.core.settings import Settings
from gatewayz.stores.open import Stores, open_stores
from tests.world import Server, sandbox, world

__all__ = ["sandbox", "world"]


def value_of(any_value: Any) -> Any:
    kind = any_value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(each) for each in any_value.array_value.values]
    return getattr(any_value, kind) if kind else None


def values_of(attributes: Any) -> dict[str, Any]:
    return {each.key: value_of(each.value) for each in attributes}


@dataclass
class Seen:
    """A span as the collector got it."""

    trace: str
    id: str
    parent: str
    name: str
    kind: int
    start: int
    end: int
    values: dict[str, Any]
    error: bool
    state: str
    resource: dict[str, Any]


@dataclass
class Collector:
    """An ASGI application. `answer` is the status it gives; `hold` keeps it from answering."""

    answer: int = 200
    hold: asyncio.Event | None = None
    spans: list[Seen] = field(default_factory=list)
    metrics: list[Any] = field(default_factory=list)
    calls: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""
    refused: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {k.decode(): v.decode() for k, v in scope["headers"]}
        if self.answer < 300:
            self.calls.append((scope["path"], headers, body))
            self._read(scope["path"], headers, body)
        else:
            self.refused += 1
        await send({"type": "http.response.start", "status": self.answer, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def _read(self, path: str, headers: dict[str, str], body: bytes) -> None:
        if headers.get("content-type") != "application/x-protobuf":
            return
        if path.endswith("/v1/metrics"):
            self.metrics += ExportMetricsServiceRequest.FromString(body).resource_metrics
            return
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = values_of(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [
                    Seen(
                        each.trace_id.hex(), each.span_id.hex(), each.parent_span_id.hex(),
                        each.name, each.kind, each.start_time_unix_nano, each.end_time_unix_nano,
                        values_of(each.attributes), each.status.code == 2, each.trace_state,
                        resource,
                    )
                    for each in scope.spans
                ]  # fmt: skip

    def named(self, text: str) -> list[Seen]:
        return [each for each in self.spans if text in each.name]

    def one(self, text: str) -> Seen:
        (found,) = self.named(text)
        return found

    def wait(self, check: Callable[["Collector"], bool], *, tries: int = 400) -> None:
        """Until what was asked for is there: it comes behind the answer."""
        for _ in range(tries):
            if check(self):
                return
            time.sleep(0.02)
        raise AssertionError(f"it did not come: {[each.name for each in self.spans]}")


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setattr("gatewayz.telemetry.export.PERIOD_S", 0.02)
    app = Collector()
    server = Server(app)
    app.url = server.url
    yield app
    server.stop()


@pytest.fixture
async def stores(settings: Settings) -> AsyncIterator[Stores]:
    opened = open_stores(settings)
    yield opened
    await opened.close()


@pytest.fixture
def telemetry() -> dict[str, Any]:
    """Fields of the settings' section; overridden by tests that want others."""
    return {}


@pytest.fixture
def tune(
    collector: Collector, telemetry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Settings], Settings]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)

    def tuned(settings: Settings) -> Settings:
        own = replace(settings.telemetry, endpoint=collector.url, **{"sample": "1", **telemetry})
        return replace(settings, telemetry=own)

    return tuned
