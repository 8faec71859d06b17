"""Codes of givers who have gone since, and of those who guess."""

import asyncpg
import pytest

from tests.byok.test_grants import (
    BACK,
    PKCE,
    VERIFIER,
    Browser,
    browser,
    exchange,
    sandbox,
    tune,
    world,
)
from tests.identity.household import household
from tests.world import World

__all__ = ["browser", "sandbox", "tune", "world"]
ENDS = {
    "revoked": "revoked_at = now()",
    "disabled": "enabled = false",
    "expired": "expires_at = now() - interval '1 second'",
}


async def _ended(world: World, how: str, key_id: str) -> None:
    connection = await asyncpg.connect(world.settings.stores.database_url)
    try:
        await connection.execute(
            f"update tenancy.api_keys set {ENDS[how]} where key_id = $1",
            key_id,
        )
    finally:
        await connection.close()


@pytest.mark.parametrize("how", [None, *ENDS])
async def test_a_code_ends_with_the_key_that_gave_it(world: World, how: str | None) -> None:
    account = await world.account()
    made = await world.client.post(
        "/user/api-keys", headers=account.headers,
        json={"key_name": "giver", "environment_tag": "test",
              "scopes": ["management", "inference"]},
    )  # fmt: skip
    given = await world.client.post(
        "/api/v1/auth/keys/code", json={"callback_url": BACK, **PKCE},
        headers={"authorization": f"Bearer {made.json()['api_key']}"},
    )  # fmt: skip
    if how:
        await _ended(world, how, made.json()["id"])
    got = await exchange(world, given.json()["data"]["id"])
    assert got.status_code == (403 if how else 200)
    listed = (await world.client.get("/user/api-keys", headers=account.headers)).json()["keys"]
    assert ("app.example" in [key["key_name"] for key in listed]) is (how is None)


@pytest.mark.parametrize("goes", [False, True])
async def test_a_code_ends_with_the_membership_of_who_gave_it(world: World, goes: bool) -> None:
    house = await household(world)
    code = await Browser(world, house.member).code()
    if goes:
        url = f"/user/members/{house.member.key_id}"
        gone = await world.client.delete(url, headers=house.owner.headers)
        assert gone.status_code == 200
    assert (await exchange(world, code)).status_code == (403 if goes else 200)


async def test_an_address_guesses_ten_codes_and_its_successes_do_not_count(
    browser: Browser,
) -> None:
    good, late = await browser.code(), await browser.code()
    for _ in range(5):
        assert (await exchange(browser.world, "auth_code_guess")).status_code == 403
    assert (await exchange(browser.world, good)).status_code == 200
    for _ in range(5):
        assert (await exchange(browser.world, "auth_code_guess")).status_code == 403
    # Whatever credential comes along.
    for headers in ({}, {"authorization": "Bearer x"}, {"cookie": "x=y"}):
        refused = await browser.world.client.post(
            "/api/v1/auth/keys", json={"code": late, "code_verifier": VERIFIER}, headers=headers
        )
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, 429)
        assert int(refused.headers["retry-after"]) >= 1
