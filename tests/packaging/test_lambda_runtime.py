"""The buffered functions under Lambda's real runtime client, against a stand-in of its API.

Real stores, real layers, the events that API Gateway, SQS and the scheduler send.
"""

import json
import os
import queue
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.packaging.conftest import Platform
from tests.packaging.deployables import ALL, GLOBALS, RESOURCES, Function, link_packages

ANSWER_S = 8.0
RUNTIME = frozenset({"awslambdaric", "simplejson", "snapshot-restore-py"})
NEXT_HEADERS = {
    "Content-Type": "application/json",
    "Lambda-Runtime-Aws-Request-Id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
    "Lambda-Runtime-Deadline-Ms": "4102444800000",
    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:f",
    "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0",
}
BY_NAME = {function.name: function for function in ALL}


class RuntimeApi:
    """Hands events to the runtime client and takes its answers: /next, /response, /error."""

    def __init__(self) -> None:
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._answers: queue.Queue[tuple[str, Any]] = queue.Queue()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = json.dumps(api._events.get()).encode()
                self.send_response(200)
                for name, value in NEXT_HEADERS.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                api._answers.put((self.path.rpartition("/")[2], json.loads(body)))
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_port}"

    def invoke(self, event: dict[str, Any]) -> Any:
        """The function's answer; an error that it reports fails the test with its text."""
        self._events.put(event)
        kind, answer = self._answers.get(timeout=ANSWER_S)
        assert kind == "response", answer
        return answer


@contextmanager
def running(
    function: Function, platform: Platform, tools: Path, folder: Path, variables: dict[str, str]
) -> Iterator[RuntimeApi]:
    """A function's own process as Lambda has it: its folder, its layers, the runtime client."""
    api = RuntimeApi()
    threading.Thread(target=api.server.serve_forever, daemon=True).start()
    task = platform.deploy(function, folder)
    (site,) = (tools / "lib").glob("python3.*/site-packages")
    link_packages(RUNTIME, folder / "runtime", site)
    path = [task, platform.layer_root(function) / "python", folder / "runtime"]
    more = {
        "AWS_LAMBDA_RUNTIME_API": api.address,
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "LAMBDA_TASK_ROOT": str(task),
        "PYTHONPATH": os.pathsep.join(map(str, path)),
    }
    handler = str(function.resource.get("Handler", GLOBALS["Handler"]))
    process = subprocess.Popen(
        [str(platform.python), "-m", "awslambdaric", handler],
        env=platform.environment(function, variables | more),
        cwd=task,
    )
    try:
        yield api
        assert process.poll() is None, "the process ended between invocations"
    finally:
        process.kill()
        process.wait()
        api.server.shutdown()
        api.server.server_close()


def http_event(path: str, query: dict[str, str] | None = None, **headers: str) -> dict[str, Any]:
    """What a REST API sends for a GET."""
    return {
        "resource": path,
        "path": path,
        "httpMethod": "GET",
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": query,
        "multiValueQueryStringParameters": {k: [v] for k, v in query.items()} if query else None,
        "requestContext": {
            "path": f"/production{path}",
            "stage": "production",
            "httpMethod": "GET",
            "identity": {"sourceIp": "203.0.113.7"},
        },
        "body": None,
        "isBase64Encoded": False,
    }


def sqs_event(*bodies: str) -> dict[str, Any]:
    return {
        "Records": [
            {
                "messageId": f"message-{number}",
                "body": body,
                "attributes": {"ApproximateReceiveCount": "1"},
                "eventSource": "aws:sqs",
            }
            for number, body in enumerate(bodies)
        ]
    }


TICK = {"version": "0", "detail-type": "Scheduled Event", "source": "aws.scheduler", "detail": "{}"}


def test_status_tells_the_stores_states_and_keeps_its_connections(
    platform: Platform, tools: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    with running(BY_NAME["status"], platform, tools, tmp_path, environment) as api:
        for _ in range(3):
            answer = api.invoke(http_event("/health"))
            assert answer["statusCode"] == 200
            assert answer["isBase64Encoded"] is False
            health = json.loads(answer["body"])
            assert health["stores"] == {"postgres": "ok", "redis": "ok", "queue": "ok"}


def test_models_lists_what_could_be_served_and_keeps_ids_with_slashes(
    platform: Platform, tools: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    with running(BY_NAME["models"], platform, tools, tmp_path, environment) as api:
        answer = api.invoke(http_event("/v1/models", {"available": "all"}))
        listed = json.loads(answer["body"])["data"]
        assert len(listed) >= 3
        model_id = listed[0]["id"]
        assert "/" in model_id
        one = api.invoke(http_event(f"/v1/models/{model_id}"))
        assert (one["statusCode"], json.loads(one["body"])["id"]) == (200, model_id)
        missing = api.invoke(http_event("/v1/models/no/such"))
        assert missing["statusCode"] == 404


@pytest.mark.parametrize("name", ["keys", "billing", "usage"])
def test_a_private_function_refuses_a_stranger(
    name: str, platform: Platform, tools: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    function = BY_NAME[name]
    with running(function, platform, tools, tmp_path, environment) as api:
        path = function.routes()[0][0]
        answer = api.invoke(http_event(path, {"id": "gen-1"}, authorization="Bearer gw_live_no"))
        assert answer["statusCode"] == 401
        assert "error" in json.loads(answer["body"])


def test_settle_charges_gives_back_only_what_it_could_not_post(
    platform: Platform, tools: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    with running(BY_NAME["settle_charges"], platform, tools, tmp_path, environment) as api:
        answer = api.invoke(sqs_event("not json", json.dumps({"v": 1})))
        failed = [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
        assert failed == ["message-0", "message-1"]
        assert api.invoke(sqs_event()) == {"batchItemFailures": []}


@pytest.mark.parametrize("name", ["sweep_holds", "reconcile_ledger", "run_daily"])
def test_a_schedule_does_its_job_when_the_clock_calls(
    name: str, platform: Platform, tools: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    assert "Tick" in RESOURCES[name.title().replace("_", "")]["Properties"]["Events"]
    with running(BY_NAME[name], platform, tools, tmp_path, environment) as api:
        for _ in range(2):
            api.invoke(TICK)
