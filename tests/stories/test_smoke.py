"""`gatewayz smoke` against a whole gateway, and against gateways with one thing wrong."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gatewayz.cli.smoke import Smoke
from tests.world import Server, World, mount

ROOT = Path(__file__).resolve().parents[2]
# Slow enough that it shows whether events come one by one.
MODEL = "sandbox/mock-n20-d20"


async def with_settling(world: World, work: Awaitable[Any]) -> Any:
    """Do `work` while the settle worker runs beside it."""

    async def settle() -> None:
        while True:
            await world.settle()
            await asyncio.sleep(0.05)

    worker = asyncio.create_task(settle())
    try:
        return await work
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


def lines_of(output: str) -> dict[str, str]:
    """What was said of each check: `ok` or `FAIL`, and the words."""
    return {line[6:18].strip(): line[:4].strip() + " " + line[18:] for line in output.splitlines()}


async def test_a_good_deployment_passes_and_the_key_is_not_printed(
    world: World, tmp_path: Path
) -> None:
    account = await world.account()
    path = os.pathsep.join((str(ROOT / "shared"), str(ROOT)))

    async def run() -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gatewayz.cli", "smoke", world.url + "/v1", "--model", MODEL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": path, "GATEWAYZ_API_KEY": account.key},
        )  # fmt: skip
        out, _ = await process.communicate()
        return process.returncode, out.decode()

    code, output = await with_settling(world, run())
    assert code == 0, output
    said = lines_of(output)
    assert "14 of 14 checks hold." in output
    assert {line.split()[0] for name, line in said.items() if name in NAMES} == {"ok"}
    assert said["wrong model"] == "ok 404 model_not_found"
    assert account.key not in output
    balance = await world.balance(account)
    assert len(await world.requests(account)) == 4
    assert balance["charged_nanos"] > 0
    assert await world.violations() == []


NAMES = {
    "health", "models", "credits", "answer", "stream", "messages", "embeddings", "wrong key",
    "wrong model", "wrong body", "settled", "receipts", "arrival", "charged",
}  # fmt: skip


async def examine(
    world: World, capsys: pytest.CaptureFixture[str], url: str, key: str, *, model: str = MODEL
) -> tuple[bool, dict[str, str]]:
    held = await with_settling(world, Smoke(url, key, model=model, wait_s=5).run())
    output = capsys.readouterr().out
    assert key not in output
    return held, lines_of(output)


async def test_without_a_model_the_cheapest_with_a_price_is_asked(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    account = await world.account()
    held, said = await examine(world, capsys, world.url, account.key, model="")
    assert held, said
    assert "is asked" in said["models"]


async def test_a_deployment_that_does_not_settle_fails(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    account = await world.account()
    held = await Smoke(world.url, account.key, model=MODEL, wait_s=0).run()
    said = lines_of(capsys.readouterr().out)
    assert not held
    assert said["stream"].startswith("ok")
    assert "does the settle worker run?" in said["settled"]
    assert said["charged"] == "FAIL not everything is settled"


async def test_a_wrong_key_and_an_address_where_nobody_is_fail(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    held, said = await examine(world, capsys, world.url, "gw_test_" + "x" * 43)
    assert not held
    assert said["health"].startswith("ok")
    assert said["answer"].startswith("FAIL HTTP 401")
    held, said = await examine(world, capsys, "http://127.0.0.1:1", "a-key")
    assert not held
    assert said["health"].startswith("FAIL ConnectFailed")


def bent(app: Any, change: Callable[[dict[str, Any]], None]) -> Any:
    """The app, its answers collected and changed before they go out in one piece."""

    async def bend(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        answer: dict[str, Any] = {"path": scope["path"], "body": b""}

        async def collect(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer["start"] = message
            else:
                answer["body"] += message.get("body", b"")

        await app(scope, receive, collect)
        change(answer)
        headers = [h for h in answer["start"]["headers"] if h[0] != b"content-length"]
        await send({**answer["start"], "headers": headers})
        await send({"type": "http.response.body", "body": answer["body"]})

    return bend


def buffer(answer: dict[str, Any]) -> None:
    """Nothing is changed; that it was collected is the fault."""


def overcharge(answer: dict[str, Any]) -> None:
    if answer["path"] == "/v1/chat/completions":
        answer["body"] = answer["body"].replace(b'"cost":0.', b'"cost":9.')


def lose_done(answer: dict[str, Any]) -> None:
    answer["body"] = answer["body"].removesuffix(b"data: [DONE]\n\n")


def lose_headers(answer: dict[str, Any]) -> None:
    answer["start"]["headers"] = [
        h for h in answer["start"]["headers"] if h[0] != b"x-generation-id"
    ]


def disbelieve(answer: dict[str, Any]) -> None:
    answer["body"] = answer["body"].replace(b'"matches":true', b'"matches":false')


FAULTS = [
    (buffer, "arrival", "something buffers it"),
    (overcharge, "settled", "told $9."),
    (lose_done, "stream", "does not end with [DONE]"),
    (lose_headers, "answer", "X-Generation-Id is ''"),
    (disbelieve, "receipts", "does not add up"),
]


@pytest.mark.parametrize(("change", "check", "words"), FAULTS)
async def test_one_thing_wrong_is_found(
    world: World, capsys: pytest.CaptureFixture[str], change: Any, check: str, words: str
) -> None:
    account = await world.account()
    server = Server(bent(mount(world.settings), change))
    try:
        held, said = await examine(world, capsys, server.url, account.key)
    finally:
        server.stop()
    assert not held
    assert said[check].startswith("FAIL"), said
    assert words in said[check]
