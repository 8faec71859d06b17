"""Signing in: the first time, again, at once, and by whom it is not believed."""

import asyncio
import logging
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gatewayz.core.log import json_line
from gatewayz.core.settings import Settings
from tests.accounts.test_scopes import ROUTES
from tests.identity.household import household, sign_in
from tests.world import World

STAFF = {"authorization": "Bearer " + "s" * 40}


@pytest.fixture
def tune() -> Any:
    def tuned(settings: Settings) -> Settings:
        http = replace(settings.http, client_ip="header:x-real-ip")
        return replace(settings, http=http, keys=replace(settings.keys, staff="root:" + "s" * 40))

    return tuned


async def enter(world: World, body: dict[str, Any], ip: str = "192.0.2.1") -> httpx.Response:
    answer = await world.client.post("/auth", json=body, headers={"x-real-ip": ip})
    world.client.cookies.clear()
    return answer


async def keys_of(world: World, account: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = await world.stores.postgres.rpc("read_keys", {"account": account})
    return rows


async def test_the_first_time_makes_account_wallet_and_a_key_that_is_shown_once(
    world: World,
) -> None:
    first = (await enter(world, {"token": world.identity.token("ada")})).json()
    assert first["is_new_user"] is True
    assert (first["credits"], first["email"]) == (0, "ada@people.example")
    (key,) = await keys_of(world, first["user_id"])
    assert (key["is_primary"], key["environment"], key["name"]) == (True, "test", "Primary")
    assert key["rules"]["scopes"] == [
        "inference", "usage:read", "keys:read", "keys:write", "billing", "profile",
    ]  # fmt: skip
    again = (await enter(world, {"token": world.identity.token("ada")})).json()
    assert (again["is_new_user"], again["api_key"]) == (False, None)
    assert again["user_id"] == first["user_id"]
    assert len(await keys_of(world, first["user_id"])) == 1
    balance = await world.stores.postgres.rpc("get_balance", {"account": first["user_id"]})
    assert balance["balance_nanos"] == 0
    trial = await world.stores.postgres.rpc("find_trial", {"account": first["user_id"]})
    assert trial["signals"] == ["email"]
    assert await world.violations() == []


async def test_the_first_key_works_for_what_the_web_client_does_and_no_more(world: World) -> None:
    made = (await enter(world, {"token": world.identity.token("ada")})).json()
    headers = {"authorization": f"Bearer {made['api_key']}"}
    assert (await world.client.get("/v1/credits", headers=headers)).status_code == 200
    refused = await world.client.get("/api/v1/keys", headers=headers)
    assert (refused.status_code, refused.json()["error"]["metadata"]["code"]) == (
        403, "insufficient_scope",
    )  # fmt: skip
    for method, path in (("DELETE", "/user/account"), ("POST", "/user/invitations")):
        answer = await world.client.request(method, path, json={}, headers=headers)
        assert answer.status_code == 403


async def test_first_sign_ins_of_one_person_at_once_make_one_account(world: World) -> None:
    token = world.identity.token("ada")
    answers = await asyncio.gather(*(enter(world, {"token": token}) for _ in range(3)))
    found = [answer.json() for answer in answers]
    assert len({each["user_id"] for each in found}) == 1
    assert sorted(each["is_new_user"] for each in found) == [False, False, True]
    assert sum(each["api_key"] is not None for each in found) == 1


async def test_who_claims_to_be_another_is_who_the_token_says(world: World) -> None:
    """Defects 1 and 2: neither an id, nor an address, nor a user name in a body finds anybody."""
    victim = (await enter(world, {"token": world.identity.token("ada")})).json()
    body = {
        "token": world.identity.token("mallory", email="ada@people.example"),
        "user": {"id": "ada", "linked_accounts": [{"type": "email", "address": victim["email"]}]},
        "user_id": victim["user_id"], "email": victim["email"], "username": "ada",
        "role": "owner", "is_admin": True,
    }  # fmt: skip
    mallory = (await enter(world, body)).json()
    assert mallory["user_id"] != victim["user_id"]
    assert (await enter(world, {k: v for k, v in body.items() if k != "token"})).status_code == 401


async def test_tokens_of_two_people_in_one_body_are_nobodys(world: World) -> None:
    both = {"token": world.identity.token("ada"), "identity_token": world.identity.token("bob")}
    answer = await enter(world, both)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_token")
    for bad in ("gw_live_no", "eyJhbGciOiJub25lIn0.e30.", world.identity.token("ada", exp=1)):
        answer = await enter(world, {"token": bad})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_token")


async def test_an_access_token_without_addresses_has_its_issuer_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = [{"type": "google_oauth", "email": "ada@gmail.example", "name": "Ada"}]
    world.identity.accounts["did%3Aprivy%3Aada"] = linked
    world.identity.accounts["did:privy:ada"] = linked
    plain = (await enter(world, {"token": world.identity.privy("bob")})).json()
    assert (plain["auth_method"], plain["email"]) == ("privy", None)
    monkeypatch.setenv("PRIVY_APP_SECRET", "secret")
    asked = (await enter(world, {"token": world.identity.privy("ada")})).json()
    assert (asked["auth_method"], asked["email"]) == ("google", "ada@gmail.example")


async def test_throw_away_addresses_are_refused_and_what_staff_blocks_as_well(
    world: World,
) -> None:
    async def code(name: str, email: str) -> str:
        answer = await enter(world, {"token": world.identity.token(name, email=email)}, name)
        return str(answer.json().get("error", {}).get("code"))

    assert await code("a", "a@mailinator.com") == "email_domain_blocked"
    assert await code("b", "b@deep.mailinator.com") == "email_domain_blocked"
    assert await code("c", "c@farm.example") == "None"
    blocked = await world.client.post(
        "/admin/users/blocked-domains", json={"domain": "Farm.example"}, headers=STAFF
    )
    assert blocked.json() == {"domain": "farm.example", "blocked": True}
    assert await code("d", "d@farm.example") == "email_domain_blocked"
    # Who was here before goes on signing in.
    assert await code("c", "c@farm.example") == "None"
    listed = await world.client.get("/admin/users/blocked-domains", headers=STAFF)
    assert [row["domain"] for row in listed.json()["domains"]] == ["farm.example"]
    await world.client.delete("/admin/users/blocked-domains/farm.example", headers=STAFF)
    assert await code("d", "d@farm.example") == "None"


async def test_F94_an_address_signs_in_ten_times_and_registers_three_times(world: World) -> None:
    for number in range(3):
        answer = await enter(world, {"token": world.identity.token(f"new{number}")})
        assert answer.status_code == 200, answer.text
    fourth = await enter(world, {"token": world.identity.token("new3")})
    assert (fourth.status_code, fourth.json()["error"]["code"]) == (429, "too_many_attempts")
    assert int(fourth.headers["retry-after"]) > 0
    # Those who are known are not counted as new, and all of them as attempts.
    for _ in range(6):
        assert (await enter(world, {"token": world.identity.token("new0")})).status_code == 200
    eleventh = await enter(world, {"token": "eyJ.bad.token"})
    assert eleventh.status_code == 429
    other = await enter(world, {"token": world.identity.token("new0")}, "198.51.100.7")
    assert other.status_code == 200


async def test_F94_links_to_one_address_are_few_from_however_many_places(world: World) -> None:
    async def ask(email: str, number: int) -> int:
        answer = await world.client.post(
            "/auth/email", json={"email": email}, headers={"x-real-ip": f"192.0.2.{number}"}
        )
        return answer.status_code

    asked = [await ask("ada@people.example", number) for number in range(11)]
    assert asked == [200] * 10 + [429]
    assert await ask("bob@people.example", 99) == 200


async def test_a_known_person_gets_a_key_for_a_new_device_when_asked_for(world: World) -> None:
    body = {"token": world.identity.token("ada"), "auto_create_api_key": True}
    first = (await enter(world, body)).json()
    texts = [(await enter(world, body)).json()["api_key"] for _ in range(7)]
    assert len({first["api_key"], *texts}) == 8
    rows = await keys_of(world, first["user_id"])
    assert len(rows) == 6  # the primary and the five newest
    headers = {"authorization": f"Bearer {texts[-1]}"}
    assert (await world.client.get("/user/profile", headers=headers)).status_code == 200
    gone = {"authorization": f"Bearer {texts[0]}"}
    assert (await world.client.get("/user/profile", headers=gone)).status_code == 401


async def test_a_sign_in_token_calls_the_control_plane_with_the_role_of_its_person(
    world: World,
) -> None:
    ada = (await enter(world, {"token": world.identity.token("ada")})).json()
    headers = {"authorization": f"Bearer {world.identity.token('ada')}"}
    profile = await world.client.get("/user/profile", headers=headers)
    assert profile.json()["member_id"] == ada["member_id"]
    assert (await world.client.get("/api/v1/keys", headers=headers)).status_code == 200
    stranger = {"authorization": f"Bearer {world.identity.token('nobody')}"}
    assert (await world.client.get("/user/profile", headers=stranger)).status_code == 401
    # Signing out everywhere ends the tokens that were given out until then.
    ended = await world.client.post("/v1/auth/invalidate", json={"all": True}, headers=headers)
    assert ended.status_code == 200
    assert (await world.client.get("/user/profile", headers=headers)).status_code == 401
    later = world.identity.token("ada", iat=world.identity.claims("ada")["iat"] + 2)
    fresh = {"authorization": f"Bearer {later}"}
    assert (await world.client.get("/user/profile", headers=fresh)).status_code == 200
    # No session and no token of a person is a key of the data plane.
    assert (
        await world.client.post("/v1/chat/completions", json={}, headers=fresh)
    ).status_code == 401


async def test_a_suspended_account_is_shut_to_keys_sessions_and_tokens(world: World) -> None:
    ada = await sign_in(world, "ada")
    await world.client.post(
        f"/admin/users/{ada.id}/suspend", json={"reason": "fraud"}, headers=STAFF
    )
    answer = await world.client.get("/user/profile", headers=ada.headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "account_suspended")
    named = {"issuer": "test", "subject": "ada", "method": "email"}
    assert await world.stores.postgres.rpc("sign_in", named) == {"refused": "suspended"}
    denied = await world.stores.postgres.rpc(
        "list_audit", {"account": ada.id, "action": "session.denied"}
    )
    assert len(denied) == 1
    await world.client.post(f"/admin/users/{ada.id}/resume", headers=STAFF)
    assert (await world.client.get("/user/profile", headers=ada.headers)).status_code == 200


async def test_who_is_shut_out_of_one_account_goes_on_in_another(world: World) -> None:
    house = await household(world)
    home = await world.stores.postgres.rpc("list_memberships", {"person": house.member.key_id})
    own = next(row["account"] for row in home if row["home"])
    await world.client.post(f"/admin/users/{own}/suspend", json={"reason": "x"}, headers=STAFF)
    name = f"member{house.ids['team_id'].removeprefix('team-')}"
    named = {"issuer": "test", "subject": name, "method": "email"}
    assert (await world.stores.postgres.rpc("sign_in", named))["account"] == house.owner.id


async def test_F88_no_secret_and_no_address_of_signing_in_is_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    # A function sets up logging when it is first called.
    for path in ("/auth/health", "/user/profile"):
        await world.client.get(path)
    logger = logging.getLogger("gatewayz")
    logger.addHandler(caplog.handler)
    logger.setLevel("DEBUG")
    token = world.identity.token("ada")
    answer = await world.client.post(
        "/auth", json={"token": token, "session": "token"}, headers={"x-real-ip": "192.0.2.9"}
    )
    world.client.cookies.clear()
    signed = answer.json()
    session = {"authorization": f"Bearer {signed['session']['token']}"}
    for headers in (session, {"authorization": f"Bearer {token}x"}):
        await world.client.get("/user/profile", headers=headers)
    await world.client.post("/auth", json={"token": token + "x"})
    await world.client.post("/auth/email", json={"email": "bob@people.example"})
    await world.client.post("/auth/link", json={"token": "gws_" + "1" * 64})
    await world.client.post(
        "/user/invitations", json={"email": "eve@people.example"}, headers=session
    )
    logger.removeHandler(caplog.handler)
    own = [record for record in caplog.records if record.name.startswith("gatewayz")]
    lines = "\n".join(str(json_line(record)) for record in own)
    assert "mail_not_configured" in lines
    for secret in (token[:60], signed["session"]["token"], signed["api_key"], "gws_1111",
                   "@people.example"):  # fmt: skip
        assert secret not in lines


async def test_something_shown_that_is_no_good_is_never_a_guest(world: World) -> None:
    """Defect 9: 401 on every route, whatever stands beside it."""
    await sign_in(world, "ada")
    assert len(ROUTES) > 60
    for _, method, path in ROUTES:
        for shown in ("gws_" + "0" * 64, "eyJhbGciOiJFUzI1NiJ9.e30.c2ln"):
            answer = await world.client.request(
                method, path.replace("{", "").replace("}", ""), json=[],
                headers={"authorization": f"Bearer {shown}"},
            )  # fmt: skip
            assert answer.status_code == 401, (method, path)
