"""One version, told everywhere; changes from the commits; a marker that dashboards show."""

import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gatewayz import VERSION
from gatewayz.cli.app import app
from gatewayz.cli.release import changelog_text
from gatewayz.core.metrics import use_sink
from gatewayz.core.settings import Settings, load_settings
from gatewayz.stores.open import Stores
from gatewayz.telemetry.totals import read_totals
from tests.telemetry.conftest import Collector
from tests.world import World

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_the_version_stands_in_one_place_and_the_package_says_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


class TestTold:
    @pytest.fixture
    def tune(self, collector: Collector) -> Callable[[Settings], Settings]:
        return lambda s: replace(s, telemetry=replace(s.telemetry, commit=COMMIT))

    async def test_every_answer_and_the_health_page_say_which_release_it_is(
        self, world: World
    ) -> None:
        account = await world.account()
        health = (await world.client.get("/health")).json()
        assert (health["version"], health["commit"]) == (VERSION, COMMIT[:12])
        await world.client.get("/v1/credits", headers=account.headers)
        answers = [
            await world.post(account),
            await world.post(account, stream=True),
            await world.post(account, "no/such"),
            await world.client.get("/v1/credits", headers=account.headers),
            await world.client.post("/v1/embeddings", json={}),
        ]
        told = {answer.headers["x-gatewayz-version"] for answer in answers}
        assert told == {f"{VERSION}+{COMMIT[:12]}"}


def test_a_platform_may_tell_the_commit() -> None:
    assert load_settings({"VERCEL_GIT_COMMIT_SHA": COMMIT}).telemetry.revision == COMMIT[:12]
    assert load_settings({}).telemetry.revision == ""


def test_changes_are_the_commits_by_version(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    for subject in ("First thing", "wip half of it", "Second: with words", "fixup! First thing"):
        git("commit", "-q", "--allow-empty", "-m", subject)
    git("tag", "v0.1.0")
    git("commit", "-q", "--allow-empty", "-m", "Third thing")
    text = changelog_text(tmp_path)
    head, _, rest = text.partition("## Unreleased")
    assert head.startswith("# Changes")
    unreleased, _, first = rest.partition("## 0.1.0 (")
    assert "- Third thing" in unreleased
    assert first.index("- Second: with words") < first.index("- First thing")
    assert "wip" not in text and "fixup" not in text


def test_the_changes_of_this_repository_are_written() -> None:
    text = (ROOT / "docs" / "changelog.md").read_text()
    assert text.startswith("# Changes\n")
    assert text.count("\n- ") > 10


async def test_a_deployment_leaves_a_marker(
    environment: dict[str, str], stores: Stores, collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    import asyncio

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GATEWAYZ_METRICS_TOKEN", "token")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("GATEWAYZ_COMMIT", COMMIT)
    try:
        done = await asyncio.to_thread(CliRunner().invoke, app, ["release", "mark"])
    finally:
        use_sink("totals", None)
        use_sink("otlp", None)
    assert done.exit_code == 0, done.output
    totals, _ = await read_totals(stores.redis)
    (marked,) = totals["deployed_at"]
    assert marked.labels == (f"{VERSION}+{COMMIT[:12]}",)
    span: Any = collector.one("deployment")
    assert span.values["deployment.status"] == "succeeded"


def test_nobody_to_tell_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GATEWAYZ_METRICS_TOKEN", "OTEL_EXPORTER_OTLP_ENDPOINT", "SENTRY_DSN"):
        monkeypatch.delenv(name, raising=False)
    assert CliRunner().invoke(app, ["release", "mark"]).exit_code == 1
