"""The template passes both linters, the container's recipe its own. Needs the packaging tools."""

import os
import subprocess
from pathlib import Path

from tests.packaging.deployables import ROOT


def _lint(tools: Path, template: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(tools / "bin" / "cfn-lint"), "--regions", "us-east-1", "--", str(template)]
    environment = {"PATH": os.defpath, "AWS_DEFAULT_REGION": "us-east-1", "HOME": "/nonexistent"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)


def test_the_template_is_clean(tools: Path) -> None:
    answer = _lint(tools, ROOT / "template.yaml")
    assert (answer.returncode, answer.stdout) == (0, ""), answer.stdout + answer.stderr


def test_the_linter_sees_a_fault(tools: Path, tmp_path: Path) -> None:
    broken = tmp_path / "template.yaml"
    text = (ROOT / "template.yaml").read_text()
    broken.write_text(text.replace("BatchSize: 10", "BatchSize: ten"))
    assert _lint(tools, broken).returncode != 0


def test_sam_itself_takes_the_template(tools: Path, tmp_path: Path) -> None:
    environment = {
        "PATH": os.defpath,
        "HOME": str(tmp_path),
        "AWS_DEFAULT_REGION": "us-east-1",
        "SAM_CLI_TELEMETRY": "0",
    }
    command = [str(tools / "bin" / "sam"), "validate", "--lint", "-t", str(ROOT / "template.yaml")]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "is a valid SAM Template" in answer.stdout


def _hadolint(tools: Path, text: str) -> "subprocess.CompletedProcess[str]":
    command = [str(tools / "bin" / "hadolint"), "--failure-threshold", "info", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True)


def test_the_recipe_of_the_container_is_clean(tools: Path) -> None:
    answer = _hadolint(tools, (ROOT / "Dockerfile").read_text())
    assert (answer.returncode, answer.stdout) == (0, ""), answer.stdout + answer.stderr


def test_its_linter_sees_a_fault(tools: Path) -> None:
    text = (ROOT / "Dockerfile").read_text().replace("USER 10001", "USER root")
    assert _hadolint(tools, text).returncode != 0
