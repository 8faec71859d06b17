"""Keys through the running gateway: both APIs, what a key may, rotation, and nobody else's keys."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gatewayz.accounts.keys import hash_key
from gatewayz.accounts.principals import Principals
from gatewayz.core import clock
from gatewayz.core.errors import Unauthorized
from gatewayz.stores.open import open_stores
from tests.world import Account, World

Row = dict[str, Any]
BODY = {"key_name": "mine"}


async def call(world: World, who: Account, method: str, path: str, **more: Any) -> Any:
    headers = who.headers | more.pop("headers", {})
    return await world.client.request(method, path, headers=headers, **more)


async def make(world: World, owner: Account, **fields: Any) -> Account:
    answer = await call(world, owner, "POST", "/user/api-keys", json={**BODY, **fields})
    assert answer.status_code == 200, answer.text
    return Account(owner.id, answer.json()["api_key"], answer.json()["id"])


async def listed(world: World, owner: Account, key: Account) -> Row:
    answer = await call(world, owner, "GET", "/user/api-keys")
    found: Row = next(k for k in answer.json()["keys"] if k["id"] == key.key_id)
    return found


async def code_of(world: World, key: Account, model: str = "sandbox/echo", **more: Any) -> str:
    """ "200", or the code of the error."""
    answer = await world.post(key, model, **more)
    return "200" if answer.status_code == 200 else str(answer.json()["error"]["code"])


async def change(world: World, owner: Account, key: Account, **fields: Any) -> Row:
    path = f"/user/api-keys/{key.key_id}"
    answer = await call(world, owner, "PUT", path, json=fields)
    assert answer.status_code == 200, answer.text
    changed: Row = answer.json()
    return changed


# ------------------------------------------------------------------ the web client


async def test_a_key_is_shown_once_and_stored_nowhere(world: World) -> None:
    owner = await world.account()
    key = await make(world, owner, environment_tag="live", expiration_days=30, max_requests=5)
    assert key.key.startswith("gw_live_")
    shown = await call(world, owner, "GET", "/user/api-keys")
    assert key.key not in shown.text
    row = await listed(world, owner, key)
    assert row["api_key"] == key.key[:14] + "…"
    assert (row["days_remaining"], row["requests_remaining"]) == (30, 5)
    assert row["scopes"] == ["inference", "usage:read"]
    assert (await code_of(world, key)) == "200"


async def test_what_a_key_used_and_when_is_known_from_its_requests(world: World) -> None:
    owner = await world.account()
    key = await make(world, owner, max_requests=4)
    assert (await listed(world, owner, key))["last_used_at"] is None
    for _ in range(2):
        assert await code_of(world, key) == "200"
    await world.settle()
    row = await listed(world, owner, key)
    assert (row["requests_used"], row["requests_remaining"]) == (2, 2)
    assert row["usage_percentage"] == 50
    age = datetime.now(UTC) - datetime.fromisoformat(row["last_used_at"])
    assert timedelta(0) <= age < timedelta(minutes=5)
    usage = (await call(world, owner, "GET", "/user/api-keys/usage")).json()["keys"]
    used = next(each for each in usage if each["id"] == key.key_id)
    assert used["requests"] == 2
    assert used["usage"] > 0
    assert used["total_tokens"] == used["prompt_tokens"] + used["completion_tokens"] > 0


async def test_names_are_unique_within_an_account_until_the_key_is_deleted(world: World) -> None:
    owner, other = await world.account(), await world.account()
    key = await make(world, owner)
    again = await call(world, owner, "POST", "/user/api-keys", json=BODY)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "key_name_taken")
    await make(world, other)
    second = await make(world, owner, key_name="second")
    path = f"/user/api-keys/{second.key_id}"
    renamed = await call(world, owner, "PUT", path, json=BODY)
    assert renamed.json()["error"]["code"] == "key_name_taken"
    path = f"/user/api-keys/{key.key_id}"
    unsure = await call(world, owner, "DELETE", path, json={"confirmation": "yes"})
    assert unsure.status_code == 400
    assert await code_of(world, key) == "200"
    confirmed = {"confirmation": "DELETE_KEY"}
    assert (await call(world, owner, "DELETE", path, json=confirmed)).status_code == 200
    assert await code_of(world, key) == "invalid_api_key"
    gone = await call(world, owner, "DELETE", path, json=confirmed)
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "key_not_found")
    await world.settle()
    assert [row["key_id"] for row in await world.requests(owner)] == [key.key_id]
    await make(world, owner)


async def test_a_change_holds_from_the_next_request_in_both_directions(world: World) -> None:
    owner = await world.account()
    key = await make(world, owner)
    assert await code_of(world, key) == "200"
    await change(world, owner, key, blocked_models=["SANDBOX/*"])
    assert await code_of(world, key) == "model_not_allowed"
    await change(world, owner, key, blocked_models=[], allowed_providers=["openai"])
    assert await code_of(world, key) == "provider_not_allowed"
    await change(world, owner, key, allowed_providers=None)
    assert await code_of(world, key) == "200"
    await change(world, owner, key, is_active=False)
    assert await code_of(world, key) == "invalid_api_key"
    row = await listed(world, owner, key)
    assert (row["is_active"], row["allowed_providers"]) == (False, [])


async def test_a_forbidden_model_is_refused_by_every_name_and_as_a_fallback(world: World) -> None:
    owner = await world.account()
    key = await make(world, owner, allowed_models=["sandbox/story"])
    assert await code_of(world, key) == "model_not_allowed"
    answer = await world.post(key, "sandbox/echo", models=["sandbox/story"])
    assert answer.status_code == 200
    assert answer.json()["model"] == "sandbox/story"


async def test_an_address_list_holds_on_both_planes_and_a_denied_use_is_kept(world: World) -> None:
    owner = await world.account()
    key = await make(world, owner, scopes=["inference", "keys:read"], ip_allowlist=["127.0.0.0/8"])
    assert await code_of(world, key) == "200"
    await change(world, owner, key, ip_allowlist=["2001:db8::/32", "203.0.113.7"])
    spoofed = {"x-forwarded-for": "203.0.113.7", "x-real-ip": "203.0.113.7"}
    assert await code_of(world, key, headers=spoofed) == "ip_not_allowed"
    refused = await call(world, key, "GET", "/user/api-keys", headers=spoofed)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "ip_not_allowed")
    for query in ({"action": "use-denied"}, {"key_id": key.key_id, "limit": "1"}):
        answer = await call(world, owner, "GET", "/user/api-keys/audit-logs", params=query)
        (row, *_) = answer.json()["logs"]
        assert (row["action"], row["target"]) == ("key.denied", key.key_id)
        assert row["details"] == {"code": "ip_not_allowed", "ip": "127.0.0.1"}


async def test_a_referrer_list_asks_for_a_page_of_the_site(world: World) -> None:
    owner = await world.account()
    key = await make(world, owner, domain_referrers=["example.com"])
    assert await code_of(world, key) == "referrer_not_allowed"
    page = {"referer": "https://app.example.com/x"}
    assert await code_of(world, key, headers=page) == "200"


async def test_stored_preferences_hold_and_no_request_widens_them(world: World) -> None:
    owner = await world.account()
    key = await make(world, owner, preferences={"only": ["openai"]})
    wishes: tuple[Row, ...] = ({}, {"provider": {"only": ["sandbox"]}})
    for wish in wishes:
        assert await code_of(world, key, **wish) == "constraint_filtered"
    await change(world, owner, key, preferences={"only": ["sandbox", "openai"]})
    assert await code_of(world, key) == "200"
    path = f"/user/api-keys/{key.key_id}"
    wrong = await call(world, owner, "PUT", path, json={"preferences": {"sort": "beauty"}})
    assert wrong.status_code == 400


class Ahead:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self._real = clock.SystemClock()

    def now_ms(self) -> int:
        # Wrong by an hour: no decision may stand on it (D14).
        return self._real.now_ms() + 3_600_000

    def monotonic_s(self) -> float:
        return self._real.monotonic_s() + self.ahead_s

    async def sleep(self, seconds: float) -> None:
        await self._real.sleep(seconds)


async def test_a_key_ends_in_every_process_though_each_has_it_cached(world: World) -> None:
    owner = await world.account()
    key = await make(world, owner)
    assert await code_of(world, key) == "200"
    digest = hash_key(key.key.encode(), world.settings.keys.pepper.encode()).hex()
    postgres = world.stores.postgres
    principals = Principals(postgres, world.stores.redis, world.settings.keys.pepper)
    headers = [(b"authorization", f"Bearer {key.key}".encode())]
    row = {"account": owner.id, "key_id": key.key_id, "actor": "test"}
    end_ms = clock.now_ms() + 30_000
    await postgres.rpc("change_key", row | {"set": {"expires_at_ms": end_ms}})
    ahead = Ahead()
    before = clock.use(ahead)
    try:
        await principals.authenticate(headers, fresh=True)
        await postgres.rpc("change_key", row | {"set": {"expires_at_ms": end_ms - 30_000}})
        assert await postgres.rpc("find_principal", {"hash": digest}) is None
        ahead.ahead_s = 20  # the database said: 30 s at most
        assert (await principals.authenticate(headers)).key_id == key.key_id
        ahead.ahead_s = 31
        with pytest.raises(Unauthorized):
            await principals.authenticate(headers)
    finally:
        clock.use(before)


# ------------------------------------------------------------------ rotation


async def test_F86_a_rotated_key_works_at_once_and_the_old_secret_for_the_overlap_only(
    world: World,
) -> None:
    owner = await world.account()
    old = await make(world, owner)
    other_process = open_stores(world.settings)
    elsewhere = Principals(other_process.postgres, other_process.redis, world.settings.keys.pepper)
    try:
        assert await code_of(world, old) == "200"
        changed = await change(world, owner, old, action="rotate", overlap_s=3600)
        new = replace(old, key=changed["api_key"])
        assert new.key != old.key
        assert [await code_of(world, key) for key in (old, new)] == ["200", "200"]
        for key in (old, new):
            headers = [(b"x-api-key", key.key.encode())]
            assert (await elsewhere.authenticate(headers)).key_id == old.key_id
        changed = await change(world, owner, old, action="rotate", overlap_s=0)
        newest = replace(old, key=changed["api_key"])
        codes = [await code_of(world, key) for key in (old, new, newest)]
        assert codes == ["invalid_api_key", "invalid_api_key", "200"]
        await world.settle()
        assert (await listed(world, owner, old))["requests_used"] == 4
    finally:
        await other_process.close()


async def test_many_keys_are_rotated_at_once_by_environment(world: World) -> None:
    owner = await world.account()
    live = [await make(world, owner, key_name=f"live {n}") for n in range(2)]
    test = await make(world, owner, key_name="test", environment_tag="test")
    done = await change(
        world, owner, test, action="bulk_rotate", environment_tag="live", overlap_s=0
    )
    assert {each["id"] for each in done["rotated"]} == {key.key_id for key in live}
    assert [await code_of(world, key) for key in (*live, test)] == [
        "invalid_api_key", "invalid_api_key", "200",
    ]  # fmt: skip
    fresh = [replace(test, key=each["api_key"]) for each in done["rotated"]]
    assert [await code_of(world, key) for key in fresh] == ["200", "200"]


# ------------------------------------------------------------------ limits of making keys


async def test_live_keys_need_credit_and_test_keys_do_not(world: World) -> None:
    poor = await world.account(usd=0)
    refused = await call(world, poor, "POST", "/user/api-keys", json=BODY)
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "payment_required")
    key = await make(world, poor, environment_tag="test")
    path = f"/user/api-keys/{key.key_id}"
    raised = await call(world, poor, "PUT", path, json={"environment_tag": "staging"})
    assert (raised.status_code, raised.json()["error"]["code"]) == (402, "payment_required")
    assert (await listed(world, poor, key))["environment_tag"] == "test"
    await change(world, poor, key, environment_tag="development")


async def test_the_eleventh_key_of_an_hour_waits(world: World) -> None:
    owner = await world.account()
    for number in range(9):
        await make(world, owner, key_name=f"key {number}")
    answer = await call(world, owner, "POST", "/user/api-keys", json=BODY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 3500 < int(answer.headers["retry-after"]) <= 3600


async def test_F90_fields_that_are_not_a_callers_to_set_change_nothing(world: World) -> None:
    owner, other = await world.account(), await world.account()
    key = await make(
        world, owner, account=other.id, is_primary=True, role="admin", rules={}, hash="00" * 32
    )
    row = await listed(world, owner, key)
    assert row["is_primary"] is False
    assert row["scopes"] == ["inference", "usage:read"]
    assert all(k["id"] != key.key_id for k in (
        await call(world, other, "GET", "/user/api-keys")).json()["keys"])  # fmt: skip


async def test_a_key_gives_no_rights_that_it_lacks(world: World) -> None:
    owner = await world.account()
    clerk = await make(world, owner, scopes=["keys:write", "keys:read"])
    for fields in ({"scopes": ["billing"]}, {"scope_permissions": {"admin": ["*"]}}, {}):
        body = {"key_name": "more", **fields}
        answer = await call(world, clerk, "POST", "/user/api-keys", json=body)
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "insufficient_scope"
    path = f"/user/api-keys/{clerk.key_id}"
    raised = await call(world, clerk, "PUT", path, json={"scopes": ["management"]})
    assert raised.status_code == 403
    await make(world, clerk, key_name="less", scopes=["keys:read"])


async def test_what_restricts_a_key_restricts_those_it_makes(world: World) -> None:
    owner = await world.account()
    clerk = await make(
        world, owner, scopes=["keys:write", "keys:read", "inference", "usage:read"],
        ip_allowlist=["127.0.0.1"], allowed_models=["sandbox/echo"], blocked_providers=["bad"],
    )  # fmt: skip
    body = {"key_name": "wider", "allowed_models": ["*"]}
    wider = await call(world, clerk, "POST", "/user/api-keys", json=body)
    assert (wider.status_code, wider.json()["error"]["code"]) == (403, "insufficient_scope")
    heir = await make(world, clerk, key_name="heir", blocked_providers=["worse"])
    assert await code_of(world, heir, "sandbox/story") == "model_not_allowed"
    assert await code_of(world, heir) == "200"
    path = f"/user/api-keys/{clerk.key_id}"
    await call(world, clerk, "PUT", path, json={"allowed_models": [], "ip_allowlist": []})
    assert await code_of(world, clerk, "sandbox/story") == "model_not_allowed"
    row = await listed(world, owner, heir)
    assert row["ip_allowlist"] == ["127.0.0.1/32"]


# ------------------------------------------------------------------ OpenRouter's clients


async def test_a_management_key_provisions_keys_and_cannot_infer(world: World) -> None:
    owner = await world.account()
    boss = await make(world, owner, scopes=["management"])
    assert await code_of(world, boss) == "insufficient_scope"
    own = (await call(world, boss, "GET", "/api/v1/key")).json()["data"]
    assert own["is_management_key"] is own["is_provisioning_key"] is True
    asked = {"name": "customer", "limit": 0.1, "limit_reset": "monthly",
             "expires_at": "2099-12-31T23:59:59Z"}  # fmt: skip
    made = await call(world, boss, "POST", "/api/v1/keys", json=asked)
    assert made.status_code == 201
    data = made.json()["data"]
    assert (data["limit"], data["limit_remaining"], data["usage"]) == (0.1, 0.1, 0)
    assert data["expires_at"] == "2099-12-31T23:59:59.000+00:00"
    customer = Account(owner.id, made.json()["key"], "")
    assert await code_of(world, customer) == "200"
    await world.settle()
    path = f"/api/v1/keys/{data['hash']}"
    used = (await call(world, boss, "GET", path)).json()["data"]
    assert used["usage"] > 0
    assert used["limit_remaining"] == pytest.approx(0.1 - used["usage"])
    off = await call(world, boss, "PATCH", path, json={"disabled": True, "limit": None})
    assert (off.json()["data"]["disabled"], off.json()["data"]["limit"]) == (True, None)
    assert await code_of(world, customer) == "invalid_api_key"
    names = [[k["name"] for k in (await call(world, boss, "GET", "/api/v1/keys", params=query)
              ).json()["data"]] for query in ({}, {"include_disabled": "true"})]  # fmt: skip
    assert ["customer" in each for each in names] == [False, True]
    assert (await call(world, boss, "DELETE", path)).json() == {"deleted": True}
    missing = await call(world, boss, "GET", path)
    assert missing.status_code == missing.json()["error"]["code"] == 404


async def test_a_key_for_inference_provisions_nothing(world: World) -> None:
    owner = await world.account()
    key = await make(world, owner)
    for method, path in (("GET", "/api/v1/keys"), ("GET", "/user/api-keys")):
        assert (await call(world, key, method, path)).status_code == 403
    assert (await call(world, key, "GET", "/v1/key")).status_code == 200
    assert (await call(world, key, "GET", "/v1/credits")).status_code == 403


# ------------------------------------------------------------------ nobody else's


async def test_F83_another_accounts_key_is_as_one_that_never_was(world: World) -> None:
    mine, other = await world.account(), await world.account()
    victim = await make(world, other)
    theirs = (await call(world, other, "GET", "/api/v1/keys")).json()["data"][-1]["hash"]
    bodies = {"PUT": {"key_name": "taken"}, "PATCH": {"name": "taken"},
              "DELETE": {"confirmation": "DELETE_KEY"}}  # fmt: skip
    for method, base in (
        ("PUT", "/user/api-keys"), ("DELETE", "/user/api-keys"), ("GET", "/api/v1/keys"),
        ("PATCH", "/api/v1/keys"), ("DELETE", "/api/v1/keys"),
    ):  # fmt: skip
        answers = []
        for wanted in (victim.key_id, theirs, "key_none", "%00", "ü" * 300):
            more = {"json": bodies[method]} if method in bodies else {}
            answer = await call(world, mine, method, f"{base}/{wanted}", **more)
            body = answer.json()
            body.pop("request_id", None)
            body["error"].get("metadata", {}).pop("request_id", None)
            answers.append((answer.status_code, body))
        assert answers[0][0] == 404
        assert all(each == answers[0] for each in answers), (method, base)
    rotated = await call(world, mine, "PUT", f"/user/api-keys/{victim.key_id}",
                         json={"action": "bulk_rotate", "overlap_s": 0})  # fmt: skip
    assert rotated.status_code == 404
    assert await code_of(world, victim) == "200"
    logs = await call(world, mine, "GET", "/user/api-keys/audit-logs",
                      params={"key_id": victim.key_id})  # fmt: skip
    assert logs.json()["logs"] == []


async def test_the_database_knows_a_key_by_its_keyed_hash_alone(world: World) -> None:
    owner = await world.account()
    key = await make(world, owner)
    digest = hash_key(key.key.encode(), world.settings.keys.pepper.encode()).hex()
    row = await world.stores.postgres.rpc("find_principal", {"hash": digest})
    assert row["key_id"] == key.key_id
    read = {"account": owner.id, "key_id": key.key_id}
    shown = str(await world.stores.postgres.rpc("read_key", read))
    assert digest not in shown
    assert key.key not in shown
