"""Applies supabase/migrations in order: each file once, in one transaction of its own.

Two that start at the same time wait for each other. An applied file that has changed since is
an error, never a silent difference.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias

import asyncpg

from gatewayz.local.errors import LocalError

MIGRATIONS = Path(__file__).resolve().parents[3] / "supabase" / "migrations"
CONNECT_TIMEOUT_S = 10.0
# Every migrator of every home asks for this lock first.
LOCK = 730_500_117
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
# Supabase's REST interface shows schema public: row security without a policy hides the table.
_BOOK = """
create table if not exists public.gatewayz_migrations (
  name text primary key, digest text not null, applied_at timestamptz not null default now());
alter table public.gatewayz_migrations enable row level security;
revoke all on public.gatewayz_migrations from public;
"""


def apply_migrations(url: str, folder: Path | None = None) -> list[str]:
    """Bring the database to the newest schema; the names of the files applied now."""
    return asyncio.run(migrate(url, folder))


async def migrate(url: str, folder: Path | None = None) -> list[str]:
    """As `apply_migrations`, in a running loop."""
    files = _read(folder or MIGRATIONS)
    async with _connected(url) as connection:
        await _make_book(connection)
        fresh = await _fresh(connection, files)
        for name in fresh:
            await _apply(connection, name, files[name])
    return fresh


async def pending_migrations(url: str, folder: Path | None = None) -> list[str]:
    """Names of the files that the database lacks; changes nothing."""
    files = _read(folder or MIGRATIONS)
    async with _connected(url) as connection:
        if not await _has_book(connection):
            return list(files)
        return await _fresh(connection, files)


@contextlib.asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Connection]:
    try:
        # One statement at a time and no session state: a transaction pooler will do.
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S, statement_cache_size=0)
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError) as error:
        raise LocalError(f"The database cannot be reached: {error}") from None
    try:
        yield connection
    finally:
        await connection.close()


async def _has_book(connection: Connection) -> bool:
    found = await connection.fetchval("select to_regclass('public.gatewayz_migrations')")
    return found is not None


async def _make_book(connection: Connection) -> None:
    if not await _has_book(connection):
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1)", LOCK)
            await connection.execute(_BOOK)


async def _fresh(connection: Connection, files: dict[str, str]) -> list[str]:
    rows = await connection.fetch("select name, digest from public.gatewayz_migrations")
    known = {row["name"]: row["digest"] for row in rows}
    return [name for name, text in files.items() if _is_fresh(name, text, known)]


def _read(folder: Path) -> dict[str, str]:
    files = {file.name: file.read_text() for file in sorted(folder.glob("*.sql"))}
    if not files:
        raise LocalError(f"No migrations in {folder}")
    return files


def _is_fresh(name: str, text: str, known: dict[str, str]) -> bool:
    digest = known.get(name)
    if digest is not None and digest != _digest(text):
        raise LocalError(
            f"{name} has changed since this database applied it; write a new migration"
            " (a local database may be removed instead: delete the postgres folder of its home)."
        )
    return digest is None


async def _apply(connection: Connection, name: str, text: str) -> None:
    try:
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1)", LOCK)
            known = await connection.fetchval(
                "select 1 from public.gatewayz_migrations where name = $1", name
            )
            if known is None:  # else another start applied it while this one waited
                await connection.execute(text)
                await connection.execute(
                    "insert into public.gatewayz_migrations (name, digest) values ($1, $2)",
                    name,
                    _digest(text),
                )
    except asyncpg.PostgresError as error:
        raise LocalError(f"{name}: {error}") from error


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
