"""The audit: in the change's own transaction, append-only, and every tampering has its place."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.world import World


@pytest.fixture
async def admin(world: World) -> AsyncIterator[Any]:
    """The owner of the schema, who alone could tamper at all."""
    connection = await asyncpg.connect(world.settings.stores.database_url)
    yield connection
    await connection.close()


async def verdict(world: World, account: str) -> dict[str, Any]:
    row: dict[str, Any] = await world.stores.postgres.rpc("verify_audit", {"account": account})
    return row


async def filled(world: World, entries: int = 5) -> str:
    """An account with so many entries at least."""
    owner = await world.account()
    for number in range(entries):
        body = {"key_name": f"key {number}", "environment_tag": "test"}
        await world.client.post("/user/api-keys", json=body, headers=owner.headers)
    return owner.id


async def test_every_change_stands_in_the_accounts_audit_with_who_made_it(world: World) -> None:
    owner = await world.account()
    headers = owner.headers
    made = await world.client.post("/user/api-keys", json={"key_name": "a"}, headers=headers)
    path = f"/user/api-keys/{made.json()['id']}"
    await world.client.put(path, json={"team": "blue"}, headers=headers)
    await world.client.put(path, json={"action": "rotate"}, headers=headers)
    confirmed = {"confirmation": "DELETE_KEY"}
    await world.client.request("DELETE", path, json=confirmed, headers=headers)
    shown = (await world.client.get("/user/audit", headers=headers)).json()["logs"]
    assert [row["action"] for row in shown] == [
        "key.deleted", "key.rotated", "key.updated", "key.created",
        "key.created", "credit.grant",
    ]  # fmt: skip
    assert {row["actor"] for row in shown[:4]} == {f"key:{owner.key_id}"}
    assert shown[2]["details"] == {"set": {"team": "blue"}}
    assert shown[-1]["details"]["amount_nanos"] == 10 * 10**9
    assert made.json()["api_key"] not in str(shown)
    page = await world.client.get(
        "/user/audit", params={"before": shown[1]["id"], "limit": 1}, headers=headers
    )
    assert [row["id"] for row in page.json()["logs"]] == [shown[2]["id"]]
    money = await world.client.get("/user/audit", params={"action": "credit."}, headers=headers)
    assert [row["action"] for row in money.json()["logs"]] == ["credit.grant"]
    later = {"start_date": "2999-01-01"}
    assert (await world.client.get("/user/audit", params=later, headers=headers)).json()[
        "logs"
    ] == []
    whole = (await world.client.get("/user/audit/verify", headers=headers)).json()
    assert (whole["valid"], whole["entries"], whole["first_broken"]) == (True, 6, None)
    assert whole["head"] == shown[0]["hash"]


async def test_a_change_that_fails_leaves_no_entry(world: World) -> None:
    owner = await world.account()
    before = await verdict(world, owner.id)
    for path in ("/user/api-keys/none", "/user/api-keys/key_2"):
        await world.client.put(path, json={"team": "x"}, headers=owner.headers)
    assert await verdict(world, owner.id) == before


async def test_entries_cannot_be_changed_or_taken_away(world: World, admin: Any) -> None:
    account = await filled(world, 1)
    for statement in (
        "update tenancy.audit set actor = 'nobody'",
        "delete from tenancy.audit",
        "truncate tenancy.audit",
    ):
        with pytest.raises(asyncpg.PostgresError, match="audit_is_append_only"):
            await admin.execute(statement)
    assert (await verdict(world, account))["valid"]


@pytest.mark.parametrize(
    ("tampering", "broken"),
    [
        ("update tenancy.audit set actor = 'nobody' where chain = $1 and seq = 3", 3),
        ("update tenancy.audit set details = '{}' where chain = $1 and seq = 1", 1),
        ("update tenancy.audit set at = at + interval '1 us' where chain = $1 and seq = 4", 4),
        ("delete from tenancy.audit where chain = $1 and seq = 4", 4),
        ("delete from tenancy.audit where chain = $1 and seq >= 6", 6),
        ("delete from tenancy.audit where chain = $1", 1),
        ("""insert into tenancy.audit select chain, seq + 1, at, actor, action, target, details,
            hash from tenancy.audit where chain = $1 and seq = 7""", 8),
        ("delete from tenancy.audit_heads where chain = $1", 1),
    ],
)  # fmt: skip
async def test_the_first_broken_link_is_named(
    world: World, admin: Any, tampering: str, broken: int
) -> None:
    account = await filled(world)
    assert await verdict(world, account) | {"head": ""} == {
        "account": account, "entries": 7, "valid": True, "first_broken": None, "head": "",
    }  # fmt: skip
    await admin.execute("alter table tenancy.audit disable trigger user")
    await admin.execute(tampering, account)
    found = await verdict(world, account)
    assert (found["valid"], found["first_broken"]) == (False, broken)


async def test_an_operators_change_of_the_catalog_stands_in_the_houses_chain(
    world: World, admin: Any
) -> None:
    await admin.execute("select catalog.note('alice', 'offer.price', 'x/y', null, '{\"on\": 1}')")
    (row,) = await world.stores.postgres.rpc("list_audit", {"account": "@house"})
    assert (row["actor"], row["action"], row["target"]) == (
        "staff:alice", "catalog.offer.price", "x/y",
    )  # fmt: skip
    assert (await verdict(world, "@house"))["valid"]


async def test_accounts_see_their_own_chain_alone(world: World) -> None:
    await filled(world, 1)
    other = await world.account()
    shown = (await world.client.get("/user/audit", headers=other.headers)).json()["logs"]
    assert {row["target"] for row in shown} == {other.key_id, f"grant:{other.id}"}
