"""Deleting an account: what names a person goes, rows of money and of the audit stay."""

from typing import Any

import asyncpg

from tests.identity.household import household, join, session_of, sign_in
from tests.world import Account, World

CONFIRMED = {"confirmation": "DELETE_ACCOUNT"}


async def delete(world: World, who: Account, body: Any = CONFIRMED) -> Any:
    return await world.client.request("DELETE", "/user/account", json=body, headers=who.headers)


async def everything(world: World) -> dict[str, str]:
    """Every row of the database that may hold something personal, as text."""
    connection = await asyncpg.connect(world.settings.stores.database_url)
    try:
        tables = await connection.fetch(
            "select n.nspname || '.' || c.relname as name from pg_class c"
            " join pg_namespace n on n.oid = c.relnamespace"
            " where c.relkind = 'r' and n.nspname in ('tenancy', 'ledger', 'queue')"
        )
        found = {}
        for table in tables:
            rows = await connection.fetch(f"select t::text as row from {table['name']} t")
            found[table["name"]] = "\n".join(row["row"] for row in rows)
        return found
    finally:
        await connection.close()


async def test_nothing_that_names_a_person_stays_and_the_ledger_does(world: World) -> None:
    owner = await sign_in(world, "zebedee")
    await world.stores.postgres.rpc(
        "grant_credit",
        {"op_id": "g", "account": owner.id, "amount_nanos": 10**9, "reason": "test"},
    )
    made = await world.client.post(
        "/user/api-keys",
        json={"key_name": "Zebedee's", "environment_tag": "test", "metadata": {"of": "zebedee"}},
        headers=owner.headers,
    )
    key = Account(owner.id, made.json()["api_key"], made.json()["id"])
    assert (await world.post(key)).status_code == 200
    await world.settle()
    await world.client.put(
        "/user/profile", json={"preferences": {"nick": "zebedee"}}, headers=owner.headers
    )
    await world.client.post(
        "/user/invitations", json={"email": "guest-of-zebedee@people.example"},
        headers=owner.headers,
    )  # fmt: skip
    before = await world.requests(owner)
    for bad in ({}, {"confirmation": "delete"}, {"confirmation": True}, []):
        assert (await delete(world, owner, bad)).status_code == 400
    assert (await delete(world, owner)).status_code == 200
    for who in (owner, key):
        assert (await world.client.get("/user/profile", headers=who.headers)).status_code == 401
    assert (await world.post(key)).status_code == 401
    named = {
        table for table, text in (await everything(world)).items() if "zebedee" in text.lower()
    }
    assert named <= KEPT, named - KEPT
    assert await world.requests(owner) == before
    assert await world.violations() == []
    verdict = await world.stores.postgres.rpc("verify_audit", {"account": owner.id})
    assert verdict["valid"] is True


# The audit's chain names a key as it was called: its rows cannot change (0040).
KEPT = {"tenancy.audit"}


async def test_the_same_person_may_come_back_as_somebody_new(world: World) -> None:
    owner = await sign_in(world, "ada")
    await delete(world, owner)
    again = await sign_in(world, "ada")
    assert (again.id != owner.id, again.key_id != owner.key_id) == (True, True)


async def test_members_of_a_deleted_account_keep_their_own(world: World) -> None:
    house = await household(world)
    admin = await join(world, house.owner.id, "root", "admin")
    for who in (house.member, admin):
        refused = await delete(world, who)
        assert refused.status_code == 403
    assert (await delete(world, house.owner)).status_code == 200
    profile = (await world.client.get("/user/profile", headers=house.member.headers)).json()
    assert (profile["role"], profile["email"] is not None) == ("owner", True)


async def test_an_owner_of_two_accounts_stays_a_person_until_the_last_one_goes(
    world: World,
) -> None:
    ada = await sign_in(world, "ada")
    other = await join(world, ada.id, "bob", "admin")
    own = await world.stores.postgres.rpc("list_memberships", {"person": other.key_id})
    home = next(row["account"] for row in own if row["home"])
    at_home = await session_of(world, other.key_id, home)
    assert (await delete(world, at_home)).status_code == 200
    profile = (await world.client.get("/user/profile", headers=other.headers)).json()
    assert (profile["user_id"], profile["email"]) == (ada.id, "bob@people.example")


async def test_an_account_that_is_being_charged_is_not_deleted(world: World) -> None:
    owner = await sign_in(world, "ada")
    connection = await asyncpg.connect(world.settings.stores.database_url)
    await connection.execute(
        "insert into ledger.subscriptions (subscription, account, plan, price, status,"
        " period_start, period_end, read_at, created_at)"
        " values ('sub_1', $1, 'dev', 'p', 'active', now(), now() + interval '1 month', now(),"
        " now())",
        owner.id,
    )
    refused = await delete(world, owner)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "subscription_active")
    await connection.execute("update ledger.subscriptions set ends_at_period_end = true")
    await connection.close()
    assert (await delete(world, owner)).status_code == 200
