"""The data plane as a small serverless instance has it: 0.15 of a core, managed stores, TLS, one
request at a time; then 64 streams in one process. Beside it bench/heavy.py, the same shape made of
FastAPI, httpx and SDKs.

    python bench/serverless.py                    # both, as a table
    python bench/serverless.py --keep             # and into bench/measurements.json

Cold start and time to first token are taken under a CPU quota where a control group can be made,
else the CPU time is divided by the share, which the output says. CPU is taken without a quota.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import httpx

TREE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TREE / "shared"), str(TREE)]

from harness import cpu_s  # noqa: E402
from quota import SHARE, Quota  # noqa: E402
from stack import PEPPER, open_for_business  # noqa: E402

MEASUREMENTS = TREE / "bench" / "measurements.json"
COLD_STARTS, WHOLE, SHORT, LONG, FIRST = 3, 150, 60, 8, 25
CHUNKS = 100
STREAMS, STREAM_CHUNKS, GAP_MS = 64, 100, 20
MESSAGES_A_BATCH = 10
REST_S = 0.1
PROMPT = "Tell me, at some length, how a request finds its answer. " * 16


class App:
    """One started gateway."""

    def __init__(self, name: str, environ: dict[str, str], quota: Quota | None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        uvicorn = ["-m", "uvicorn", "bench.heavy:app", "--port", str(port), "--loop", "uvloop"]
        uvicorn += ["--http", "httptools", "--no-access-log", "--lifespan", "off"]
        uvicorn += ["--log-level", "warning"]
        command = (
            ["sh", str(TREE / "functions/chat/run.sh")]
            if name == "ours"
            else [sys.executable, *uvicorn]
        )
        self.ready_cpu_s = 0.0
        self.started_s = time.monotonic()
        self.process = subprocess.Popen(
            command,
            env=environ | {"PORT": str(port)},
            preexec_fn=quota.join if quota else None,
        )

    async def first_answer(self, http: httpx.AsyncClient, body: dict[str, Any]) -> float:
        """Seconds from the start of the process to its first good answer."""
        while True:
            try:
                answer = await http.get(self.url + "/healthz")
                break
            except httpx.TransportError:
                if self.process.poll() is not None:
                    sys.exit("the gateway ended; see above")
                await asyncio.sleep(0.01)
        self.ready_cpu_s = self.cpu_s
        answer = await http.post(self.url + "/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        return time.monotonic() - self.started_s

    @property
    def cpu_s(self) -> float:
        return cpu_s(self.process.pid)

    @property
    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def request(model: str, *, stream: bool) -> dict[str, Any]:
    message = {"role": "user", "content": PROMPT}
    return {"model": f"sandbox/{model}", "stream": stream, "messages": [message]}


async def run_stream(http: httpx.AsyncClient, url: str, body: dict[str, Any]) -> float:
    """One stream to its end; seconds to its first event."""
    started_s, first_s, tail = time.monotonic(), 0.0, b""
    async with http.stream("POST", url, json=body) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for block in answer.aiter_raw():
            first_s = first_s or time.monotonic() - started_s
            tail = (tail + block)[-64:]
    assert tail.endswith(b"data: [DONE]\n\n"), tail
    return first_s


class Profile:
    """Measures one gateway between the stores of one `around` process."""

    def __init__(self, name: str, environ: dict[str, str], around: dict[str, Any], key: str):
        self._name, self._environ, self._around = name, environ, around
        self._headers = {"authorization": f"Bearer {key}"}
        self._tls = ssl.create_default_context(cafile=around["certificate"])

    async def measure(self, quota: Quota) -> dict[str, Any]:
        async with httpx.AsyncClient(
            headers=self._headers, timeout=60, verify=self._tls, limits=httpx.Limits()
        ) as http:
            found = await self._small(http, quota)
            app = App(self._name, self._environ, None)
            try:
                await app.first_answer(http, request("mock-n20", stream=False))
                found |= await self._one_at_a_time(http, app)
                found |= await self._many(http, app)
            finally:
                app.stop()
        return found

    async def _small(self, http: httpx.AsyncClient, quota: Quota) -> dict[str, Any]:
        """Cold starts and first tokens, under the quota."""
        body = request("mock-n20", stream=False)
        colds, ready, cpus, firsts, direct = [], [], [], [], []
        stream = request("mock-n5-t20-d5", stream=True)
        plain = stream | {"model": "mock-n5-t20-d5"}
        upstream = f"https://localhost:{self._around['ports']['upstream']}/v1/chat/completions"
        for start in range(COLD_STARTS):
            app = App(self._name, self._environ, quota)
            try:
                colds.append(await app.first_answer(http, body))
                ready.append(app.ready_cpu_s)
                cpus.append(app.cpu_s)
                for _ in range(FIRST if start == COLD_STARTS - 1 else 0):
                    await asyncio.sleep(REST_S)
                    direct.append(await run_stream(http, upstream, plain))
                    url = app.url + "/v1/chat/completions"
                    firsts.append(await run_stream(http, url, stream))
                rss_mb = app.rss_mb
            finally:
                app.stop()
        real = quota.folder is not None
        return {
            "quota": "control group" if real else "CPU time divided by the share",
            "cold_start_s": median(colds) if real else median(cpus) / SHARE,
            "cold_start_cpu_ms": median(cpus) * 1000,
            "cold_imports_cpu_ms": median(ready) * 1000,
            "added_first_token_ms": (median(firsts) - median(direct)) * 1000 if real else None,
            "rss_one_mb": rss_mb,
        }

    async def _counts(self, http: httpx.AsyncClient) -> dict[str, Any]:
        url = f"https://localhost:{self._around['ports']['upstream']}/counts"
        counts: dict[str, Any] = (await http.get(url)).json()
        return counts

    async def _one_at_a_time(self, http: httpx.AsyncClient, app: App) -> dict[str, Any]:
        url, body = app.url + "/v1/chat/completions", request("mock-n20", stream=False)
        for _ in range(10):
            await http.post(url, json=body)
        before, used_s = await self._counts(http), app.cpu_s
        for _ in range(WHOLE):
            assert (await http.post(url, json=body)).status_code == 200
        whole_s, after = app.cpu_s - used_s, await self._counts(http)
        calls = {name: (after[name] - before[name]) / WHOLE for name in ("redis", "sqs")}
        used_s = app.cpu_s
        for _ in range(SHORT):
            await run_stream(http, url, request("mock-n1-d10", stream=True))
        short_us = (app.cpu_s - used_s) / SHORT * 1e6
        before, used_s = await self._counts(http), app.cpu_s
        for _ in range(LONG):
            await run_stream(http, url, request(f"mock-n{CHUNKS + 1}-d10", stream=True))
        long_us = (app.cpu_s - used_s) / LONG * 1e6
        after = await self._counts(http)
        return {
            "cpu_per_whole_us": whole_s / WHOLE * 1e6,
            "whole_at_share_ms": whole_s / WHOLE * 1e3 / SHARE,
            "cpu_per_stream_us": short_us,
            "cpu_per_chunk_us": (long_us - short_us) / CHUNKS,
            "redis_per_request": calls["redis"],
            "sqs_per_request": calls["sqs"],
            "redis_per_stream_of_101": (after["redis"] - before["redis"]) / LONG,
        }

    async def _many(self, http: httpx.AsyncClient, app: App) -> dict[str, Any]:
        """64 streams at once, as one process of a multi-stream runtime carries them."""
        url = app.url + "/v1/chat/completions"
        body = request(f"mock-n{STREAM_CHUNKS}-d{GAP_MS}", stream=True)
        before, used_s = await self._counts(http), app.cpu_s
        started_s = time.monotonic()
        await asyncio.gather(*[run_stream(http, url, body) for _ in range(STREAMS)])
        passed_s, used_s = time.monotonic() - started_s, app.cpu_s - used_s
        after = await self._counts(http)
        return {
            "cpu_per_chunk_of_64_us": used_s / STREAMS / STREAM_CHUNKS * 1e6,
            "share_of_core_of_64": used_s / passed_s,
            "sqs_per_request_of_64": (after["sqs"] - before["sqs"]) / STREAMS,
            "rss_64_mb": app.rss_mb,
        }


async def settle(settings: Any, bodies: list[str]) -> dict[str, Any]:
    """What settling costs the worker's process, in batches as Lambda hands them over."""
    from gatewayz.stores.open import open_stores

    stores = open_stores(settings)
    messages = [json.loads(body) for body in bodies]
    batches = [
        messages[at : at + MESSAGES_A_BATCH] for at in range(0, len(messages), MESSAGES_A_BATCH)
    ]
    first = await stores.postgres.rpc("settle_charges", {"messages": batches[0]})
    assert {row["status"] for row in first} == {"posted"}, first
    started_s, used_s = time.monotonic(), time.process_time()
    for batch in batches[1:]:
        await stores.postgres.rpc("settle_charges", {"messages": batch})
    passed_s, used_s = time.monotonic() - started_s, time.process_time() - used_s
    found = await stores.postgres.rpc("check_violations", {"from_zero": True}, timeout_s=60)
    assert found == [], found
    await stores.close()
    done = len(batches) - 1
    return {
        "settle_batch_ms": passed_s / done * 1000,
        "settle_cpu_per_message_us": used_s / done / MESSAGES_A_BATCH * 1e6,
    }


@contextmanager
def surroundings(home: Path) -> Iterator[tuple[dict[str, str], dict[str, Any], str]]:
    """Stores and upstream: (the variables of a function, where things are, a key)."""
    from gatewayz.core.settings import load_settings
    from gatewayz.local.migrate import apply_migrations
    from gatewayz.local.postgres import start_postgres
    from gatewayz.local.valkey import start_valkey

    postgres = start_postgres(home / "postgres", durable=True)
    valkey = start_valkey(home / "valkey", durable=True)
    script = [sys.executable, str(TREE / "bench/around.py"), "--redis", valkey.url]
    path = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{TREE / 'shared'}:{TREE}"}
    around = subprocess.Popen(
        [*script, "--folder", str(home)],
        env=path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        apply_migrations(postgres.url)
        base = {"DATABASE_URL": postgres.url, "GATEWAYZ_KEY_PEPPER": PEPPER}
        base |= {"GATEWAYZ_STAGE": "test", "GATEWAYZ_HOME": str(home), "CRON_SECRET": "c" * 32}
        key = asyncio.run(open_for_business(load_settings(base | {"REDIS_URL": valkey.url})))
        assert around.stdout is not None
        assert around.stdin is not None
        line = around.stdout.readline()
        if not line:
            sys.exit("the stores' stand-ins did not start")
        where = json.loads(line)
        at = {name: f"https://localhost:{port}" for name, port in where["ports"].items()}
        environ = path | base | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "UPSTASH_REDIS_REST_URL": at["upstash"],
            "UPSTASH_REDIS_REST_TOKEN": where["token"],
            "GATEWAYZ_REDIS_TIMEOUT_MS": "5000",  # a quota makes a slow process of a good one
            "GATEWAYZ_RPC_TIMEOUT_MS": "10000",
            "SQS_CHARGES_URL": at["sqs"] + "/1/charges",
            "AWS_ENDPOINT_URL": at["sqs"],
            "AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example",
            "GATEWAYZ_SANDBOX_URL": at["upstream"] + "/v1",
            "GATEWAYZ_LOG_LEVEL": "WARNING",
            "SSL_CERT_FILE": where["certificate"], "AWS_CA_BUNDLE": where["certificate"],
        }  # fmt: skip
        yield environ, where | {"database": postgres.url, "redis": valkey.url}, key
        around.stdin.close()
        around.wait(10)
    finally:
        if around.poll() is None:
            around.kill()
        valkey.stop()
        postgres.stop()


def table(found: dict[str, dict[str, Any]]) -> str:
    """Markdown: both gateways side by side."""
    rows = {
        "cold start to the first answer, s": "cold_start_s",
        "… of it CPU, ms": "cold_start_cpu_ms",
        "… of that until it listens, ms": "cold_imports_cpu_ms",
        "added time to first token p50, ms": "added_first_token_ms",
        "memory, one request at a time, MB": "rss_one_mb",
        "memory, 64 streams, MB": "rss_64_mb",
        "CPU per whole answer, µs": "cpu_per_whole_us",
        f"… at {SHARE} of a core, ms": "whole_at_share_ms",
        "CPU per stream, µs": "cpu_per_stream_us",
        "CPU per chunk, one stream, µs": "cpu_per_chunk_us",
        "CPU per chunk, 64 streams, all included, µs": "cpu_per_chunk_of_64_us",
        "core used by 64 streams": "share_of_core_of_64",
        "Redis commands per request": "redis_per_request",
        "SQS requests per request": "sqs_per_request",
    }
    lines = ["| | " + " | ".join(found) + " |", "| --- |" + " ---: |" * len(found)]
    for title, name in rows.items():
        cells = [each.get(name) for each in found.values()]
        shown = ["–" if cell is None else f"{cell:,.3g}" for cell in cells]
        lines.append(f"| {title} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--apps", default="ours,heavy")
    parser.add_argument("--keep", action="store_true", help=f"write {MEASUREMENTS.name}")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    home = Path(tempfile.mkdtemp(prefix="gatewayz-bench-"))
    home.chmod(0o711)
    quota = Quota()
    found: dict[str, dict[str, Any]] = {}
    try:
        with surroundings(home) as (environ, where, key):
            for name in options.apps.split(","):
                found[name] = asyncio.run(Profile(name, environ, where, key).measure(quota))
                if name == "ours":
                    found[name] |= asyncio.run(settle_all(environ, where))
    finally:
        quota.close()
        shutil.rmtree(home, ignore_errors=True)
    print(
        f"{SHARE} of a core by {found[next(iter(found))]['quota']}; load {os.getloadavg()[0]:.1f}"
    )
    print(table(found))
    if options.keep:
        keep(found)
    return 0


async def settle_all(environ: dict[str, str], where: dict[str, Any]) -> dict[str, Any]:
    from gatewayz.core.settings import load_settings

    tls = ssl.create_default_context(cafile=where["certificate"])
    async with httpx.AsyncClient(verify=tls) as http:
        url = f"https://localhost:{where['ports']['upstream']}/counts"
        bodies = (await http.get(url)).json()["bodies"]
    variables = {"DATABASE_URL": where["database"], "REDIS_URL": where["redis"]}
    variables |= {n: environ[n] for n in ("GATEWAYZ_KEY_PEPPER", "GATEWAYZ_STAGE", "CRON_SECRET")}
    return await settle(load_settings(variables), bodies)


def keep(found: dict[str, dict[str, Any]]) -> None:
    """Into the measurements, with the date and the conditions."""
    kept = json.loads(MEASUREMENTS.read_text()) if MEASUREMENTS.exists() else {}
    quota = found[next(iter(found))].pop("quota")
    conditions = (
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores shared"
        f" with other work (load {os.getloadavg()[0]:.1f}); Upstash shim, SQS stub and upstream"
        f" over TLS 1.3 and HTTP/1.1 on loopback, durable Postgres; 1 KB prompt;"
        f" {SHARE} of a core by {quota}; CPU taken without it"
    )
    for name, values in found.items():
        values.pop("quota", None)
        rounded = {k: None if v is None else float(f"{v:.4g}") for k, v in values.items()}
        kept[name] = {"date": date.today().isoformat(), "conditions": conditions, **rounded}
    MEASUREMENTS.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    sys.exit(main())
