"""The schedule that looks after usage: what it does in one round, and that its parts fail apart."""

from typing import Any

import pytest

from functions.review_usage.job import run_review
from gatewayz.core.errors import StoreUnavailable
from gatewayz.stores.open import Stores
from gatewayz.usage import review
from tests.usage.test_api import asked
from tests.world import World


async def test_a_round_adds_up_signs_exports_and_does_the_days_work_once(world: World) -> None:
    account = await world.account()
    await asked(world, account, 3)
    body = {"start": "2026-01-01", "end": "2026-12-31"}
    await world.client.post("/v1/exports", headers=account.headers, json=body)
    first = await run_review(world.stores)
    assert first["folded"] == {"folded": 3, "accounts": 1}
    assert first["receipts"] == {"made": 3}
    assert first["exports"] == 1
    assert first["alerts"] == {"told": 0}
    assert first["checked"] == 0
    assert first["costs"]["asked"] == 0
    assert first["retention"] == {"deleted": 0, "hours": 0, "dropped": 0}
    again = await run_review(world.stores)
    assert again["folded"] == {"folded": 0, "accounts": 0}
    assert [again[part] for part in ("alerts", "credits", "costs", "checked", "retention")] == [
        None
    ] * 5


async def test_a_part_that_fails_leaves_the_others_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await world.account()
    await asked(world, account, 1)
    usual = review._rpc

    async def rpc(stores: Stores, name: str, **params: Any) -> Any:
        if name == "fold_usage":
            raise StoreUnavailable("gone for a moment")
        return await usual(stores, name, **params)

    monkeypatch.setattr(review, "_rpc", rpc)
    done = await run_review(world.stores)
    assert done["folded"] is None
    assert done["receipts"] == {"made": 1}


async def test_a_sum_that_is_off_is_told_as_every_violation_of_the_ledger(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    import asyncpg

    account = await world.account()
    await asked(world, account, 1)
    await world.stores.postgres.rpc("fold_usage", {"most": 10})
    connection = await asyncpg.connect(world.settings.stores.database_url)
    await connection.execute("update ledger.usage_days set nanos = nanos + 1")
    await connection.close()
    assert await review.check_sums(world.stores) == 1
    assert "ledger_violation" in caplog.text
