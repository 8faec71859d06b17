"""A database that an older release filled follows to this schema with nothing lost (F22)."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import orjson
import pytest

from gatewayz.local.migrate import MIGRATIONS, migrate
from gatewayz.local.postgres import PostgresProcess
from tests.conftest import _administer, _named
from tests.release.upgrade import ROOT, NotFollowing, check_out, compare, report_of, upgrade

# What the first release would have been: one account, one ledger, one charge.
FIRST_RELEASE = "0014"


@pytest.fixture
def empty_url(postgres: PostgresProcess) -> Iterator[str]:
    _administer(postgres.url, "create database followed")
    yield _named(postgres.url, "followed")
    _administer(postgres.url, "drop database followed with (force)")


@pytest.fixture
def older(tmp_path: Path) -> Path:
    folder = tmp_path / "older"
    folder.mkdir()
    for path in MIGRATIONS.glob("*.sql"):
        if path.name[:4] <= FIRST_RELEASE:
            shutil.copy(path, folder)
    return folder


async def test_what_an_older_release_wrote_is_there_after_the_upgrade(
    empty_url: str, older: Path
) -> None:
    await migrate(empty_url, older)
    connection = await asyncpg.connect(empty_url)
    try:

        async def call(function: str, **values: object) -> dict[str, object]:
            text = orjson.dumps(values).decode()
            answer: str = await connection.fetchval(f"select api.{function}($1::jsonb)", text)
            return dict(orjson.loads(answer))

        who = {"account": "older"}
        await call("open_account", **who, name="older", stage="live")
        await call("grant_credit", **who, op_id="before", amount_nanos=7_000_000_000)
        before = await connection.fetch("select * from ledger.transfers order by 1")
        fresh = compare(older)
        assert await upgrade(empty_url, older) == fresh
        assert len(fresh) > 10
        kept = await connection.fetch("select * from ledger.transfers order by 1")
        shown = [dict(row) for row in before]
        assert [{k: row[k] for k in row if k in shown[0]} for row in map(dict, kept)] == shown
        assert await connection.fetch("select * from ledger.violations") == []
        balance = await call("get_balance", **who)
        assert balance["balance_nanos"] == 7_000_000_000
    finally:
        await connection.close()


def test_a_released_migration_may_not_change(older: Path, tmp_path: Path) -> None:
    newer = Path(shutil.copytree(MIGRATIONS, tmp_path / "newer"))
    first = min(path.name for path in older.glob("*.sql"))
    (newer / first).write_text("select 1;")
    with pytest.raises(NotFollowing, match=f"{first} was released and has changed"):
        compare(older, newer)
    (newer / first).unlink()
    with pytest.raises(NotFollowing, match=f"{first} was released and is gone"):
        compare(older, newer)


def test_a_new_migration_comes_after_those_that_were_released(older: Path, tmp_path: Path) -> None:
    newer = Path(shutil.copytree(MIGRATIONS, tmp_path / "newer"))
    (newer / "0000_too_early.sql").write_text("select 1;")
    with pytest.raises(NotFollowing, match=r"0000_too_early\.sql sorts before"):
        compare(older, newer)


def test_a_release_is_read_from_its_git_reference(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no git history here")
    check_out("HEAD", tmp_path / "tree")
    assert (tmp_path / "tree" / "supabase" / "migrations").is_dir()
    with pytest.raises(NotFollowing, match="There is no release v0-never"):
        check_out("v0-never", tmp_path / "other")


def test_the_script_says_in_one_line_what_is_wrong() -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'shared'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "tests.release.upgrade", "v0-never"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[0].startswith("There is no release v0-never")


def test_the_report_names_what_a_deploy_would_apply() -> None:
    assert "- `0099_more.sql`" in report_of("v1", ["0099_more.sql"])
    assert "stays as it is" in report_of("v1", [])
