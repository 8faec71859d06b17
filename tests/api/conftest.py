import pytest

from gatewayz.accounts.sealing import RING, new_ring
from tests.world import sandbox, tune, world

__all__ = ["sandbox", "tune", "world"]


@pytest.fixture(autouse=True)
def ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """What seals provider keys."""
    monkeypatch.setenv(RING, new_ring())
