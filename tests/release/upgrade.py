"""Can this tree follow the release at a git reference without stopping anything? (F22)

    python -m tests.release.upgrade v1.4.0 [report.md]

Its migrations must still stand here unchanged; its data must survive the new ones; and its own code
must pass its own contract suite on the new schema, because both run at once during a deploy.
"""

import asyncio
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from gatewayz.local.migrate import MIGRATIONS, migrate, pending_migrations
from gatewayz.local.postgres import start_postgres

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = Path("supabase/migrations")


class NotFollowing(Exception):
    """This tree cannot be deployed over that release; the text says why."""


def check_out(reference: str, to: Path) -> None:
    """The files of a git reference, without its history."""
    command = ["git", "archive", "--format=tar", reference]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True)
    if answer.returncode:
        raise NotFollowing(f"There is no release {reference}: {answer.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(answer.stdout)) as archive:
        archive.extractall(to, filter="data")


def compare(before: Path, after: Path = MIGRATIONS) -> list[str]:
    """Names of the migrations that are new; NotFollowing when an old one changed or went."""
    old = {path.name: path.read_bytes() for path in before.glob("*.sql")}
    new = {path.name: path.read_bytes() for path in after.glob("*.sql")}
    for name, text in sorted(old.items()):
        if name not in new:
            raise NotFollowing(f"{name} was released and is gone: write one that takes it back.")
        if new[name] != text:
            raise NotFollowing(f"{name} was released and has changed: write a new migration.")
    fresh = sorted(new.keys() - old.keys())
    if old and fresh and fresh[0] < max(old):
        raise NotFollowing(f"{fresh[0]} sorts before {max(old)}, which was released already.")
    return fresh


async def upgrade(url: str, before: Path) -> list[str]:
    """Apply the old schema, then what is new; the names of what was applied on top."""
    await migrate(url, before)
    waiting = await pending_migrations(url)
    applied = await migrate(url)
    if applied != waiting:
        raise NotFollowing(f"A dry run named {waiting}, but {applied} was applied.")
    return applied


def run_old_contract(tree: Path) -> None:
    """The old code's contract suite, with the new schema laid under it."""
    shutil.copytree(MIGRATIONS, tree / SCHEMA, dirs_exist_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contract"]
    environment = {**os.environ, "PYTHONPATH": f"{tree / 'shared'}{os.pathsep}{tree}"}
    answer = subprocess.run(command, cwd=tree, env=environment)
    if answer.returncode:
        raise NotFollowing("The old code fails on the new schema: expand first, contract later.")


def report_of(reference: str, fresh: list[str]) -> str:
    """What a deploy of this tree does to a database of that release, as Markdown."""
    if not fresh:
        return f"Over `{reference}` the schema stays as it is.\n"
    lines = [f"- `{name}`" for name in fresh]
    return "\n".join([f"Over `{reference}` these migrations are applied:", "", *lines, ""])


def main(reference: str, report: str | None = None) -> None:
    with tempfile.TemporaryDirectory(prefix="release-") as folder:
        tree = Path(folder) / "tree"
        check_out(reference, tree)
        fresh = compare(tree / SCHEMA)
        server = start_postgres(Path(folder) / "postgres", durable=False)
        try:
            asyncio.run(upgrade(server.url, tree / SCHEMA))
        finally:
            server.stop()
        run_old_contract(tree)
    text = report_of(reference, fresh)
    print(text, end="")
    if report is not None:
        Path(report).write_text(text)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except (NotFollowing, TypeError) as problem:
        sys.exit(str(problem))
