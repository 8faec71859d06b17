"""Every seed is another history of faults; in none of them may the money go wrong.

SIMULATION_SEEDS=17 replays one, SIMULATION_SEEDS=1-100 plays many; 20 by default.
"""

import os

import pytest

from gatewayz.core.settings import Settings
from tests.simulation.scene import simulate

FIRST, _, LAST = os.environ.get("SIMULATION_SEEDS", "1-20").partition("-")
SEEDS = range(int(FIRST), int(LAST or FIRST) + 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_money_adds_up_whatever_happens(seed: int, settings: Settings) -> None:
    verdict, world = simulate(seed, settings)
    print(seed, world.kind, len(world.trace), world.kills, world.flushes, verdict)
