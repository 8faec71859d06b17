"""`gatewayz release …`: what changed since when, and telling everybody that a version is out."""

import asyncio
import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from gatewayz.core import clock
from gatewayz.core.metrics import flush_metrics, metric
from gatewayz.core.settings import Settings, load_settings
from gatewayz.core.version import release_of

release = typer.Typer(help="Versions: changes, markers.", no_args_is_help=True)

HEAD = "# Changes\n\nMade of the commits by `make changelog`; the newest version first.\n"
# Commits that are steps of other work, told by their first word.
STEPS = re.compile(r"wip\b|fixup!|squash!|amend!", re.IGNORECASE)
FIELD, ROW = "\x1f", "\x1e"


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def changes(folder: Path) -> Iterator[tuple[str, str, list[str]]]:
    """(version, day, subjects) from the newest on; what no tag holds yet is "Unreleased"."""
    form = f"%D{FIELD}%cs{FIELD}%s{ROW}"
    version, day, subjects = "Unreleased", "", list[str]()
    for row in _git(folder, "log", "--first-parent", f"--format={form}").split(ROW):
        names, found, rest = row.strip("\n").partition(FIELD)
        if not found:
            continue
        committed, _, subject = rest.partition(FIELD)
        tag = re.search(r"tag: v(\d+\.\d+\.\d+)", names)
        if tag:
            if subjects:
                yield version, day, subjects
            version, day, subjects = tag[1], committed, []
        day = day or committed
        if not STEPS.match(subject):
            subjects.append(subject)
    if subjects:
        yield version, day, subjects


def changelog_text(folder: Path) -> str:
    parts = [HEAD]
    for version, day, subjects in changes(folder):
        lines = "\n".join(f"- {subject}" for subject in subjects)
        parts.append(f"\n## {version} ({day})\n\n{lines}\n")
    return "".join(parts)


@release.command()
def changelog(
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("docs/changelog.md"),
) -> None:
    """Write the changes of every version, from the commits of this repository."""
    file.write_text(changelog_text(Path.cwd()))
    typer.echo(f"{file} written")


@release.command()
def mark(
    status: Annotated[str, typer.Option(help="succeeded, failed or rolled_back")] = "succeeded",
) -> None:
    """Tell metrics and traces that this version is deployed: dashboards show it."""
    settings = load_settings()
    if not settings.telemetry.watched:
        typer.echo("Nobody to tell: set GATEWAYZ_METRICS_TOKEN or OTEL_EXPORTER_OTLP_ENDPOINT.")
        raise typer.Exit(1)
    asyncio.run(_mark(settings, status))
    typer.echo(f"{release_of(settings)} {status}", file=sys.stdout)


async def _mark(settings: Settings, status: str) -> None:
    from gatewayz.stores.open import open_stores
    from gatewayz.telemetry.sinks import close_sinks, open_sinks

    stores = open_stores(settings, plane="control")
    try:
        open_sinks(settings, stores.redis)
        if status == "succeeded":
            metric("deployed_at", clock.now_ms() // 1000, version=release_of(settings))
        if settings.telemetry.endpoint:
            await _trace(settings, status)
        flush_metrics(now=True)
        await close_sinks()
    finally:
        await stores.close()


async def _trace(settings: Settings, status: str) -> None:
    """A span of its own, by the words of the conventions for deployments."""
    from opentelemetry.trace import SpanKind

    from gatewayz.telemetry.control import open_control

    own = dataclasses.replace(settings.telemetry, sample="1")  # one that is always kept
    tracer = open_control(dataclasses.replace(settings, telemetry=own))
    if tracer is not None:
        span = tracer.start(
            "deployment", SpanKind.INTERNAL, None,
            {
                "deployment.status": status,
                "deployment.environment.name": settings.stage,
                "service.version": release_of(settings),
            },
        )  # fmt: skip
        span.end()
        await tracer.close()
