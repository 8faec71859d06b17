"""A deployment stops: what runs ends honestly, what was used is paid, nothing stays held (D38)."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.world import World, eventually

ROOT = Path(__file__).resolve().parents[2]


class Process:
    """functions/chat exactly as run.sh starts it, in a process of its own."""

    def __init__(self, environment: dict[str, str], port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "uvicorn", "functions.chat.app:app",
                "--port", str(port), "--loop", "uvloop",
                "--http", "gatewayz.net.server:Http", "--ws", "none", "--lifespan", "off",
                "--no-access-log", "--timeout-graceful-shutdown", "20",
            ],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}/shared:{ROOT}"} | environment,
        )  # fmt: skip

    async def ready(self) -> None:
        async def answers() -> bool:
            try:
                async with httpx.AsyncClient(base_url=self.url) as client:
                    return (await client.get("/healthz")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(answers)

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        return self._process.wait(30)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    started: list[Process] = []
    yield started
    for process in started:
        process.kill()


async def test_sigterm_ends_running_streams_with_an_error_and_settles_them(
    world: World, environment: dict[str, str], processes: list[Process], free_port: int
) -> None:
    account = await world.account()
    process = Process(
        environment
        | {
            "GATEWAYZ_SANDBOX_URL": world.settings.catalog.sandbox_url,
            "GATEWAYZ_STOP_GRACE_S": "0.2",
        },
        free_port,
    )
    processes.append(process)
    await process.ready()
    sandbox = httpx.AsyncClient(base_url=world.settings.catalog.sandbox_url.removesuffix("/v1"))
    body = {
        "model": "sandbox/mock-n9-lockstep.stop",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
    }
    async with sandbox, httpx.AsyncClient(base_url=process.url, timeout=30) as client:
        for _ in range(3):
            await sandbox.post("/lockstep/stop/release")
        async with client.stream(
            "POST", "/v1/chat/completions", json=body, headers=account.headers
        ) as answer:
            lines = []
            async for line in answer.aiter_lines():
                lines.append(line)
                if "w2" in line:
                    process.terminate()
    frames = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert frames[-1]["error"]["code"] == "overloaded"
    assert "data: [DONE]" not in lines
    assert process.wait() in (0, -signal.SIGTERM)  # uvicorn raises the signal again at its end

    assert await world.settle() == 1
    (row,) = await world.requests(account)
    assert (row["outcome"], row["estimated"]) == ("cut", True)
    assert row["charge_nanos"] > 0
    await world.sweep()
    assert (await world.balance(account))["held_nanos"] == 0
    assert await world.violations() == []


async def test_sigterm_ends_a_request_that_waits_for_its_whole_answer_and_frees_its_hold(
    world: World, environment: dict[str, str], processes: list[Process], free_port: int
) -> None:
    account = await world.account()
    process = Process(
        environment
        | {
            "GATEWAYZ_SANDBOX_URL": world.settings.catalog.sandbox_url,
            "GATEWAYZ_STOP_GRACE_S": "0.2",
        },
        free_port,
    )
    processes.append(process)
    await process.ready()
    before = world.sandbox.requests
    body = {
        "model": "sandbox/mock-hang",
        "messages": [{"role": "user", "content": "hello"}],
    }
    async with httpx.AsyncClient(base_url=process.url, timeout=30) as client:
        waiting = asyncio.create_task(
            client.post("/v1/chat/completions", json=body, headers=account.headers)
        )

        async def reached() -> bool:
            return world.sandbox.requests > before

        await eventually(reached)
        process.terminate()
        answer = await waiting
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
    assert "retry-after" in answer.headers
    assert process.wait() in (0, -signal.SIGTERM)

    assert await world.settle() == 1
    (row,) = await world.requests(account)
    assert (row["outcome"], row["charge_nanos"]) == ("failed", 0)
    await world.sweep()
    assert (await world.balance(account))["held_nanos"] == 0
    assert await world.violations() == []
