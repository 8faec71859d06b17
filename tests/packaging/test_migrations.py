"""The schema from zero, and that every function the code calls by name is there."""

import ast

import asyncpg

from gatewayz.local.migrate import MIGRATIONS, migrate
from tests.packaging.deployables import ROOT


def _called(method: str) -> dict[str, str]:
    """Name and place of each `….rpc("name", …)` or `….script("name", …)` in our code."""
    found = {}
    for folder in ("shared", "functions"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(ast.Attribute(attr=name), [ast.Constant(str(called)), *_]):
                        if name == method:
                            found[called] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return found


async def test_migrations_apply_from_zero_once_each_in_order(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch(
        "select name from public.gatewayz_migrations order by applied_at, name"
    )
    await connection.close()
    files = sorted(path.name for path in MIGRATIONS.glob("*.sql"))
    assert [row["name"] for row in rows] == files
    assert await migrate(database_url) == []


async def test_every_function_called_by_name_exists_and_takes_one_json_object(
    database_url: str,
) -> None:
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch(
        "select p.proname as name, pg_get_function_identity_arguments(p.oid) as takes"
        " from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = 'api'"
    )
    await connection.close()
    known = {row["name"]: row["takes"] for row in rows}
    called = _called("rpc")
    assert len(called) >= 10, "the test sees the calls"
    assert {name: place for name, place in called.items() if name not in known} == {}
    assert {name for name, takes in known.items() if takes != "jsonb"} == set()


def test_every_script_called_by_name_is_packed_with_the_code() -> None:
    packed = {path.stem for path in (ROOT / "shared/gatewayz/stores/lua").glob("*.lua")}
    called = _called("script")
    assert called
    assert {name: place for name, place in called.items() if name not in packed} == {}
