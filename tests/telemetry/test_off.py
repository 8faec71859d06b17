"""Without anybody who watches, a request meets one flag and nothing of this package is loaded."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gatewayz.core.metrics import metrics_on
from gatewayz.net.asgi import Call
from tests.world import World, sandbox, world

__all__ = ["sandbox", "world"]
ROOT = Path(__file__).resolve().parents[2]
SERVE = """
import asyncio, sys
from functions.chat.app import ChatApp
from gatewayz.core.settings import load_settings

async def main():
    app = ChatApp(load_settings())
    app.gateway()
    names = [name for name in sys.modules if name.startswith(("opentelemetry", "openfeature",
             "gatewayz.telemetry", "google.protobuf", "sentry"))]
    print(*sorted(names))
    await app.gateway().close()

asyncio.run(main())
"""
FLAGS = {"gatewayz.telemetry", "gatewayz.telemetry.flags", "gatewayz.telemetry.remote_flags"}


@pytest.fixture
def tune() -> Any:
    return lambda settings: settings


@pytest.fixture
def collector() -> None:
    """Nobody listens, and nobody is told."""


async def test_a_request_is_not_traced_and_nothing_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces: list[Any] = []
    answer = Call.answer

    async def look(self: Call, *args: Any) -> None:
        traces.append(self.trace)
        await answer(self, *args)

    monkeypatch.setattr(Call, "answer", look)
    account = await world.account()
    for model in ("sandbox/echo", "no/such", "sandbox/mock-err500"):
        await world.post(account, model)
    assert traces == [None] * 3
    assert world.chat.gateway().tracer is None
    assert not metrics_on()


@pytest.mark.parametrize("watched", [False, True])
def test_the_data_plane_loads_it_only_where_somebody_watches(
    environment: dict[str, str], watched: bool
) -> None:
    environ = {**environment, "PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}/shared:{ROOT}"}
    if watched:
        environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    done = subprocess.run(
        [sys.executable, "-c", SERVE], env=environ, capture_output=True, text=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert loaded >= FLAGS, done.stderr
    assert (loaded == FLAGS) is not watched
    # The hand-written encoder stands in for these, on the hot path always.
    foreign = {name for name in loaded if not name.startswith("gatewayz.")}
    assert foreign == set()
