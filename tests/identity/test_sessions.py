"""Browser sessions: the cookie, the token against forged requests, links by mail, signing out."""

import re
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gatewayz.accounts.sessions import Site, secret_in_cookie
from tests.identity.household import household, session_of, sign_in
from tests.world import Account, World


async def browser(world: World, name: str = "ada") -> tuple[httpx.AsyncClient, dict[str, Any]]:
    answer = await world.client.post("/auth", json={"token": world.identity.token(name)})
    assert answer.status_code == 200, answer.text
    client = httpx.AsyncClient(base_url=world.url, timeout=30, cookies=world.client.cookies)
    world.client.cookies.clear()
    return client, answer.json()


async def test_the_cookie_is_for_no_script_and_alone_changes_nothing(world: World) -> None:
    client, signed = await browser(world)
    async with client:
        assert signed["session"]["token"] is None
        assert (await client.get("/user/profile")).json()["member_id"] == signed["member_id"]
        made = {"key_name": "site", "environment_tag": "test"}
        for headers in ({}, {"x-csrf-token": "guess"}, {"origin": world.url}):
            answer = await client.post("/user/api-keys", json=made, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "csrf_failed")
        token = {"x-csrf-token": signed["session"]["csrf_token"]}
        assert (await client.post("/user/api-keys", json=made, headers=token)).status_code == 200
        seen = (await client.get("/auth/session")).json()
        assert seen["csrf_token"] == signed["session"]["csrf_token"]
        assert (seen["role"], seen["accounts"][0]["is_home"]) == ("owner", True)


def test_a_cookie_is_secure_everywhere_but_on_this_machine() -> None:
    plain = Site.of([(b"host", b"127.0.0.1:8000")]).set_cookie("s", 5)
    assert plain == "gatewayz_session=s; Path=/; Max-Age=5; HttpOnly; SameSite=Lax"
    for host in (b"api.example.org", b"localhost.evil.example", b"", b"127.0.0.1.evil.example:80"):
        cookie = Site.of([(b"host", host)]).set_cookie("s", 5)
        assert cookie.startswith("__Host-gatewayz_session=s; ") and cookie.endswith("; Secure")
    # A cookie that a neighbour may have set is not read.
    headers = [(b"host", b"api.example.org"), (b"cookie", b"gatewayz_session=forged")]
    assert secret_in_cookie(headers) is None
    assert secret_in_cookie([(b"cookie", b"a" * 9000)]) is None
    assert secret_in_cookie([(b"cookie", b"\xff\xfe=;;;")]) is None


async def test_a_key_that_is_shown_counts_and_the_cookie_does_not(world: World) -> None:
    client, _ = await browser(world)
    async with client:
        bad = {"authorization": "Bearer gw_live_no"}
        assert (await client.get("/user/profile", headers=bad)).status_code == 401
        other = await world.account()
        profile = await client.get("/user/profile", headers=other.headers)
        assert profile.json()["user_id"] == other.id


async def test_renewing_gives_a_new_secret_and_ends_the_old_one(world: World) -> None:
    client, signed = await browser(world)
    async with client:
        old = client.cookies["gatewayz_session"]
        token = {"x-csrf-token": signed["session"]["csrf_token"]}
        assert (await client.post("/v1/auth/refresh", headers=token)).status_code == 200
        assert client.cookies["gatewayz_session"] != old
        assert (await client.get("/user/profile")).status_code == 200
        stale = {"authorization": f"Bearer {old}"}
        assert (await world.client.get("/user/profile", headers=stale)).status_code == 401


async def test_signing_out_ends_one_session_or_all(world: World) -> None:
    ada = await sign_in(world, "ada")
    second, third = [await session_of(world, ada.key_id, ada.id) for _ in range(2)]
    listed = (await world.client.get("/user/sessions", headers=ada.headers)).json()["sessions"]
    assert [row["is_current"] for row in listed].count(True) == 1
    other = next(row["id"] for row in listed if not row["is_current"])
    gone = await world.client.delete(f"/user/sessions/{other}", headers=ada.headers)
    assert gone.json()["ended"] == 1
    assert (
        await world.client.delete(f"/user/sessions/{other}", headers=ada.headers)
    ).status_code == 404

    async def alive() -> list[Account]:
        found = []
        for each in (ada, second, third):
            answer = await world.client.get("/user/profile", headers=each.headers)
            found += [each] if answer.status_code == 200 else []
        return found

    left = await alive()
    assert len(left) == 2 and ada in left
    out = await world.client.post("/v1/auth/invalidate", headers=left[1].headers)
    assert out.json()["ended"] == 1
    assert await alive() == [ada]
    await world.client.post("/v1/auth/invalidate", json={"all": True}, headers=ada.headers)
    for each in (ada, second, third):
        assert (await world.client.get("/user/profile", headers=each.headers)).status_code == 401


async def test_a_session_ends_by_itself_after_its_days_and_after_quiet_ones(
    world: World,
) -> None:
    ada = await sign_in(world, "ada")
    assert (await world.client.get("/user/profile", headers=ada.headers)).status_code == 200
    connection = await _owner(world)
    try:
        await connection.execute(
            "update tenancy.sessions set seen_at = seen_at - interval '8 days'"
        )
        assert (await world.client.get("/user/profile", headers=ada.headers)).status_code == 401
        await connection.execute("update tenancy.sessions set seen_at = now(), expires_at = now()")
        assert (await world.client.get("/user/profile", headers=ada.headers)).status_code == 401
    finally:
        await connection.close()


async def _owner(world: World) -> Any:
    import asyncpg

    return await asyncpg.connect(world.settings.stores.database_url)


async def test_secrets_of_sessions_and_links_are_stored_as_hashes_only(world: World) -> None:
    client, _ = await browser(world)
    async with client:
        secret = client.cookies["gatewayz_session"]
        await client.post("/auth/email", json={"email": "bob@people.example"})
    connection = await _owner(world)
    try:
        for table in ("sessions", "sign_in_links", "invitations"):
            rows = await connection.fetch(f"select t::text as row from tenancy.{table} t")
            assert not [row for row in rows if secret in row["row"] or "gws_" in row["row"]]
    finally:
        await connection.close()


# ------------------------------------------------------------------ links by mail


@pytest.fixture
def tune() -> Any:
    """As on a developer's machine: mail is written to the log."""
    return lambda settings: replace(settings, stage="local")


async def link_to(world: World, capfd: pytest.CaptureFixture[str], path: str, email: str) -> str:
    capfd.readouterr()
    answer = await world.client.post(path, json={"email": email})
    assert answer.json()["success"] is True, answer.text
    found = re.search(
        re.escape(world.url) + r"/auth/link\?token=(gws_[0-9a-f]{64})", capfd.readouterr().err
    )
    assert found is not None
    return found[1]


async def test_a_link_from_the_log_signs_in_once(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = await link_to(world, capfd, "/auth/register", "Ada@People.example")
    page = await world.client.get("/auth/link", params={"token": secret})
    assert page.status_code == 200 and secret not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert page.headers["referrer-policy"] == "no-referrer"
    # Looking did not use it.
    first = await world.client.post("/auth/link", json={"token": secret})
    signed = first.json()
    assert (signed["email"], signed["auth_method"]) == ("ada@people.example", "email")
    assert signed["api_key"].startswith("gw_test_")
    assert "httponly" in first.headers["set-cookie"].lower()
    second = await world.client.post("/auth/link", json={"token": secret})
    assert (second.status_code, second.json()["error"]["code"]) == (401, "invalid_token")
    again = await link_to(world, capfd, "/auth/email", "ada@people.example")
    known = (await world.client.post("/auth/link", json={"token": again})).json()
    assert (known["is_new_user"], known["user_id"]) == (False, signed["user_id"])


async def test_a_link_is_over_after_a_quarter_of_an_hour(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = await link_to(world, capfd, "/auth/email", "ada@people.example")
    connection = await _owner(world)
    await connection.execute("update tenancy.sign_in_links set expires_at = now()")
    await connection.close()
    assert (await world.client.post("/auth/link", json={"token": secret})).status_code == 401


async def test_asking_for_links_tells_nothing_and_is_limited_by_address(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    await sign_in(world, "ada")
    answers = [
        await world.client.post("/auth/email", json={"email": f"{name}@people.example"})
        for name in ("ada", "nobody")
    ]
    assert answers[0].json() == answers[1].json()
    bad = await world.client.post("/auth/email", json={"email": "x@mailinator.com"})
    assert bad.json()["error"]["code"] == "email_domain_blocked"
    assert (await world.client.post("/auth/email", json={"email": "no"})).status_code == 400
    statuses = [
        (await world.client.post("/auth/email", json={"email": "x@people.example"})).status_code
        for _ in range(10)
    ]
    assert statuses[-1] == 429


async def test_another_account_of_ones_own_is_chosen_by_header_or_for_the_session(
    world: World,
) -> None:
    house = await household(world)
    own = await sign_in(world, "grace")
    member = house.member
    both = (await world.client.get("/user/accounts", headers=member.headers)).json()["accounts"]
    assert [row["role"] for row in both] == ["owner", "developer"]
    home = next(row["id"] for row in both if row["is_home"])
    chosen = member.headers | {"x-gatewayz-account": home}
    assert (await world.client.get("/user/account", headers=chosen)).json()["id"] == home
    for foreign in (own.id, "acct_never_was", "a b", "x" * 65):
        named = member.headers | {"x-gatewayz-account": foreign}
        answer = await world.client.get("/user/account", headers=named)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "account_not_found")
    moved = await world.client.post(
        "/v1/auth/refresh", json={"account": home}, headers=member.headers
    )
    fresh = {"authorization": f"Bearer {moved.json()['session']['token']}"}
    assert (await world.client.get("/user/account", headers=fresh)).json()["id"] == home
    refused = await world.client.post("/v1/auth/refresh", json={"account": own.id}, headers=fresh)
    assert refused.status_code == 404
