"""What the tests of usage share: the ledger at a fixed hour after the seeded day, and a running
gateway."""

import pytest

from tests.contract.ledger.conftest import Ledger, ledger
from tests.world import sandbox, tune, world

__all__ = ["ledger", "sandbox", "tune", "world"]

NOW = "2026-11-25T12:00:00Z"


@pytest.fixture
async def used(ledger: Ledger) -> Ledger:
    """The ledger a noon after the day of tests/usage/day.py."""
    await ledger.connection.execute(f"select set_config('gatewayz.now', '{NOW}', false)")
    return ledger
