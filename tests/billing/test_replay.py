"""`gatewayz stripe replay`: a stored event, or one that Stripe still has, applied once more."""

import asyncio
from typing import Any

import pytest
from typer.testing import CliRunner

from gatewayz.cli.app import app
from gatewayz.core.errors import GatewayError
from tests.billing.conftest import CENT, Till

PAID = 10 * 95 * CENT


@pytest.fixture(autouse=True)
def environment_of_a_command(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = till.world.settings.stores
    monkeypatch.setenv("DATABASE_URL", stores.database_url)
    monkeypatch.setenv("REDIS_URL", stores.redis_url)
    monkeypatch.setenv("GATEWAYZ_STAGE", "test")
    monkeypatch.setenv("GATEWAYZ_KEY_PEPPER", till.world.settings.keys.pepper)


async def command(*arguments: str) -> Any:
    """In a thread: a command has a loop of its own."""
    run = CliRunner().invoke
    return await asyncio.to_thread(run, app, ["stripe", "replay", *arguments])


async def test_a_stored_event_is_applied_again_and_again_to_one_state(till: Till) -> None:
    opened = await till.checkout(1000)
    till.fake.checkout.pay(opened["session_id"])
    await till.fake.deliveries.deliver(till.http)
    done = await command("--since", "1h", "--waiting")
    assert done.exit_code == 0, done.output
    assert "applied  paid" in done.stdout
    assert await till.balance() == PAID
    again = await command("--since", "1h")
    assert again.exit_code == 0
    assert len(again.stdout.splitlines()) > 3
    nothing = await command("--since", "1h", "--waiting")
    assert nothing.stdout == ""
    assert await till.balance() == PAID
    assert await till.violations() == []


async def test_an_event_that_never_came_is_fetched(till: Till) -> None:
    opened = await till.checkout(1000)
    till.fake.checkout.pay(opened["session_id"])
    name = next(e["id"] for e in till.fake.stripe.events if e["type"] == "payment_intent.succeeded")
    done = await command(name)
    assert done.stdout == f"{name}  applied  paid\n"
    assert await till.balance() == PAID
    unknown = await command("evt_nothing")
    assert unknown.exit_code == 1
    assert isinstance(unknown.exception, GatewayError)


async def test_it_wants_one_event_or_a_time(till: Till) -> None:
    assert (await command()).exit_code == 2
    assert (await command("evt_1", "--since", "1h")).exit_code == 2
    assert (await command("--since", "yesterday")).exit_code == 2
