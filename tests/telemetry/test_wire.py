"""The bytes we write are what the protocol's own classes read."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gatewayz.core.metrics import catalogue
from gatewayz.core.settings import SettingsError, load_settings
from gatewayz.telemetry.collector import sampler_of
from gatewayz.telemetry.context import Sampler, read_context
from gatewayz.telemetry.meter import Meter
from gatewayz.telemetry.wire import (
    ERROR,
    Span,
    known_of,
    number_attribute,
    span,
    span_of,
    text_attribute,
    trace_request,
)
from tests.telemetry.conftest import values_of

VALUE = st.one_of(
    st.text(max_size=200),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.lists(st.text(max_size=20), max_size=4),
)
NS = st.integers(0, 2**63 - 1)


@given(
    st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), st.text(max_size=300),
    NS, NS, st.dictionaries(st.text(min_size=1, max_size=40), VALUE, max_size=8), st.text(),
)  # fmt: skip
def test_any_span_is_read_back_as_it_was(
    trace_id: bytes, span_id: bytes, name: str, start: int, end: int, values: Any, message: str
) -> None:
    mine = Span(trace_id, span_id, b"", name, 2, start, end, values, ERROR, message)
    request = trace_request({"service.name": "x" * 300}, [span(mine), span(mine)], version="1")
    (group,) = ExportTraceServiceRequest.FromString(request).resource_spans
    assert values_of(group.resource.attributes) == {"service.name": "x" * 300}
    (scope,) = group.scope_spans
    assert (scope.scope.name, scope.scope.version) == ("gatewayz", "1")
    first, second = scope.spans
    assert first == second
    assert (first.trace_id, first.span_id, first.name) == (trace_id, span_id, name)
    assert (first.start_time_unix_nano, first.end_time_unix_nano) == (start, max(start, end))
    assert values_of(first.attributes) == values
    assert (first.status.code, first.status.message) == (2, message)
    assert first.flags & 1


@given(
    st.binary(min_size=8, max_size=8), st.text(max_size=200), st.text(max_size=200),
    st.integers(0, 2**62), NS, NS, st.booleans(),
)  # fmt: skip
def test_the_cheap_way_writes_the_same_span(
    parent: bytes, name: str, text: str, number: int, start: int, end: int, failed: bool
) -> None:
    known = known_of(name, 3, {"a": "b", "none": None}, failed=failed, message="why", state="s=1")
    told = text_attribute("gatewayz.request_id", text)
    told += number_attribute("gen_ai.usage.reasoning.output_tokens", number)
    ids = (b"t" * 16, b"s" * 8)
    cheap = span_of(*ids, parent, known, start, end, told)
    values = {
        "a": "b", "gatewayz.request_id": text, "gen_ai.usage.reasoning.output_tokens": number,
    }  # fmt: skip
    status = (ERROR, "why") if failed else (0, "")
    plain = span(Span(*ids, parent, name, 3, start, end, values, *status, "s=1"))
    read = [
        ExportTraceServiceRequest.FromString(trace_request({}, [each], version="1"))
        for each in (cheap, plain)
    ]
    assert read[0] == read[1]


async def test_metrics_are_read_back_as_what_was_added() -> None:
    class Kept:
        body = b""

        def add(self, part: bytes) -> None:
            self.body += part

    kept = Kept()
    meter = Meter(load_settings({}), kept)  # type: ignore[arg-type]
    known = catalogue()
    meter.add("requests", known["requests"], ["completed"], [2])
    meter.add("requests", known["requests"], ["completed"], [3])
    meter.add("duration", known["duration"], ["sandbox"], [5, 26, 10**9])
    meter.add("charge", known["charge"], ["m", "p"], [1_500_000_000])
    meter.flush()
    meter.add("ledger_violations", known["ledger_violations"], [], [4])
    meter.flush()
    meter.flush()
    groups = ExportMetricsServiceRequest.FromString(kept.body).resource_metrics
    found = {m.name: m for g in groups for s in g.scope_metrics for m in s.metrics}
    assert set(found) == {
        "gatewayz_requests", "gatewayz_duration", "gatewayz_charge", "gatewayz_ledger_violations",
    }  # fmt: skip
    (requests,) = found["gatewayz_requests"].sum.data_points
    assert requests.as_int == 5
    assert found["gatewayz_requests"].sum.aggregation_temporality == 1, "delta: processes add up"
    assert found["gatewayz_requests"].sum.is_monotonic
    (duration,) = found["gatewayz_duration"].histogram.data_points
    assert list(duration.explicit_bounds)[:3] == [0.01, 0.025, 0.05]
    assert (duration.bucket_counts[0], duration.bucket_counts[2]) == (1, 1)
    assert duration.bucket_counts[-1] == 1
    assert duration.count == 3
    assert duration.start_time_unix_nano <= duration.time_unix_nano
    assert found["gatewayz_duration"].unit == "s"
    (charge,) = found["gatewayz_charge"].sum.data_points
    assert charge.as_double == 1.5
    assert values_of(charge.attributes) == {"model": "m", "provider": "p"}
    (violations,) = found["gatewayz_ledger_violations"].gauge.data_points
    assert violations.as_int == 4


# ---------------------------------------------------------------- context


@given(st.one_of(st.text(max_size=80).map(str.encode), st.binary(max_size=80)))
def test_no_header_makes_a_request_fail(header: bytes) -> None:
    assert read_context(header, header) is None or len(header.strip()) >= 55


@pytest.mark.parametrize(
    "header",
    [
        "", "00", "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
        "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
    ],
)  # fmt: skip
def test_what_the_standard_forbids_is_no_context(header: str) -> None:
    assert read_context(header) is None


def test_a_context_of_a_later_version_is_understood() -> None:
    found = read_context("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-what-comes")
    assert found is not None
    assert found.sampled
    assert found.header() == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@given(st.binary(min_size=16, max_size=16), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_keeps_whatever_a_smaller_one_keeps(
    trace: bytes, one: float, two: float
) -> None:
    small, large = sorted((one, two))
    if Sampler(f"{small}").keeps(trace, "/v1"):
        assert Sampler(f"{large}").keeps(trace, "/v1")


def test_a_share_is_about_that_share() -> None:
    sampler = Sampler("0.25")
    kept = sum(sampler.keeps(bytes(8) + n.to_bytes(8, "big"), "/") for n in range(0, 2**64, 2**54))
    assert kept == 256


@pytest.mark.parametrize(
    ("environ", "kept"),
    [({}, 102), ({"GATEWAYZ_STAGE": "local"}, 1024), ({"GATEWAYZ_TRACE_SAMPLE": "0.5"}, 512)],
)
def test_without_a_rule_a_tenth_is_kept_and_all_on_a_local_stack(
    environ: dict[str, str], kept: int
) -> None:
    sampler = sampler_of(load_settings(environ))
    traces = (bytes(8) + n.to_bytes(8, "big") for n in range(0, 2**64, 2**54))
    assert abs(sum(sampler.keeps(trace, "/") for trace in traces) - kept) <= 1


@pytest.mark.parametrize("rule", ["2", "-1", "x", "route=0.5", "/a=", "nan"])
def test_a_rule_that_says_nothing_is_refused(rule: str) -> None:
    with pytest.raises(SettingsError):
        Sampler(rule)
