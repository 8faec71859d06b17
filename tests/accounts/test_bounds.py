"""Nobody gets rid of a limit by way of another key; who may change what an owner set."""

from typing import Any

import pytest

from tests.accounts.test_keys import call, listed, make
from tests.identity.household import household
from tests.world import Account, World

SCOPES = ["inference", "keys:read", "keys:write", "usage:read"]
BOUNDS: dict[str, dict[str, Any]] = {
    "budget": {"limit": 1},
    "rate": {"rate_limits": {"requests_per_minute": 5}},
    "requests": {"max_requests": 5},
    "expiry": {"expiration_days": 1},
    "team": {"team": "red"},
}


def attempts(own: str, other: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Every way out of a bound: (method, path, body)."""
    return [
        ("POST", "/user/api-keys", {"key_name": "big", "environment_tag": "test"}),
        ("PUT", f"/user/rate-limits/{own}", {"limit": None, "requests_per_minute": None}),
        ("POST", "/user/rate-limits/bulk-update", {"keys": [{"key_id": own, "limit": None}]}),
        ("PUT", f"/user/api-keys/{own}", {"limit": None}),
        ("PUT", f"/user/api-keys/{own}", {"expiration_days": None}),
        ("PUT", f"/user/api-keys/{own}", {"team": None}),
        ("PUT", f"/user/api-keys/{other}", {"action": "rotate"}),
        ("PUT", f"/user/api-keys/{other}", {"action": "bulk_rotate"}),
    ]


async def refusals(world: World, who: Account, tried: list[Any]) -> list[str]:
    codes = []
    for method, path, body in tried:
        answer = await call(world, who, method, path, json=body)
        codes.append("" if answer.is_success else answer.json()["error"]["code"])
    return codes


@pytest.mark.parametrize("kind", BOUNDS)
async def test_a_key_that_is_bounded_frees_neither_itself_nor_by_another(
    world: World, kind: str
) -> None:
    owner = await world.account()
    red = {"scope": "team", "id": "red", "limit": 5}
    assert (await call(world, owner, "PUT", "/user/rate-limits", json=red)).status_code == 200
    rich = await make(world, owner, key_name="rich", environment_tag="test")
    small = await make(
        world, owner, key_name="small", environment_tag="test", scopes=SCOPES, **BOUNDS[kind]
    )
    before = await listed(world, owner, small)
    tried = attempts(small.key_id, rich.key_id)
    assert await refusals(world, small, tried) == ["insufficient_scope"] * len(tried)
    assert await listed(world, owner, small) == before
    renamed = await call(
        world, small, "PUT", f"/user/api-keys/{small.key_id}", json={"key_name": "still small"}
    )
    assert renamed.status_code == 200
    assert (await world.post(rich, max_tokens=8)).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"scopes": SCOPES},
        {"scopes": SCOPES, "limit_reset": "daily", "limit": None},
        {"scopes": SCOPES, "team": "blue"},
        {"scopes": [*SCOPES, "management"], "limit": 1, "expiration_days": 1},
    ],
    ids=["unbounded", "a period alone", "a team without limits", "management"],
)
async def test_who_is_not_bounded_or_manages_makes_rotates_and_limits(
    world: World, fields: dict[str, Any]
) -> None:
    owner = await world.account()
    other = await make(world, owner, key_name="other", environment_tag="test")
    clerk = await make(world, owner, key_name="clerk", environment_tag="test", **fields)
    tried = attempts(other.key_id, other.key_id)
    assert await refusals(world, clerk, tried) == [""] * len(tried)


async def test_a_developer_gives_limits_and_does_not_change_them(world: World) -> None:
    house = await household(world)
    theirs = await make(
        world, house.member, key_name="theirs", environment_tag="test", scopes=SCOPES
    )
    limited = await make(world, house.member, key_name="few", environment_tag="test", limit=3)
    budget = {"limit": 1, "limit_reset": "daily"}
    path = f"/user/rate-limits/{theirs.key_id}"
    assert (await call(world, house.owner, "PUT", path, json=budget)).status_code == 200
    changes = [
        (method, url, body)
        for method, url, body in attempts(theirs.key_id, limited.key_id)
        if "key_name" not in body and "action" not in body
    ]
    for who in (house.member, theirs):
        assert await refusals(world, who, changes) == ["insufficient_scope"] * len(changes)
    # Nor by a key of theirs that nobody limits.
    clerk = await make(world, house.member, key_name="clerk", environment_tag="test", scopes=SCOPES)
    assert await refusals(world, clerk, changes) == ["insufficient_scope"] * len(changes)
    row = await listed(world, house.owner, theirs)
    assert (row["limit"], row["limit_reset"]) == (1, "daily")
    rotated = await call(
        world, house.member, "PUT", f"/user/api-keys/{theirs.key_id}", json={"action": "rotate"}
    )
    assert rotated.status_code == 200
    assert await refusals(world, house.owner, changes) == [""] * len(changes)
