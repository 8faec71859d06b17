"""Stand-ins of the platforms' sides: Lambda's Runtime API, an HTTP front that buffers nothing as
the Web Adapter is one, Vercel's IPC socket; and the events that API Gateway, SQS and clocks send.
"""

import asyncio
import json
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ANSWER_S = 30.0
START_S = 30.0
RUNTIME = frozenset({"awslambdaric", "simplejson", "snapshot-restore-py"})
NEXT_HEADERS = {
    "Content-Type": "application/json",
    "Lambda-Runtime-Aws-Request-Id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
    "Lambda-Runtime-Deadline-Ms": "4102444800000",
    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:f",
    "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0",
}
TICK = {"version": "0", "detail-type": "Scheduled Event", "source": "aws.scheduler", "detail": "{}"}


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
        kind, answer = self.outcome(event)
        assert kind == "response", answer
        return answer

    def outcome(self, event: dict[str, Any]) -> tuple[str, Any]:
        """("response" | "error", what the function said)."""
        self._events.put(event)
        return self._answers.get(timeout=ANSWER_S)


@contextmanager
def runtime_client(
    python: Path, handler: str, task: Path, environment: Mapping[str, str]
) -> Iterator[RuntimeApi]:
    """A process of Lambda's own client in the folder `task`; `environment` is all it sees."""
    api = RuntimeApi()
    threading.Thread(target=api.server.serve_forever, daemon=True).start()
    process = subprocess.Popen(
        [str(python), "-m", "awslambdaric", handler],
        env={
            **environment,
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "AWS_LAMBDA_FUNCTION_NAME": task.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "LAMBDA_TASK_ROOT": str(task),
        },
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


# ---------------------------------------------------------------- the Web Adapter's manner


class Front:
    """Passes bytes both ways as they come, as the Web Adapter does, with the headers it adds."""

    ADDED = b"x-amzn-request-context: {}\r\nx-amzn-lambda-context: {}\r\n"

    def __init__(self, port: int) -> None:
        self._app_port = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> "Front":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far: asyncio.StreamWriter | None = None
        try:
            head = await reader.readuntil(b"\r\n")
            answers, far = await asyncio.open_connection("127.0.0.1", self._app_port)
            far.write(head + self.ADDED)
            await asyncio.gather(_pass(answers, writer), _pass(reader, far))
        except asyncio.CancelledError:
            pass
        finally:
            for end in (writer, far):
                if end is not None:
                    end.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


# ---------------------------------------------------------------- Vercel's manner


@contextmanager
def vercel_function(
    command: list[str], folder: Path, environment: Mapping[str, str], socket_path: Path
) -> Iterator[int]:
    """A function started as Vercel does, with its IPC socket; the port on which it listens."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path))
        listener.listen(1)
        listener.settimeout(START_S)
        process = subprocess.Popen(
            command, cwd=folder, env={**environment, "VERCEL_IPC_PATH": str(socket_path)}
        )
        try:
            link, _ = listener.accept()
            with link:
                link.settimeout(START_S)
                yield _port_of(link)
        finally:
            process.kill()
            process.wait()


def _port_of(link: socket.socket) -> int:
    data = b""
    ends_s = time.monotonic() + START_S
    while time.monotonic() < ends_s:
        data += link.recv(65536)
        for text in data.split(b"\0")[:-1]:
            message = json.loads(text)
            assert message["type"] != "unrecoverable-error", message["payload"]
            if message["type"] == "server-started":
                return int(message["payload"]["httpPort"])
    raise AssertionError(f"it did not start: {data!r}")
