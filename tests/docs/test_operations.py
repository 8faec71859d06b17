"""The operator's page names every alarm, ERROR line, metric and secret that there is."""

import ast
import re
import sys
from pathlib import Path

from gatewayz.core.metrics import METRICS
from gatewayz.core.settings import describe_settings
from gatewayz.telemetry.prometheus import full_name
from tests.packaging.deployables import resources_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "operations.md"
START, END = "<!-- metrics -->\n", "<!-- /metrics -->"


def first_cells(section: str) -> set[str]:
    """The first column of the table under a heading."""
    text = PAGE.read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \|", text, re.MULTILINE)
    return {word.strip("` ") for row in rows[2:] for word in row.split(",")}


def error_lines() -> set[str]:
    """Events that a deployment writes at ERROR; those of the local stack are told on its page."""
    found = set()
    files = [*(ROOT / "shared" / "gatewayz").rglob("*.py"), *(ROOT / "functions").rglob("*.py")]
    for path in files:
        if {"local", "cli"} & set(path.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    ast.Attribute(ast.Name("log"), "error" | "exception" | "evidence"),
                    [ast.Constant(str(event)), *_],
                ):
                    found.add(event)
    return found


def test_every_alarm_is_explained() -> None:
    assert first_cells("Alarms") == set(resources_of("AWS::CloudWatch::Alarm"))


def test_every_error_line_is_explained() -> None:
    assert first_cells("Log lines") == error_lines()


def test_every_secret_can_be_rotated() -> None:
    secrets = {row.env for row in describe_settings() if row.secret}
    assert secrets <= first_cells("Rotate secrets")


def test_every_command_that_is_named_exists() -> None:
    from typer.main import get_command

    from gatewayz.cli.app import app

    root = get_command(app)
    for words in re.findall(r"gatewayz ((?:[a-z]+ ?)+)", PAGE.read_text()):
        command = root
        for word in words.split():
            if not hasattr(command, "commands"):
                break
            command = command.commands[word]


def test_the_table_of_metrics_is_the_catalogue() -> None:
    written = PAGE.read_text().partition(START)[2].partition(END)[0]
    assert written == metrics_table(), "run: python -m tests.docs.test_operations"


def metrics_table() -> str:
    rows = ["| metric | in Prometheus | unit | labels | meaning |", "| --- " * 5 + "|"]
    for name, known in METRICS.items():
        labels = ", ".join(f"`{label}`" for label in known.labels)
        full, aws = full_name(name, known), "" if known.aws else " (not on AWS)"
        rows.append(f"| `{name}`{aws} | `{full}` | {known.unit} | {labels} | {known.help} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    head, _, rest = PAGE.read_text().partition(START)
    PAGE.write_text(f"{head}{START}{metrics_table()}{END}{rest.partition(END)[2]}")
    sys.stdout.write("docs/operations.md written\n")
