"""`gatewayz audit` as an operator uses it."""

import asyncio
import json

import asyncpg
import pytest

from gatewayz.cli import audit
from gatewayz.core.settings import load_settings
from gatewayz.local.errors import LocalError
from gatewayz.stores.open import open_stores

EVENTS = 3


@pytest.fixture
def house(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """An account with three entries at the database that the environment names; its URL."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    async def fill() -> None:
        stores = open_stores(load_settings(environment))
        rpc = stores.postgres.rpc
        await rpc("open_account", {"account": "ann", "name": "Ann", "stage": "test"})
        for number in range(EVENTS):
            await rpc("grant_credit", {"op_id": f"g{number}", "account": "ann", "amount_nanos": 5})
        await stores.close()

    asyncio.run(fill())
    return environment["DATABASE_URL"]


def test_a_whole_chain_is_told_and_exported(
    house: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    audit.verify("ann")
    said = capsys.readouterr().out
    assert "ann is whole: 3 entries, head " in said
    monkeypatch.setattr(audit, "PAGE", 2)
    audit.export("ann")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["seq"] for row in rows] == [3, 2, 1]
    assert said.strip().endswith(rows[0]["hash"] + ".")


def test_a_broken_chain_ends_the_command_and_names_the_place(house: str) -> None:
    async def tamper() -> None:
        connection = await asyncpg.connect(house)
        await connection.execute(
            "alter table tenancy.audit disable trigger user;"
            " update tenancy.audit set details = '{}' where seq = 2"
        )
        await connection.close()

    asyncio.run(tamper())
    with pytest.raises(LocalError, match="broken at entry 2"):
        audit.verify("ann")
