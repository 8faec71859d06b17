"""What refuses to start, in one clear line: stores missing, secrets empty, a Redis that evicts."""

import subprocess
import sys
from pathlib import Path

import pytest
import redis

from functions.reconcile_ledger.job import schedule as reconcile_schedule
from gatewayz.stores.eviction import unsafe_eviction
from tests.faults.scene import Scene

ROOT = Path(__file__).resolve().parents[2]


def _start(environment: dict[str, str], *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "gatewayz.cli", *command],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "shared"), "PORT": "0"}
        | environment,
        cwd=environment["GATEWAYZ_HOME"],
        capture_output=True,
        text=True,
        timeout=30,
    )


LACKS = {
    "no database": ({"DATABASE_URL": ""}, "needs a Postgres database"),
    "no Redis": ({"REDIS_URL": ""}, "needs Redis or Valkey"),
    "an empty pepper": ({"GATEWAYZ_KEY_PEPPER": ""}, "GATEWAYZ_KEY_PEPPER must be a secret"),
    "a short pepper": ({"GATEWAYZ_KEY_PEPPER": "x" * 12}, "GATEWAYZ_KEY_PEPPER must be a secret"),
    "REST without its token": (
        {"REDIS_URL": "", "UPSTASH_REDIS_REST_URL": "https://x.example"},
        "UPSTASH_REDIS_REST_TOKEN is not set",
    ),
    "REST without its key": (
        {"DATABASE_URL": "", "SUPABASE_URL": "https://x.example"},
        "SUPABASE_SECRET_KEY is not set",
    ),
}


@pytest.mark.parametrize("lack", LACKS)
def test_F20_what_is_missing_is_one_clear_line(lack: str, environment: dict[str, str]) -> None:
    changed, line = LACKS[lack]
    Path(environment["GATEWAYZ_HOME"]).mkdir(exist_ok=True)
    answer = _start(environment | changed, "serve")
    assert answer.returncode != 0
    said = (answer.stdout + answer.stderr).strip()
    assert line in said and len(said.splitlines()) == 1, said
    assert environment["GATEWAYZ_KEY_PEPPER"] not in said


@pytest.mark.parametrize("command", ["serve", "work"])
def test_F20_a_redis_that_evicts_is_refused(command: str, environment: dict[str, str]) -> None:
    Path(environment["GATEWAYZ_HOME"]).mkdir(exist_ok=True)
    with redis.Redis.from_url(environment["REDIS_URL"]) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            answer = _start(environment, command)
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert answer.returncode != 0
    said = (answer.stdout + answer.stderr).strip()
    assert "allkeys-lru" in said and "noeviction" in said and len(said.splitlines()) == 1, said


async def test_F20_a_policy_changed_later_raises_an_alarm(world: Scene) -> None:
    assert await unsafe_eviction(world.stores.redis) is None
    await reconcile_schedule._job(world.stores)
    assert not world.logs.lines("redis_evicts")
    with world.redis() as client:
        client.config_set("maxmemory-policy", "volatile-ttl")
        try:
            await reconcile_schedule._job(world.stores)
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    (line,) = world.logs.lines("redis_evicts")
    assert line["level"] == "ERROR" and "volatile-ttl" in line["problem"]
