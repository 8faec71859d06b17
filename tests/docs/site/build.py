"""Builds the documentation site: docs/, and the reference pages that the code writes of itself.

    python -m tests.docs.site.build OUT [MKDOCS]

`OUT/pages` is what the site is made of; with the path of mkdocs also `OUT/html`. Strict: a broken
link, a page outside the navigation, or an unknown anchor stops it.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import typer

from gatewayz.api.openapi import build_document
from gatewayz.api.schemas.errors import SAMPLES
from gatewayz.cli.app import app
from gatewayz.cli.roster import BEGIN, END

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).parent
DOCS = ROOT / "docs"
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?!https?:|#)[^)]*\.(?:py|toml|yaml|lua|sql)\)")
METHODS = ("get", "post", "put", "patch", "delete")


def error_help() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads((HERE / "errors.toml").read_text())


def cli_page() -> str:
    parts = ["# Command line", "", "Every command says `--help`. Generated from the commands."]
    for name, command in _commands(typer.main.get_command(app), "gatewayz"):
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
        usage = " ".join([name, *(f"{p.name.upper()}" for p in arguments if p.name)])
        parts += ["", f"## {name}", "", f"`{usage}`", "", _first_lines(command.help or "")]
        if options:
            parts += ["", "| option | meaning |", "| --- | --- |"]
            parts += [f"| `{o.opts[0]}` | {_cell(o.help or '')} |" for o in options]
    return "\n".join(parts) + "\n"


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    inner: Mapping[str, Any] = getattr(command, "commands", {})
    if not inner:
        yield name, command
    for each in sorted(inner):
        yield from _commands(inner[each], f"{name} {each}")


def _first_lines(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _first_lines(text).replace("|", "\\|")


def errors_page() -> str:
    helped = error_help()
    parts = [
        "# Errors",
        "",
        "Every answer that is no success has a stable `code`. Its form follows the API that was"
        " called: OpenAI's `error` object, Anthropic's `type`, Google's `status`, OpenRouter's"
        " number. Generated from the code; what to do is written by hand.",
        "",
        "| code | status | cause | cure |",
        "| --- | ---: | --- | --- |",
    ]
    for code, error in sorted(SAMPLES.items()):
        told = helped.get(code, {})
        cause = told.get("cause") or _cell(error.message)
        cure = told.get("cure", "The message names what to mend.")
        parts.append(f"| `{code}` | {error.status} | {_cell(cause)} | {_cell(cure)} |")
    return "\n".join(parts) + "\n"


def providers_page() -> str:
    table = (ROOT / "README.md").read_text().partition(BEGIN)[2].partition(END)[0]
    return (
        "# Providers\n\nA name in brackets has a default. `gatewayz doctor` says which are set"
        f" here. Generated from `providers.toml`.\n\n{table}"
    )


def api_page() -> str:
    document = build_document()
    groups: dict[str, list[str]] = {}
    for path, methods in sorted(document["paths"].items()):
        for method in METHODS:
            operation: dict[str, Any] | None = methods.get(method)
            if operation is not None:
                tag = (operation.get("tags") or ["other"])[0]
                summary = _cell(operation.get("summary", ""))
                row = f"| `{method.upper()}` | `{path}` | {summary} |"
                groups.setdefault(tag, []).append(row)
    parts = [
        "# API",
        "",
        "All public routes, by group. Every deployment serves the whole document at `/openapi.json`"
        " and a page to try it at `/docs`; `gatewayz openapi` prints it.",
    ]
    for tag, rows in sorted(groups.items()):
        parts += ["", f"## {tag}", "", "| | route | |", "| --- | --- | --- |", *rows]
    return "\n".join(parts) + "\n"


def metrics_page() -> str:
    text = (DOCS / "operations.md").read_text()
    table = text.partition("<!-- metrics -->\n")[2].partition("<!-- /metrics -->")[0]
    if not table:
        raise ValueError("docs/operations.md has no table of metrics")
    return f"# Metrics\n\n[Operations](../operations.md) says how they come out.\n\n{table}"


def features() -> list[dict[str, Any]]:
    """{number?, title, where, test} or {number, title, why} as docs/features.toml has them."""
    listed: list[dict[str, Any]] = tomllib.loads((DOCS / "features.toml").read_text())["feature"]
    return listed


def features_page() -> str:
    parts = [
        "# Features",
        "",
        "What it does, where, and which test proves it; what it does not do, and why. The numbers"
        " are those of the system that it follows.",
        "",
        "| | feature | where | proof |",
        "| ---: | --- | --- | --- |",
    ]
    for each in features():
        number = each.get("number", "")
        if "why" in each:
            parts.append(f"| {number} | {each['title']} | not offered | {_cell(each['why'])} |")
        else:
            where, test = each["where"], each["test"].removeprefix("tests/")
            parts.append(f"| {number} | {each['title']} | `{where}` | `{test}` |")
    return "\n".join(parts) + "\n"


def old_routes() -> list[tuple[str, str, str, str]]:
    """(method, path, same | successor | dropped, the route that answers now or the reason)."""
    lines = (DOCS / "routes.tsv").read_text().splitlines()[1:]
    return [cast("tuple[str, str, str, str]", tuple(line.split("\t"))) for line in lines]


def routes_page() -> str:
    parts = [
        "# Routes of the older system",
        "",
        "Each of its endpoints: the same here, followed by another, or dropped and why.",
        "",
        "| | route | | now, or why not |",
        "| --- | --- | --- | --- |",
    ]
    for method, path, fate, now in old_routes():
        shown = now if fate == "dropped" else f"`{now}`"
        parts.append(f"| {method} | `{path}` | {fate} | {shown} |")
    return "\n".join(parts) + "\n"


def questions() -> list[dict[str, str]]:
    """{ask, answer, file, find} and the number of the line that `find` stands in first."""
    listed: list[dict[str, str]] = tomllib.loads((HERE / "questions.toml").read_text())["question"]
    for each in listed:
        lines = (ROOT / each["file"]).read_text().splitlines()
        place = next((n for n, line in enumerate(lines, 1) if each["find"] in line), None)
        if place is None:
            raise ValueError(f"{each['file']} has no line with {each['find']!r}")
        each["line"] = str(place)
    return listed


def questions_page() -> str:
    parts = [
        "# Twenty questions",
        "",
        "What somebody new asks, and where the answer stands. Found by the README, these pages and"
        " the names alone; what could not be found so was renamed.",
    ]
    for each in questions():
        place = f"`{each['file']}:{each['line']}`"
        parts += ["", f"**{each['ask']}**", "", f"{each['answer']} {place}"]
    return "\n".join(parts) + "\n"


def contributing_page() -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    return re.sub(r"\[([^\]]+)\]\((?:docs/)([^)]+)\)", r"[\1](\2)", text)


GENERATED = {
    "reference/cli.md": cli_page,
    "reference/errors.md": errors_page,
    "reference/providers.md": providers_page,
    "reference/api.md": api_page,
    "reference/metrics.md": metrics_page,
    "reference/features.md": features_page,
    "reference/routes.md": routes_page,
    "contributing.md": contributing_page,
    "questions.md": questions_page,
}


def lay_pages(out: Path) -> Path:
    """docs/ and the generated pages, as the site is built from them."""
    pages = out / "pages"
    shutil.copytree(DOCS, pages, dirs_exist_ok=True)
    for name, write in GENERATED.items():
        (pages / name).parent.mkdir(parents=True, exist_ok=True)
        (pages / name).write_text(write())
    for page in pages.rglob("*.md"):
        # What is no page of the site is named there, not linked.
        page.write_text(_OUTSIDE.sub(r"\1", page.read_text()))
    return pages


def main(out: str, mkdocs: str | None = None) -> None:
    folder = Path(out).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    lay_pages(folder)
    shutil.copy(HERE / "mkdocs.yml", folder)
    if mkdocs is not None:
        command = [mkdocs, "build", "--strict", "--config-file", str(folder / "mkdocs.yml")]
        environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
        sys.exit(subprocess.run(command, check=False, env=environment).returncode)


if __name__ == "__main__":
    main(*sys.argv[1:3])
