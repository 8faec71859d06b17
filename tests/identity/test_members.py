"""Members of an account: inviting, roles, keys that follow roles, leaving, transferring, teams."""

import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from typing import Any

import httpx
import pytest

from tests.identity.household import (
    Household,
    household,
    invite,
    join,
    session_of,
    sign_in,
)
from tests.world import Account, World


@pytest.fixture
def tune() -> Any:
    """As on a developer's machine: mail is written to the log."""
    return lambda settings: replace(
        settings, stage="local", http=replace(settings.http, client_ip="header:x-real-ip")
    )


def code(answer: httpx.Response) -> str:
    error = answer.json().get("error", {})
    return str(error.get("metadata", {}).get("code", error.get("code")))


async def key_by(world: World, member: Account, name: str = "mine", **more: Any) -> Account:
    body = {"key_name": name, "environment_tag": "test"} | more
    answer = await world.client.post("/user/api-keys", json=body, headers=member.headers)
    assert answer.status_code == 200, answer.text
    return Account(member.id, answer.json()["api_key"], answer.json()["id"])


async def roles_of(world: World, account: str) -> dict[str, str]:
    rows = await world.stores.postgres.rpc("list_members", {"account": account})
    return {row["person"]: row["role"] for row in rows}


async def set_role(world: World, house: Household, role: str, who: Account | None = None) -> Any:
    return await world.client.patch(
        f"/user/members/{house.member.key_id}",
        json={"role": role},
        headers=(who or house.owner).headers,
    )


async def test_an_invitation_by_mail_makes_a_member_once(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    owner = await sign_in(world, "ada")
    sent = await world.client.post(
        "/user/invitations", json={"email": "Bob@People.example", "role": "billing"},
        headers=owner.headers,
    )  # fmt: skip
    assert (sent.status_code, sent.json()["status"]) == (201, "pending")
    mail = capfd.readouterr().err
    assert "Ada invites you" in mail and "as billing" in mail
    found = re.search(re.escape(world.url) + r"/invitations\?token=(gws_[0-9a-f]{64})", mail)
    assert found is not None
    page = await world.client.get("/invitations", params={"token": found[1]})
    assert page.status_code == 200 and found[1] not in page.text
    script = re.search(r"<script>(.*)</script>", page.text, re.DOTALL)
    assert script is not None
    digest = b64encode(sha256(script[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in page.headers["content-security-policy"]
    body = {"token": found[1]}

    async def accept(who: Account) -> httpx.Response:
        return await world.client.post("/user/invitations/accept", json=body, headers=who.headers)

    mallory = await sign_in(world, "mallory")
    assert code(await accept(mallory)) == "invitation_for_another"
    bob = await sign_in(world, "bob")
    joined = await accept(bob)
    assert (joined.json()["account_id"], joined.json()["role"]) == (owner.id, "billing")
    assert code(await accept(bob)) == "invitation_not_found"
    assert await roles_of(world, owner.id) == {owner.key_id: "owner", bob.key_id: "billing"}
    again = await world.client.post(
        "/user/invitations", json={"email": "bob@people.example"}, headers=owner.headers
    )
    assert code(again) == "already_member"
    shown = (await world.client.get("/user/members", headers=owner.headers)).json()["members"]
    assert [row["email"] for row in shown] == ["ada@people.example", "bob@people.example"]


async def test_invitations_are_counted_by_account_and_place_never_for_everybody(
    world: World,
) -> None:
    ada, bob = await sign_in(world, "ada"), await sign_in(world, "bob")

    async def send(who: Account, number: int, place: str) -> int:
        answer = await world.client.post(
            "/user/invitations", json={"email": f"guest{number}@people.example"},
            headers=who.headers | {"x-real-ip": place},
        )  # fmt: skip
        return answer.status_code

    sent = [await send(ada, number, f"192.0.2.{number}") for number in range(21)]
    assert sent == [201] * 20 + [429]
    assert await send(bob, 50, "198.51.100.1") == 201


async def test_a_revoked_replaced_or_old_invitation_lets_nobody_in(world: World) -> None:
    owner, bob = await sign_in(world, "ada"), await sign_in(world, "bob")
    first = await invite(world, owner.id, "bob@people.example")
    second = await invite(world, owner.id, "bob@people.example")
    third = await invite(world, owner.id, "bob@people.example")

    async def try_out(secret: str) -> str:
        answer = await world.client.post(
            "/user/invitations/accept", json={"token": secret}, headers=bob.headers
        )
        return code(answer)

    assert [await try_out(first), await try_out(second)] == ["invitation_not_found"] * 2
    rows = (await world.client.get("/user/invitations", headers=owner.headers)).json()
    (row,) = rows["invitations"]
    url = f"/user/invitations/{row['id']}"
    assert (await world.client.delete(url, headers=owner.headers)).status_code == 200
    assert code(await world.client.delete(url, headers=owner.headers)) == "invitation_not_found"
    assert await try_out(third) == "invitation_not_found"
    assert await roles_of(world, owner.id) == {owner.key_id: "owner"}


async def test_a_key_may_never_do_more_than_the_role_of_who_made_it(world: World) -> None:
    house = await household(world)
    refused = await world.client.post(
        "/user/api-keys", json={"key_name": "all", "environment_tag": "test",
                                "scopes": ["management"]}, headers=house.member.headers,
    )  # fmt: skip
    assert code(refused) == "insufficient_scope"
    key = await key_by(world, house.member, scopes=["inference", "keys:write", "usage:read"])

    async def can() -> list[int]:
        chat = await world.post(key, "sandbox/echo")
        other = await world.client.post("/user/api-keys", json=[], headers=key.headers)
        seen = await world.client.get("/user/profile", headers=key.headers)
        return [chat.status_code, other.status_code, seen.status_code]

    assert await can() == [402, 400, 200]
    # Down to viewer: from the next request the key neither infers nor makes keys.
    assert (await set_role(world, house, "viewer")).json()["role"] == "viewer"
    assert await can() == [403, 403, 200]
    assert (await set_role(world, house, "developer")).status_code == 200
    assert await can() == [402, 400, 200]
    # A key that this key makes is bounded alike.
    made = await world.client.post(
        "/user/api-keys", json={"key_name": "child", "environment_tag": "test"}, headers=key.headers
    )
    child = Account(key.id, made.json()["api_key"], made.json()["id"])
    await set_role(world, house, "billing")
    assert (await world.post(child, "sandbox/echo")).status_code == 403


async def test_a_secret_is_given_to_nobody_who_may_less_than_its_key(world: World) -> None:
    """To rotate a stronger key would be to have it."""
    house = await household(world)
    strong = await key_by(world, house.owner, "strong", scopes=["management", "billing"])
    weak = await key_by(world, house.member, "weak", scopes=["inference", "keys:write"])

    async def rotate(who: Account, key: Account, action: str = "rotate") -> httpx.Response:
        return await world.client.put(
            f"/user/api-keys/{key.key_id}", json={"action": action}, headers=who.headers
        )

    for who in (house.member, weak):
        assert code(await rotate(who, strong)) == "insufficient_scope"
    assert (await rotate(weak, weak)).status_code == 200
    some = (await rotate(house.member, weak, "bulk_rotate")).json()
    assert [row["id"] for row in some["rotated"]] == [weak.key_id]
    assert some["message"] == "1 keys are rotated. 1 may more than who asks, and are not."
    every = (await rotate(house.owner, strong, "bulk_rotate")).json()
    assert len(every["rotated"]) == 2


async def test_who_leaves_takes_the_rights_of_their_keys_along(world: World) -> None:
    house = await household(world)
    key = await key_by(world, house.member)
    left = await world.client.post("/user/account/leave", headers=house.member.headers)
    assert left.status_code == 200
    assert (await world.client.get("/v1/credits", headers=key.headers)).status_code == 401
    # The session goes on where its person is at home.
    profile = (await world.client.get("/user/profile", headers=house.member.headers)).json()
    assert (profile["user_id"] != house.owner.id, profile["role"]) == (True, "owner")
    assert list(await roles_of(world, house.owner.id)) == [house.owner.key_id]
    rows = (await world.client.get("/user/api-keys", headers=house.owner.headers)).json()["keys"]
    assert [row["is_active"] for row in rows] == [False]


async def test_keys_of_a_removed_member_may_pass_to_who_removes(world: World) -> None:
    house = await household(world)
    key = await key_by(world, house.member)
    url = f"/user/members/{house.member.key_id}"
    gone = await world.client.delete(url, params={"keep_keys": "true"}, headers=house.owner.headers)
    assert gone.status_code == 200
    assert (await world.client.get("/user/profile", headers=key.headers)).status_code == 200
    assert code(await world.client.delete(url, headers=house.owner.headers)) == "member_not_found"


async def test_an_account_never_loses_its_owner_and_nobody_makes_themselves_one(
    world: World,
) -> None:
    house = await household(world)
    admin = await join(world, house.owner.id, "root", "admin")
    owner_url = f"/user/members/{house.owner.key_id}"
    calls = (
        world.client.post("/user/account/leave", headers=house.owner.headers),
        world.client.delete(owner_url, headers=admin.headers),
        world.client.patch(owner_url, json={"role": "viewer"}, headers=admin.headers),
    )
    assert [code(await call) for call in calls] == ["owner_needed"] * 3
    body = {"member_id": admin.key_id, "confirmation": "TRANSFER_OWNERSHIP"}
    url = "/user/account/transfer"
    assert code(await world.client.post(url, json=body, headers=admin.headers)) == (
        "insufficient_scope"
    )
    for bad in ({"confirmation": "yes"}, {"confirmation": None}):
        answer = await world.client.post(url, json=body | bad, headers=house.owner.headers)
        assert answer.status_code == 400
    assert (await set_role(world, house, "owner")).status_code == 400
    moved = await world.client.post(url, json=body, headers=house.owner.headers)
    assert moved.status_code == 200
    roles = await roles_of(world, house.owner.id)
    assert (roles[admin.key_id], roles[house.owner.key_id]) == ("owner", "admin")
    assert list(roles.values()).count("owner") == 1
    # Who was the owner before may leave now.
    left = await world.client.post("/user/account/leave", headers=house.owner.headers)
    assert left.status_code == 200


async def test_who_is_in_no_account_any_more_gets_a_new_one_at_the_next_sign_in(
    world: World,
) -> None:
    ada, bob = await sign_in(world, "ada"), await sign_in(world, "bob")
    secret = await invite(world, ada.id, "bob@people.example", "admin")
    await world.client.post("/user/invitations/accept", json={"token": secret}, headers=bob.headers)
    body = {"member_id": bob.key_id, "confirmation": "TRANSFER_OWNERSHIP"}
    await world.client.post("/user/account/transfer", json=body, headers=ada.headers)
    await world.client.post("/user/account/leave", headers=ada.headers)
    assert (await world.client.get("/user/profile", headers=ada.headers)).status_code == 401
    again = await sign_in(world, "ada")
    assert (again.key_id, again.id != ada.id) == (ada.key_id, True)
    assert await roles_of(world, again.id) == {ada.key_id: "owner"}


async def test_teams_are_named_once_and_count_what_their_keys_spent(world: World) -> None:
    owner = await sign_in(world, "ada")
    await world.stores.postgres.rpc(
        "grant_credit",
        {"op_id": "g", "account": owner.id, "amount_nanos": 10**9, "reason": "test"},
    )
    made = await world.client.post(
        "/user/teams", json={"name": "Growth & Ads!"}, headers=owner.headers
    )
    assert (made.status_code, made.json()["id"]) == (201, "growth-ads")
    same = await world.client.post(
        "/user/teams", json={"name": "other", "id": "growth-ads"}, headers=owner.headers
    )
    assert code(same) == "team_exists"
    nameless = await world.client.post("/user/teams", json={"name": "!!"}, headers=owner.headers)
    assert nameless.status_code == 400
    key = await key_by(world, owner, team="growth-ads")
    assert (await world.post(key, "sandbox/echo")).status_code == 200
    await world.settle()
    (team,) = (await world.client.get("/user/teams", headers=owner.headers)).json()["teams"]
    assert (team["keys"], team["usage"] > 0) == (1, True)
    url = "/user/teams/growth-ads"
    named = await world.client.patch(url, json={"name": "Ads"}, headers=owner.headers)
    assert named.json()["name"] == "Ads"
    member = f"{url}/members/{owner.key_id}"
    assert (await world.client.put(member, headers=owner.headers)).json()["members"] == [
        owner.key_id
    ]
    assert (await world.client.delete(member, headers=owner.headers)).json()["members"] == []
    stranger = await sign_in(world, "bob")
    foreign = await world.client.put(f"{url}/members/{stranger.key_id}", headers=owner.headers)
    assert code(foreign) == "member_not_found"
    assert (await world.client.delete(url, headers=owner.headers)).status_code == 200
    rows = (await world.client.get("/user/api-keys", headers=owner.headers)).json()["keys"]
    assert [row["team"] for row in rows] == ["growth-ads"]


async def test_every_change_of_people_stands_in_the_audit_without_their_addresses(
    world: World,
) -> None:
    house = await household(world)
    await set_role(world, house, "viewer")
    denied = await world.client.get("/user/audit", headers=house.member.headers)
    assert denied.status_code == 403
    await world.client.delete(f"/user/members/{house.member.key_id}", headers=house.owner.headers)
    audit = (await world.client.get("/user/audit", headers=house.owner.headers)).json()["logs"]
    actions = {row["action"] for row in audit}
    assert actions >= {
        "account.created", "session.signed_in", "member.invited", "member.joined",
        "member.role_changed", "member.denied", "member.removed", "team.created",
        "team.member_added",
    }  # fmt: skip
    assert "@people.example" not in str(audit)
    by_owner = {row["actor"] for row in audit if row["action"] == "member.role_changed"}
    assert by_owner == {f"member:{house.owner.key_id}"}
    verdict = await world.client.get("/user/audit/verify", headers=house.owner.headers)
    assert verdict.json()["valid"] is True


async def test_a_denial_is_noted_once_a_minute(world: World) -> None:
    house = await household(world)
    for _ in range(5):
        await world.client.get("/user/audit", headers=house.member.headers)
    rows = await world.stores.postgres.rpc(
        "list_audit", {"account": house.owner.id, "action": "member.denied"}
    )
    assert len(rows) == 1


async def test_F90_fields_that_are_not_for_callers_change_nothing(world: World) -> None:
    house = await household(world)
    extra = {
        "role": "owner", "is_admin": True, "staff": True, "is_staff": True, "account": "acct_x",
        "account_id": "acct_x", "user_id": "acct_x", "person": "usr_x", "balance": 10**9,
        "credits": 10**9, "total_credits": 10**9, "status": "active", "epoch": 0, "tier": "max",
        "plan": "enterprise", "is_primary": True, "home": "acct_x", "rules": {}, "limits": {},
        "joined_at": "2020-01-01",
    }  # fmt: skip
    before = await roles_of(world, house.owner.id)
    bodies: dict[tuple[str, str], dict[str, Any]] = {
        ("PUT", "/user/profile"): {"name": "Ada", "preferences": {"a": 1}},
        ("PATCH", "/user/account"): {"name": "Ours"},
        ("POST", "/user/teams"): {"name": "new"},
        ("POST", "/v1/auth/refresh"): {},
        ("POST", "/user/invitations"): {"email": "new@people.example"},
    }
    for (method, path), body in bodies.items():
        sent = {k: v for k, v in extra.items() if not (path.endswith("refresh") and k == "account")}
        sent = {k: v for k, v in sent.items() if not (path.endswith("invitations") and k == "role")}
        owner = await session_of(world, house.owner.key_id, house.owner.id)
        answer = await world.client.request(method, path, json=sent | body, headers=owner.headers)
        assert answer.status_code in (200, 201, 400), (path, answer.text)
    assert await roles_of(world, house.owner.id) == before
    profile = (await world.client.get("/user/profile", headers=owner.headers)).json()
    assert (profile["total_credits"], profile["tier"]) == (0, "free")
    person = await world.stores.postgres.rpc("read_user", {"user": house.owner.id})
    assert (person["staff"], person["account"]) == (False, house.owner.id)


async def test_settings_of_the_account_need_a_role_for_it_whoever_holds_the_key(
    world: World,
) -> None:
    house = await household(world)
    wanted = {"settings": {"routing_mode": "fast"}}
    refused = await world.client.put("/user/profile", json=wanted, headers=house.member.headers)
    assert code(refused) == "insufficient_scope"
    allowed = await world.client.put("/user/profile", json=wanted, headers=house.owner.headers)
    assert allowed.json()["settings"]["routing_mode"] == "fast"
    mail = await world.client.put(
        "/user/profile", json={"email": "evil@people.example"}, headers=house.owner.headers
    )
    assert mail.status_code == 400
    card = await world.client.put(
        "/user/profile", json={"settings": {"auto_topup_enabled": True}},
        headers=house.owner.headers,
    )  # fmt: skip
    assert code(card) == "no_payment_method"
    own = await world.client.put(
        "/user/profile", json={"name": "Grace", "preferences": {"theme": "dark"}},
        headers=house.member.headers,
    )  # fmt: skip
    assert (own.json()["username"], own.json()["preferences"]) == ("Grace", {"theme": "dark"})
