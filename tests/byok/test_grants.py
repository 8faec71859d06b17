"""A key for somebody else's application: the page, the code, the exchange, and who is kept out."""

import re
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from gatewayz.accounts.grants import Asked, challenge_of, check_callback, with_answer
from gatewayz.core.errors import InvalidRequest
from tests import world as worlds
from tests.identity.household import sign_in
from tests.world import Account, World

sandbox, world, tune = worlds.sandbox, worlds.world, worlds.tune
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"  # RFC 7636, appendix B
BACK = "https://app.example/done?kept=1"
PKCE = {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


@dataclass
class Browser:
    """Somebody signed in, at the page of an application; or nobody."""

    world: World
    member: Account | None = None

    @property
    def cookie(self) -> dict[str, str]:
        return {"cookie": f"gatewayz_session={self.member.key}"} if self.member else {}

    async def open(self, **query: str) -> httpx.Response:
        asked = {"callback_url": BACK, **PKCE, **query}
        return await self.world.client.get("/auth/grant", params=asked, headers=self.cookie)

    async def press(self, page: httpx.Response, decision: str = "allow", **more: str) -> Any:
        """Send the page's own form, with what is typed into it."""
        fields = {
            unescape(name): unescape(value)
            for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', page.text)
            if name != "decision"
        }
        typed = re.search(r'name="limit"[^>]*value="([^"]*)"', page.text)
        fields |= {"limit": typed[1] if typed else "", "decision": decision, **more}
        return await self.world.client.post(
            "/auth/grant", content=urlencode(fields), headers={**FORM, **self.cookie}
        )

    async def code(self, **query: str) -> str:
        answer = await self.press(await self.open(**query))
        assert answer.status_code == 303, answer.text
        code: str = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
        return code


async def exchange(world: World, code: str, **body: Any) -> httpx.Response:
    asked = {"code": code, "code_verifier": VERIFIER, "code_challenge_method": "S256", **body}
    kept = {name: value for name, value in asked.items() if value is not None}
    return await world.client.post("/api/v1/auth/keys", json=kept)


@pytest.fixture
async def browser(world: World) -> Browser:
    return Browser(world, await sign_in(world, "ada"))


async def test_an_application_gets_a_key_that_was_agreed_on(browser: Browser) -> None:
    page = await browser.open(limit="5", usage_limit_type="monthly", state="s&1")
    assert page.status_code == 200
    assert "app.example" in page.text
    answer = await browser.press(page)
    back = urlsplit(answer.headers["location"])
    query = parse_qs(back.query)
    assert (back.netloc, back.path) == ("app.example", "/done")
    assert (query["kept"], query["state"]) == (["1"], ["s&1"])
    got = await exchange(browser.world, query["code"][0])
    assert got.status_code == 200, got.text
    assert browser.member is not None
    assert got.json()["user_id"] == browser.member.key_id
    key = {"authorization": f"Bearer {got.json()['key']}"}
    shown = (await browser.world.client.get("/api/v1/key", headers=key)).json()["data"]
    assert (shown["limit"], shown["limit_reset"]) == (5, "monthly")
    assert shown["is_management_key"] is False
    for path in ("/user/api-keys", "/api/v1/keys", "/user/activity/log", "/user/profile"):
        assert (await browser.world.client.get(path, headers=key)).status_code == 403, path
    names = (await browser.world.client.get("/user/api-keys", headers=browser.cookie)).json()
    assert "app.example" in [row["key_name"] for row in names["keys"]]


async def test_applications_written_for_openrouter_find_the_page(browser: Browser) -> None:
    asked = {"callback_url": BACK, **PKCE}
    answer = await browser.world.client.get("/auth", params=asked)
    assert answer.status_code == 307
    page = await browser.world.client.get(answer.headers["location"])
    assert "app.example" in page.text


async def test_the_key_serves_requests(browser: Browser) -> None:
    assert browser.member is not None
    await browser.world.stores.postgres.rpc(
        "grant_credit",
        {"op_id": "g", "account": browser.member.id, "amount_nanos": 10**9, "reason": "test"},
    )
    key = (await exchange(browser.world, await browser.code())).json()["key"]
    answer = await browser.world.post(Account(browser.member.id, key, ""))
    assert answer.status_code == 200, answer.text


async def test_the_customer_sets_the_limit_and_may_refuse(browser: Browser) -> None:
    page = await browser.open(limit="500", state="x")
    code = parse_qs(
        urlsplit((await browser.press(page, limit="2.50")).headers["location"]).query
    )["code"][0]  # fmt: skip
    key = {"authorization": f"Bearer {(await exchange(browser.world, code)).json()['key']}"}
    shown = (await browser.world.client.get("/api/v1/key", headers=key)).json()["data"]
    assert shown["limit"] == 2.5
    refused = await browser.press(page, "deny")
    assert refused.status_code == 303
    query = parse_qs(urlsplit(refused.headers["location"]).query)
    assert query == {"kept": ["1"], "error": ["access_denied"], "state": ["x"]}


async def test_a_code_works_once_and_takes_its_key_back_when_it_is_shown_again(
    browser: Browser,
) -> None:
    code = await browser.code()
    first = await exchange(browser.world, code)
    key = {"authorization": f"Bearer {first.json()['key']}"}
    assert (await browser.world.client.get("/v1/key", headers=key)).status_code == 200
    again = await exchange(browser.world, code)
    assert (again.status_code, again.json()["error"]["code"]) == (403, 403)
    assert (await browser.world.client.get("/v1/key", headers=key)).status_code == 401
    assert (await exchange(browser.world, code)).status_code == 403


async def test_two_at_once_get_one_key_at_most(browser: Browser) -> None:
    import asyncio

    code = await browser.code()
    answers = await asyncio.gather(*(exchange(browser.world, code) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200, *[403] * 5]


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ({}, {"code_verifier": "x" * 43}),
        ({}, {"code_verifier": None}),
        ({}, {"code_challenge_method": "plain"}),
        ({"code_challenge_method": "plain", "code_challenge": VERIFIER},
         {"code_challenge_method": "S256"}),
        ({"code_challenge": "", "code_challenge_method": ""}, {}),
    ],
)  # fmt: skip
async def test_a_code_is_no_good_without_its_verifier(
    browser: Browser, query: dict[str, str], body: dict[str, Any]
) -> None:
    code = await browser.code(**query)
    answer = await exchange(browser.world, code, **body)
    assert answer.status_code == 403, answer.text


async def test_plain_and_none_are_taken_where_they_were_agreed_on(browser: Browser) -> None:
    plain = await browser.code(code_challenge=VERIFIER, code_challenge_method="plain")
    assert (await exchange(browser.world, plain, code_challenge_method="plain")).status_code == 200
    none = await browser.code(code_challenge="", code_challenge_method="")
    got = await exchange(browser.world, none, code_verifier=None, code_challenge_method=None)
    assert got.status_code == 200


async def test_after_three_wrong_verifiers_the_right_one_comes_too_late(browser: Browser) -> None:
    code = await browser.code()
    for number in range(3):
        await exchange(browser.world, code, code_verifier=str(number) * 43)
    assert (await exchange(browser.world, code)).status_code == 403


async def test_a_code_is_good_for_ten_minutes(browser: Browser) -> None:
    import asyncpg

    code = await browser.code()
    connection = await asyncpg.connect(browser.world.settings.stores.database_url)
    try:
        await connection.execute(
            "update tenancy.grant_codes set expires_at = expires_at - interval '10 minutes'"
        )
        hashes = await connection.fetchval(
            "select string_agg(t::text, '') from tenancy.grant_codes t"
        )
    finally:
        await connection.close()
    assert code not in hashes
    assert (await exchange(browser.world, code)).status_code == 403


# ------------------------------------------------------------------ who may give


async def test_nobody_is_asked_to_sign_in_or_show_a_key(world: World) -> None:
    nobody = Browser(world)
    page = await nobody.open()
    assert 'name="api_key"' in page.text
    refused = await nobody.press(page)
    assert (refused.status_code, "location" in refused.headers) == (403, False)
    account = await world.account()
    given = await nobody.press(page, api_key=account.key)
    assert given.status_code == 303
    assert account.key not in given.headers["location"]
    wrong = await nobody.press(page, api_key="gw_test_wrong")
    assert wrong.status_code == 403
    assert "gw_test_wrong" not in wrong.text


async def test_another_sites_form_gives_nothing(browser: Browser) -> None:
    """The cookie comes along; the token in the page's own form does not."""
    page = await browser.open()
    for token in ("", "0" * 40):
        answer = await browser.press(page, csrf_token=token)
        assert (answer.status_code, "location" in answer.headers) == (403, False)


async def test_a_key_without_the_right_gives_nothing(world: World) -> None:
    account = await world.account()
    made = await world.client.post(
        "/user/api-keys",
        json={"key_name": "small", "scopes": ["inference"], "environment_tag": "test"},
        headers=account.headers,
    )
    small = made.json()["api_key"]
    nobody = Browser(world)
    assert (await nobody.press(await nobody.open(), api_key=small)).status_code == 403
    direct = await world.client.post(
        "/api/v1/auth/keys/code", json={"callback_url": BACK},
        headers={"authorization": f"Bearer {small}"},
    )  # fmt: skip
    assert direct.status_code == 403


async def test_a_viewer_gives_nothing(browser: Browser) -> None:
    import asyncpg

    connection = await asyncpg.connect(browser.world.settings.stores.database_url)
    try:
        await connection.execute("update tenancy.members set role = 'viewer'")
    finally:
        await connection.close()
    answer = await browser.press(await browser.open())
    assert (answer.status_code, "location" in answer.headers) == (403, False)


async def test_what_restricts_the_giver_restricts_the_key(world: World) -> None:
    account = await world.account()
    made = await world.client.post(
        "/user/api-keys",
        json={"key_name": "giver", "scopes": ["management", "inference"],
              "environment_tag": "test", "allowed_models": ["sandbox/echo"]},
        headers=account.headers,
    )  # fmt: skip
    code = await world.client.post(
        "/api/v1/auth/keys/code",
        json={"callback_url": BACK, **PKCE, "key_label": "mine", "limit": 3},
        headers={"authorization": f"Bearer {made.json()['api_key']}"},
    )
    assert code.status_code == 200, code.text
    data = code.json()["data"]
    assert data["app_id"] > 0
    key = (await exchange(world, data["id"])).json()["key"]
    held = Account(account.id, key, "")
    assert (await world.post(held, "sandbox/echo")).status_code == 200
    assert (await world.post(held, "sandbox/story")).status_code == 403


# ------------------------------------------------------------------ the page


async def test_an_application_without_a_page_shows_its_user_a_code(browser: Browser) -> None:
    page = await browser.open(callback_url="", key_label="A tool")
    assert "A tool" in page.text
    shown = await browser.press(page)
    code = re.search(r"auth_code_[0-9a-f]{64}", shown.text)
    assert code is not None
    assert (await exchange(browser.world, code[0])).status_code == 200


async def test_the_page_runs_nothing_and_is_framed_by_nobody(browser: Browser) -> None:
    evil = '"><script>alert(1)</script>'
    page = await browser.open(key_label=evil, callback_url="", state=evil)
    assert "<script" not in page.text
    policy = (await browser.open()).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self' https://app.example;" in policy
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "url",
    [
        "http://app.example/x", "javascript:alert(1)", "data:text/html,x", "//app.example",
        "https://user:pw@app.example/", "https://app.example/#x", "https:///x", "app://done",
        "https://app.example/\r\nset-cookie:x", "https://app.example:99999/", "ftp://localhost/",
        "https://app.example/<x>", "http://localhost.evil.example/",
        "https://app.example/" + "x" * 2000,
    ],
)  # fmt: skip
async def test_a_callback_elsewhere_is_refused_and_never_led_to(browser: Browser, url: str) -> None:
    page = await browser.open(callback_url=url)
    assert page.status_code == 400
    assert "location" not in page.headers
    posted = await browser.world.client.post(
        "/auth/grant", content=urlencode({"callback_url": url, "decision": "deny"}), headers=FORM
    )
    assert posted.status_code == 400
    assert "location" not in posted.headers


@pytest.mark.parametrize(
    "url", ["https://app.example", "http://localhost:9/x", "http://127.0.0.1:1/", "http://[::1]:8/"]
)
def test_https_and_this_machine_are_allowed(url: str) -> None:
    check_callback(url)


def test_a_local_application_needs_a_challenge() -> None:
    with pytest.raises(InvalidRequest):
        Asked("http://localhost:3000/").check()
    with pytest.raises(InvalidRequest):
        Asked(None).check()
    with pytest.raises(InvalidRequest):
        Asked(BACK, challenge="short", method="S256").check()
    assert Asked("http://localhost:3000/", CHALLENGE, "S256").check().app == "localhost"


def test_the_challenge_is_that_of_the_standard() -> None:
    assert challenge_of(VERIFIER) == CHALLENGE


def test_an_answer_takes_the_place_of_what_was_there() -> None:
    assert with_answer("https://a/?code=old&x=1", {"code": "n&w"}) == "https://a/?x=1&code=n%26w"
