"""Budgets in the world: of a key, in a team, in an account; drawn by the seed, apart from all else.

I14 is looked at after every step, with what went over by name: a flush, or a store that was away,
forgets what is under way. Where neither happens nothing goes over.
"""

import random
from collections.abc import Mapping, Sequence

import asyncpg

from gatewayz.billing.credits import Credits
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.redis import RedisScripts
from tests.simulation.world import SimulationFailed, World

CENT = 10_000_000


async def set_budgets(
    world: World,
    postgres: Postgres,
    redis: RedisScripts,
    keys: Mapping[str, str],
    accounts: Sequence[str],
) -> None:
    chance = random.Random(f"budgets {world.seed}")
    for account in accounts:
        cents = chance.choice([None, None, 2, 10])
        if cents is None:
            continue
        for scope, id, share, reset in (
            ("account", None, 4, "monthly"),
            ("team", "red", 3, "weekly"),
            ("key", keys[keys[account]], 2, "daily"),
        ):
            limits = {"usd_nanos": cents * CENT * share // 4, "reset": reset}
            params = {"account": account, "scope": scope, "id": id, "limits": limits}
            row = await postgres.rpc("set_limits", params | {"actor": "simulation"})
            await Credits(postgres, redis, lease_ttl_s=200).push_epoch(account, row["epoch"])


async def judge_budgets(world: World, connection: "asyncpg.Connection[None]") -> int:
    """How many budgets were used; SimulationFailed when one went over though nothing was lost."""
    rows = await connection.fetch("select * from ledger.budgets where spent_nanos > 0")
    if world.kind == "calm" and not world.flushes:
        for row in rows:
            most = row["limit_nanos"]
            if most is not None and row["spent_nanos"] > most:
                raise SimulationFailed(
                    f"{row['scope']} spent {row['spent_nanos']} of {most} (I14, F80)"
                )
    return len(rows)
