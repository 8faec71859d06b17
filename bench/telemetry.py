"""What telemetry costs a request: CPU of the gateway with it off, on, and with the collector away.

Needs nothing of the shared benchmark: a stack of its own, a fixed answer as the upstream, plain
sockets as callers. The gateways are asked in turns; medians of the turns are told. Exit code
1 when telemetry costs more than a tenth.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import TREE, cpu_s

MODEL = "bench/model"
TOKEN = "benchmark-token-of-the-metrics-page"  # noqa: S105 - of this run alone
WHOLE = json.dumps({
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL,
    "choices": [{"index": 0, "finish_reason": "stop",
                 "message": {"role": "assistant", "content": "A short answer."}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
}).encode()  # fmt: skip
MOST = 1.10


async def serve(body: bytes, counts: list[int]) -> asyncio.Server:
    """An HTTP server that answers everything with `body`, and adds up what it was sent."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                length = request.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                counts[0] += 1
                counts[1] += len(await reader.readexactly(int(length or 0)))
                writer.write(head % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()

    return await asyncio.start_server(talk, "127.0.0.1", 0)


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


async def load(port: int, key: str, requests: int, connections: int) -> int:
    """How many of the requests were answered with a 200."""
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]})
    request = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    ).encode()
    left = [requests, 0]

    async def caller() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        good = 0
        while left[0] > 0:
            left[0] -= 1
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            answer = await reader.readexactly(int(length))
            if head.startswith(b"HTTP/1.1 200"):
                good += 1
            elif not left[1]:
                left[1] = 1
                print(head.partition(b"\r\n")[0].decode(), answer[:300].decode())
        writer.close()
        return good

    return sum(await asyncio.gather(*(caller() for _ in range(connections))))


def start_gateway(environ: dict[str, str], port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["/bin/sh", str(TREE / "functions" / "chat" / "run.sh")],
        env={**os.environ, **environ, "PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


async def ready(port: int) -> None:
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        return
    sys.exit("a gateway did not start")


async def measure(stack: dict[str, Any], turns: int, requests: int, connections: int) -> None:
    taken = [0, 0]
    collector = await serve(b"", taken)
    common = stack["environ"] | {
        "PYTHONPATH": f"{TREE / 'shared'}:{TREE}",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "BENCH_UPSTREAM_KEY": "key",
    }
    on = {"GATEWAYZ_METRICS_TOKEN": TOKEN, "GATEWAYZ_METRICS": "Bench"}
    here = f"http://127.0.0.1:{port_of(collector)}"
    kinds = {
        "off": common,
        "on": common | on | {"OTEL_EXPORTER_OTLP_ENDPOINT": here},
        "collector away": common | on | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        "on, every request traced": common
        | on
        | {"OTEL_EXPORTER_OTLP_ENDPOINT": here, "GATEWAYZ_TRACE_SAMPLE": "1"},
    }
    gateways = {}
    for number, (name, environ) in enumerate(kinds.items()):
        gateways[name] = (start_gateway(environ, 9610 + number), 9610 + number)
    figures: dict[str, list[float]] = {name: [] for name in kinds}
    try:
        for _, port in gateways.values():
            await ready(port)
            await load(port, stack["key"], 500, connections)
        for _ in range(turns):
            for name, (process, port) in gateways.items():
                before_s, begun_s = cpu_s(process.pid), time.monotonic()
                good = await load(port, stack["key"], requests, connections)
                await asyncio.sleep(2.5)  # what is sent behind the requests counts, too
                spent_s = cpu_s(process.pid) - before_s
                assert good == requests, f"{name}: {requests - good} requests were lost"
                figures[name].append(spent_s / requests * 1e6)
                print(f"{name}: {figures[name][-1]:.0f} us, {time.monotonic() - begun_s:.1f} s")
    finally:
        for process, _ in gateways.values():
            process.terminate()
            process.wait()
    off = statistics.median(figures["off"])
    print("\n| telemetry | CPU per request | against off |\n| --- | --- | --- |")
    for name, values in figures.items():
        middle = statistics.median(values)
        print(f"| {name} | {middle:.0f} us | {middle / off - 1:+.1%} |")
    print(f"\nthe collector took {taken[0]} calls, {taken[1] / 1e6:.1f} MB")
    usual = (figures["on"], figures["collector away"])
    if any(statistics.median(values) > MOST * off for values in usual):
        sys.exit(1)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--connections", type=int, default=64)
    arguments = parser.parse_args()
    upstream = await serve(WHOLE, [0, 0])
    with tempfile.TemporaryDirectory() as folder:
        stack = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs yet
            [sys.executable, str(TREE / "bench" / "stack.py"), "serve", "--home", f"{folder}/stack",
             "--upstream", f"127.0.0.1:{port_of(upstream)}", "--models", MODEL],
            env={**os.environ, "PYTHONPATH": f"{TREE / 'shared'}:{TREE}"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert stack.stdout is not None
            line = await asyncio.to_thread(stack.stdout.readline)
            await measure(
                json.loads(line), arguments.turns, arguments.requests, arguments.connections
            )
        finally:
            assert stack.stdin is not None
            stack.stdin.close()
            stack.wait(60)


if __name__ == "__main__":
    asyncio.run(main())
