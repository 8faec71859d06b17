"""Powertools on Lambda: the same lines and metrics as elsewhere, and not a byte of it elsewhere."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from gatewayz.core.metrics import METRICS, _write_line
from gatewayz.runtime.powertools import KEYS, write_metric

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {
    "PATH": os.defpath,
    "PYTHONPATH": f"{ROOT / 'shared'}{os.pathsep}{ROOT}",
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "REDIS_URL": "redis://127.0.0.1:1",
    "GATEWAYZ_KEY_PEPPER": "p" * 32,
    "GATEWAYZ_METRICS": "Test",
}
INVOKE = """
import sys
if ON_LAMBDA:
    sys.modules["awslambdaric"] = sys
from functions.settle_charges.worker import lambda_handler
from gatewayz.core.metrics import metric
class Context:
    function_name = "settle"; memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:eu-west-1:1:function:settle"; aws_request_id = "aws-1"
record = {"messageId": "m0", "attributes": {"ApproximateReceiveCount": "1"},
          "body": '{"v": 1, "request_id": "req_1"}'}
for _ in range(2):
    try:
        lambda_handler({"Records": [record]}, Context())
    except Exception as error:
        assert type(error).__name__ == "BatchProcessingError", error
    metric("charges", status="posted")
"""


def _run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )


def _lines(text: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_lines_have_the_same_fields_with_the_invocation_added() -> None:
    there, here = (_run(f"ON_LAMBDA = {on}\n{INVOKE}") for on in (True, False))
    told, warm = [line for line in _lines(there.stderr) if line["event"] == "worker_failed"]
    plain, _ = [line for line in _lines(here.stderr) if line["event"] == "worker_failed"]
    assert plain["level"] == "WARNING" and plain["request_ids"] == ["req_1"]
    assert {k: v for k, v in told.items() if k not in (*KEYS, "at")} == {
        k: v for k, v in plain.items() if k != "at"
    }
    assert told["function_request_id"] == "aws-1" and told["function_name"] == "settle"
    assert (told["cold_start"], warm["cold_start"]) == (True, False)
    assert "p" * 32 not in there.stderr + here.stderr


def test_metrics_of_an_invocation_reach_the_output_on_both() -> None:
    there, here = (_run(f"ON_LAMBDA = {on}\n{INVOKE}") for on in (True, False))
    for output in (there.stdout, here.stdout):
        (line,) = [line for line in _lines(output) if "charges" in line]
        assert line["status"] == "posted"


@pytest.mark.parametrize("name", [name for name, known in METRICS.items() if known.aws])
def test_a_metric_is_the_same_line_by_both_writers(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    known = METRICS[name]
    labels = dict.fromkeys(known.labels, "x")
    values = [3, 50, 1] if known.kind == "histogram" else [3]
    for writer in (_write_line, write_metric):
        writer("Test", name, known, labels, values)
    ours, theirs = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    for line in (ours, theirs):
        timestamp = line["_aws"].pop("Timestamp")
        assert abs(timestamp - ours.get("_", timestamp)) < 60_000
        if not isinstance(line[name], list):
            line[name] = [line[name]]
        directive = line["_aws"]["CloudWatchMetrics"][0]
        for each in directive["Metrics"]:
            each.pop("StorageResolution", None)
        directive["Dimensions"] = [d for d in directive["Dimensions"] if d]
    assert ours == theirs


@pytest.mark.parametrize("module", ["functions.chat.app", "gatewayz.runtime.entries"])
def test_nothing_of_it_is_loaded_elsewhere(module: str) -> None:
    code = f"import sys, {module}; print(any('powertools' in name for name in sys.modules))"
    assert _run(code).stdout.strip() == "False"


def test_nobody_traces_by_it() -> None:
    for folder in ("shared", "functions"):
        for path in (ROOT / folder).rglob("*.py"):
            assert "aws_xray" not in path.read_text(), path
            assert "aws_lambda_powertools.tracing" not in path.read_text(), path
