"""The workflows of the forge: well formed, pinned by digest, and nothing but calls of `make`.

They cannot run here, so what they call must: every step is a target of the Makefile.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".venv-release" / "bin"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# `name@digest # version`: the comment is what a reader and the updating bot go by.
PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*$")
CALL = re.compile(r"make (?P<target>[a-z-]+)(?: [A-Z]+=(?:\"\$[A-Z]+\"|[\w.-]+))*")


def _steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            for step in job["steps"]:
                yield f"{path.name}: {name}", step


def _targets() -> set[str]:
    """What the Makefile and its include declare as commands."""
    text = (ROOT / "Makefile").read_text() + (ROOT / "tests/release/release.mk").read_text()
    return {name for line in re.findall(r"^\.PHONY: (.+)$", text, re.M) for name in line.split()}


def test_there_is_a_workflow_for_every_promise() -> None:
    names = {path.stem for path in WORKFLOWS}
    assert names >= {"test", "packaging", "migrations", "deploy", "release", "dependencies"}


def test_every_step_is_a_call_of_make_or_a_pinned_action() -> None:
    targets = _targets()
    for place, step in _steps():
        if "run" in step:
            call = CALL.fullmatch(step["run"])
            assert call is not None, f"{place}: {step['run']}"
            assert call["target"] in targets, f"{place}: make {call['target']}"
        else:
            assert step.keys() <= {"uses", "with"}, place


def test_actions_are_named_by_digest_with_their_version_beside_it() -> None:
    lines = [line for path in WORKFLOWS for line in path.read_text().splitlines()]
    used = [line.strip(" -") for line in lines if "uses:" in line]
    assert used
    assert [line for line in used if not PINNED.fullmatch(line)] == []


def test_no_job_has_more_rights_than_it_names() -> None:
    for path in WORKFLOWS:
        flow = yaml.safe_load(path.read_text())
        assert flow["permissions"] == {"contents": "read"}, path.name
        for name, job in flow["jobs"].items():
            assert job["timeout-minutes"] <= 60, f"{path.name}: {name}"


def test_production_waits_for_staging_and_for_an_approval() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/deploy.yml").read_text())["jobs"]
    assert jobs["production"]["needs"] == "staging"
    # The environment of this name asks its reviewers (docs/operations.md).
    assert jobs["production"]["environment"] == "production"
    assert jobs["production"]["if"] == "github.event_name == 'workflow_dispatch'"


def _lint(*command: str) -> None:
    if not TOOLS.exists():
        pytest.skip("make workflows installs the tools")
    answer = subprocess.run(
        [str(TOOLS / command[0]), *command[1:]], capture_output=True, text=True, cwd=ROOT
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_workflows_follow_the_schema_of_the_forge() -> None:
    files = [str(path) for path in WORKFLOWS]
    _lint("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *files)
    bot = str(ROOT / ".github/dependabot.yml")
    _lint("check-jsonschema", "--builtin-schema", "vendor.dependabot", bot)


def test_the_auditor_of_workflows_finds_nothing() -> None:
    _lint("zizmor", "--offline", "--quiet", ".github")
