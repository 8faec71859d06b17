"""Staff and the people of accounts: search, growth, suspend, delete, roles."""

from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.identity.household import household, join, sign_in
from tests.world import World, eventually

STAFF = {"authorization": "Bearer " + "s" * 40}


@pytest.fixture
def tune() -> Any:
    return lambda settings: replace(settings, keys=replace(settings.keys, staff="root:" + "s" * 40))


async def ask(world: World, path: str, **query: Any) -> Any:
    answer = await world.client.get(path, params=query, headers=STAFF)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def tell(world: World, method: str, path: str, body: Any = None) -> httpx.Response:
    return await world.client.request(method, path, json=body, headers=STAFF)


async def test_users_are_found_by_parts_of_what_is_known_of_them(world: World) -> None:
    ada, bob = await sign_in(world, "ada"), await sign_in(world, "bob")
    plain = await world.account()
    everybody = await ask(world, "/admin/users")
    assert everybody["total"] == 3
    assert {u["user_id"] for u in everybody["users"]} == {ada.id, bob.id, plain.id}
    for query, found in (("ADA@", ada.id), (bob.key_id[-8:], bob.id), (plain.id, plain.id)):
        rows = (await ask(world, "/admin/users", search=query))["users"]
        assert [row["user_id"] for row in rows] == [found]
    for literal in ("%", "_", "' or 1=1 --"):
        assert (await ask(world, "/admin/users", search=literal))["total"] == (
            3 if literal == "_" else 0
        )
    exact = await ask(world, "/admin/users", email="BOB@people.example")
    assert [row["email"] for row in exact["users"]] == ["bob@people.example"]
    page = await ask(world, "/admin/users", limit=2, offset=2)
    assert (len(page["users"]), page["total"]) == (1, 3)
    one = await ask(world, f"/admin/users/{ada.key_id}")
    assert (one["user_id"], one["team"][0]["role"]) == (ada.id, "owner")
    assert (await tell(world, "GET", "/admin/users/usr_never_was")).status_code == 404


async def test_a_key_leads_to_whose_it_is(world: World) -> None:
    account = await world.account()
    rows = await world.stores.postgres.rpc("read_keys", {"account": account.id})
    for shown in (account.key, account.key_id, rows[0]["prefix"], rows[0]["prefix"] + "…"):
        found = await ask(world, "/admin/users/by-api-key", api_key=shown)
        assert [row["user_id"] for row in found["users"]] == [account.id], shown
    assert (await ask(world, "/admin/users/by-api-key", api_key="gw_live_none"))["total"] == 0


async def test_growth_counts_days_without_anybody_too(world: World) -> None:
    await sign_in(world, "ada")
    growth = (await ask(world, "/admin/users/growth", days=7))["data"]
    assert [row["new"] for row in growth] == [0, 0, 0, 0, 0, 0, 1]
    assert growth[-1]["total"] == 1
    stats = await ask(world, "/admin/users/stats")
    assert (stats["total"], stats["active"], stats["new_today"]) == (1, 1, 1)
    assert stats["methods"] == {"email": 1}
    assert await ask(world, "/admin/users/count") == {"count": 1, "active": 1}


async def test_suspending_holds_from_the_next_request_and_says_who_and_why(world: World) -> None:
    account = await world.account()
    assert (await world.post(account)).status_code == 200
    url = f"/admin/users/{account.id}"
    assert (await tell(world, "POST", url + "/suspend", {})).status_code == 400
    done = await tell(world, "POST", url + "/suspend", {"reason": "fraud"})
    assert (done.json()["status"], done.json()["is_active"]) == ("suspended", False)
    assert (await world.post(account)).status_code == 403
    assert (await tell(world, "POST", url + "/resume")).json()["status"] == "active"

    async def served() -> bool:
        return bool((await world.post(account)).status_code == 200)

    await eventually(served)
    rows = await world.stores.postgres.rpc(
        "list_audit", {"account": account.id, "action": "account."}
    )
    assert [(r["actor"], r["action"], r["details"].get("reason")) for r in rows] == [
        ("staff:root", "account.resumed", None), ("staff:root", "account.suspended", "fraud"),
    ]  # fmt: skip


async def test_accounts_of_a_domain_go_but_those_that_paid(world: World) -> None:
    bots = [await sign_in(world, f"bot{n}", email=f"bot{n}@farm.example") for n in range(3)]
    other = await sign_in(world, "ada")
    await world.stores.postgres.rpc(
        "post_top_up", {"account": bots[2].id, "payment": "p1", "amount_nanos": 10**9}
    )
    url = "/admin/users/by-domain/Farm.example"
    tried = (await tell(world, "DELETE", url + "?dry_run=true")).json()
    assert (tried["matched"], len(tried["deleted"])) == (3, 2)
    done = (await tell(world, "DELETE", url + "?block=true")).json()
    assert sorted(done["deleted"]) == sorted([bots[0].id, bots[1].id])
    assert (done["kept"], done["left"]) == ([bots[2].id], 0)
    active = await ask(world, "/admin/users", status="active")
    assert {row["user_id"] for row in active["users"]} == {bots[2].id, other.id}
    domains = (await ask(world, "/admin/users/blocked-domains"))["domains"]
    assert [row["domain"] for row in domains] == ["farm.example"]
    assert await world.violations() == []


async def test_roles_are_set_listed_and_kept_in_a_log(world: World) -> None:
    house = await household(world)
    member = house.member.key_id
    done = await tell(
        world, "POST", "/admin/roles/update",
        {"user_id": member, "account_id": house.owner.id, "new_role": "billing", "reason": "moved"},
    )  # fmt: skip
    assert (done.json()["old_role"], done.json()["new_role"]) == ("developer", "billing")
    home = await ask(world, f"/admin/roles/{member}")
    assert home["role"] == "owner"
    there = await ask(world, f"/admin/roles/{member}", account_id=house.owner.id)
    assert (there["role"], "billing" in there["permissions"]) == ("billing", True)
    listed = (await ask(world, "/admin/roles/list/billing"))["users"]
    assert [row["member_id"] for row in listed] == [member]
    log = (await ask(world, "/admin/roles/audit/log"))["logs"]
    assert [(r["changed_by"], r["old_role"], r["new_role"], r["reason"]) for r in log] == [
        ("staff:root", "developer", "billing", "moved")
    ]
    held = (await ask(world, "/admin/roles/permissions/viewer"))["permissions"]
    assert held == ["keys:read", "members:read", "profile", "usage:read"]
    for path in ("/admin/roles/list/king", "/admin/roles/permissions/king", "/admin/roles/nobody"):
        assert (await tell(world, "GET", path)).status_code == 404


async def test_an_owner_is_replaced_never_demoted(world: World) -> None:
    house = await household(world)
    body = {"user_id": house.owner.id, "new_role": "viewer"}
    refused = await tell(world, "POST", "/admin/roles/update", body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "owner_needed")
    heir = await join(world, house.owner.id, "heir", "viewer")
    body = {"user_id": heir.key_id, "account_id": house.owner.id, "new_role": "owner"}
    assert (await tell(world, "POST", "/admin/roles/update", body)).status_code == 200
    one = await ask(world, f"/admin/users/{house.owner.id}")
    assert one["member_id"] == heir.key_id


async def test_staff_comes_and_goes_and_stands_in_the_houses_audit(world: World) -> None:
    ada = await sign_in(world, "ada")
    for role, status in (("staff", 200), ("none", 401)):
        body = {"user_id": ada.key_id, "new_role": role}
        assert (await tell(world, "POST", "/admin/roles/update", body)).status_code == 200
        answer = await world.client.get("/admin/users", headers=ada.headers)
        assert answer.status_code == status
    assert (await ask(world, "/admin/roles/list/staff"))["users"] == []
    log = (await ask(world, "/admin/roles/audit/log", user_id=ada.key_id))["logs"]
    assert [(row["old_role"], row["new_role"]) for row in log] == [
        ("staff", "none"), ("none", "staff"),
    ]  # fmt: skip
