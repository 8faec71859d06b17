"""The template passes the linter, which also expands it as SAM does. Needs the packaging tools."""

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
