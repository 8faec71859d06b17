"""The simulator itself: a seed is one history, and a guard taken away is a seed that fails."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from gatewayz.billing.credits import Hold
from gatewayz.billing.settlement import CHARGES, ChargeMessage, Settlement, Stored
from gatewayz.core.settings import Settings
from gatewayz.stores import redis
from tests.simulation.scene import simulate
from tests.simulation.world import SimulationFailed

Fresh = Callable[[], Settings]
Break = Callable[[pytest.MonkeyPatch], None]
MOST_SEEDS = 60


def test_a_seed_is_one_history(fresh: Fresh) -> None:
    first, again = (simulate(5, fresh())[1].trace for _ in range(2))
    assert first == again


def _in_script(old: str, new: str) -> Break:
    def apply(patch: pytest.MonkeyPatch) -> None:
        load = redis.load_script

        def changed(name: str) -> tuple[str, str]:
            source, _ = load(name)
            if name.startswith("admit"):
                assert old in source
                source = source.replace(old, new)
            return source, hashlib.sha1(source.encode()).hexdigest()

        patch.setattr(redis, "load_script", changed)

    return apply


def _free_before_store(patch: pytest.MonkeyPatch) -> None:
    async def commit(self: Any, hold: Hold, charge: ChargeMessage) -> Stored:
        stored = Stored(hold, charge.charge_nanos)
        await self.free(stored)
        stored.freed = True
        await self._queue.send(CHARGES, charge.request_id, charge.sealed())
        return stored

    patch.setattr(Settlement, "commit", commit)


def _no_outbox(patch: pytest.MonkeyPatch) -> None:
    async def lose(self: Any, stored: Stored, message: Any) -> None:
        await self.free(stored)
        stored.freed = True

    patch.setattr(Settlement, "_store_otherwise", lose)


GUARDS: dict[str, Break] = {
    "the message is stored before the hold is freed": _free_before_store,
    "a message no queue took is kept in the outbox": _no_outbox,
    "a hold is no larger than what is left": _in_script(
        "if num(left) < tonumber(amount) then", "if num(left) < 0 then"
    ),
    "what a hold gives back goes to its own lease": _in_script(
        "if id == held.lease then\n    local rest", "if true then\n    local rest"
    ),
    "a step is added once": _in_script(
        "if redis.call('HSETNX', KEYS[1], 'op:' .. op_id, '1') == 1 then", "for _ = 1, 2 do"
    ),
    "a request is served by what a newer key allows": _in_script(
        "if num(known) > tonumber(epoch) then", "if false then"
    ),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_without_this_guard_a_seed_fails(
    guard: str, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    GUARDS[guard](monkeypatch)
    for seed in range(MOST_SEEDS):
        try:
            simulate(seed, fresh())
        except SimulationFailed as failure:
            print(f"seed {seed}: {failure}")
            return
    pytest.fail(f"{MOST_SEEDS} seeds did not miss it")
