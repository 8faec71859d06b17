"""Limits as people see and change them; exempt addresses; what staff is told."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gatewayz.accounts.labels import hashed_label
from gatewayz.core.money import NANOS_PER_USD as USD
from gatewayz.core.settings import Settings
from tests.world import Account, World

STAFF_SECRET = "staff-secret-staff-secret-staff-secret"
STAFF = {"authorization": f"Bearer {STAFF_SECRET}"}


@pytest.fixture
def tune() -> Callable[[Settings], Settings]:
    def change(settings: Settings) -> Settings:
        return replace(settings, keys=replace(settings.keys, staff=f"ann:{STAFF_SECRET}"))

    return change


async def ask(world: World, method: str, path: str, body: Any = None, **more: Any) -> Any:
    headers = more.pop("headers", STAFF)
    return await world.client.request(method, path, json=body, headers=headers, **more)


async def test_a_caller_sees_changes_and_uses_up_the_limits_of_a_key(world: World) -> None:
    account = await world.account()
    path = f"/user/rate-limits/{account.key_id}"
    body = {"requests_per_minute": 3, "limit": 0.5, "limit_reset": "daily"}
    changed = await ask(world, "PUT", path, body, headers=account.headers)
    assert changed.json()["key"]["requests_per_minute"] == 3
    for _ in range(2):
        assert (await world.post(account, max_tokens=8)).status_code == 200
    listed = (await ask(world, "GET", "/user/rate-limits", headers=account.headers)).json()
    [key] = listed["keys"]
    assert (key["key_id"], key["limit"], key["limit_reset"]) == (account.key_id, 0.5, "daily")
    path_of_use = f"/user/rate-limits/usage/{account.key_id}"
    use = await ask(world, "GET", path_of_use, headers=account.headers)
    shown = {row["name"]: row for row in use.json()["limits"]}
    assert shown["requests_per_minute"]["remaining"] == 1
    assert 0 < shown["requests_per_minute"]["reset_s"] <= 40
    assert 0.4 < shown["limit"]["remaining"] < 0.5
    assert shown["limit"]["scope"] == f"key:{account.key_id}:daily"
    own = (await world.client.get("/api/v1/key", headers=account.headers)).json()["data"]
    assert (own["limit"], own["limit_reset"]) == (0.5, "daily")
    gone = await ask(world, "PUT", path, {"requests_per_minute": None}, headers=account.headers)
    assert gone.json()["key"]["requests_per_minute"] is None
    assert gone.json()["key"]["limit"] == 0.5


async def test_several_keys_are_changed_at_once_and_only_ones_own(world: World) -> None:
    account, other = await world.account(), await world.account()
    body = {"keys": [{"key_id": account.key_id, "requests_per_hour": 9}]}
    path = "/user/rate-limits/bulk-update"
    done = await ask(world, "POST", path, body, headers=account.headers)
    assert done.json()["keys"][0]["requests_per_hour"] == 9
    for method, target, sent in (
        ("PUT", f"/user/rate-limits/{other.key_id}", {"requests_per_hour": 1}),
        ("GET", f"/user/rate-limits/usage/{other.key_id}", None),
        ("POST", path, {"keys": [{"key_id": other.key_id}]}),
        ("PUT", "/user/rate-limits/nobody", {}),
    ):
        answer = await ask(world, method, target, sent, headers=account.headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "key_not_found")
    for wrong in ({"requests_per_minute": 0}, {"limit": -1}, {"limit_reset": "x"}):
        answer = await ask(
            world, "PUT", f"/user/rate-limits/{account.key_id}", wrong, headers=account.headers
        )
        assert answer.status_code == 400


async def test_an_account_sets_budgets_but_no_rates_of_its_own(world: World) -> None:
    account = await world.account()
    body = {"limit": 0.000001, "limit_reset": "daily", "end_user": {"limit": 1}}
    done = await ask(world, "PUT", "/user/rate-limits", body, headers=account.headers)
    assert done.json()["limits"]["end_user"] == {"limit": 1, "limit_reset": None}
    refused = await world.post(account, max_tokens=8)
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "budget_exceeded")
    rates = await ask(
        world, "PUT", "/user/rate-limits", {"requests_per_day": 10**9}, headers=account.headers
    )
    assert (rates.status_code, rates.json()["error"]["param"]) == (400, "requests_per_day")
    team = {"scope": "team", "id": "red", "limit": 5, "requests_per_minute": 9}
    done = await ask(world, "PUT", "/user/rate-limits", team, headers=account.headers)
    assert done.json()["limits"]["requests_per_minute"] == 9


async def test_staff_sets_lists_and_resets_limits_of_anybody(world: World) -> None:
    account = await world.account()
    wanted = [
        {"account": account.id, "requests_per_day": 5},
        {"account": account.id, "scope": "key", "id": account.key_id, "limit": 2},
        {"account": account.id, "scope": "team", "id": "Red team", "limit": 1,
         "limit_reset": "weekly"},
        {"account": account.id, "scope": "user", "id": "ann@example.com", "limit": 0.000001},
    ]  # fmt: skip
    done = await ask(world, "POST", "/admin/rate-limits/bulk-update", {"changes": wanted})
    assert [row["scope"] for row in done.json()["data"]] == ["account", "key", "team", "user"]
    listed = (await ask(world, "GET", "/admin/rate-limits", params={"account": account.id})).json()
    assert {(row["scope"], row["id"]) for row in listed["data"]} == {
        ("account", account.id),
        ("key", account.key_id),
        ("team", "Red team"),
        ("user", hashed_label(account.id, "ann@example.com")),
    }
    answer = await world.post(account, max_tokens=8)
    assert answer.headers["x-ratelimit-limit-requests"] == "5"
    named = await world.post(account, max_tokens=8, user="ann@example.com")
    assert named.status_code == 402
    reset = {"account": account.id}
    gone = await ask(world, "POST", "/admin/rate-limits/config/reset", reset)
    assert gone.json()["requests_per_day"] is None
    assert "x-ratelimit-limit-requests" not in (await world.post(account, max_tokens=8)).headers
    audit = await world.stores.postgres.rpc("list_audit", {"account": account.id, "limit": 50})
    assert [row["actor"] for row in audit if row["action"] == "limits.updated"] == ["staff:ann"] * 5
    nobody = await ask(world, "PUT", "/admin/rate-limits/update", {"account": "acct_none"})
    assert (nobody.status_code, nobody.json()["error"]["code"]) == (404, "account_not_found")
    assert (await ask(world, "PUT", "/admin/rate-limits/update",
                      {"account": account.id, "scope": "key"})).status_code == 400  # fmt: skip


async def test_staff_is_told_of_budgets_that_are_nearly_used_up(world: World) -> None:
    account = await world.account()
    await world.post(account, max_tokens=8)
    await world.settle()
    spent = (await world.requests(account))[0]["charge_nanos"]
    body = {"account": account.id, "scope": "key", "id": account.key_id}
    await ask(world, "PUT", "/admin/rate-limits/update", body | {"limit": spent * 2 / USD})
    assert (await ask(world, "GET", "/admin/rate-limits/alerts")).json()["data"] == []
    await ask(world, "PUT", "/admin/rate-limits/update", body | {"limit": spent / USD})
    [alert] = (await ask(world, "GET", "/admin/rate-limits/alerts")).json()["data"]
    assert (alert["account"], alert["percent"]) == (account.id, 100)
    assert alert["scope"] == f"key:{account.key_id}:total"


async def test_operators_see_what_holds_for_everybody(world: World) -> None:
    system = (await ask(world, "GET", "/admin/rate-limits/system")).json()
    assert (system["address_per_minute"], system["anonymous"]) == (300, False)
    assert system["velocity_mode"]["stage"] == 0
    config = (await ask(world, "GET", "/admin/rate-limits/config")).json()
    plans = {row["plan"]: row["limits"] for row in config["plans"]}
    assert plans["free"]["requests_per_day"] == 25_000
    reset = await ask(world, "POST", "/admin/rate-limits/velocity/reset")
    assert reset.json()["velocity_mode"]["stage"] == 0


async def test_addresses_are_exempt_until_their_time_is_over(world: World) -> None:
    path = "/api/admin/ip-whitelist"
    body = {"network": "192.0.2.0/24", "reason": "office", "expires_in_s": 3600}
    made = (await ask(world, "POST", path, body)).json()
    assert (made["network"], made["actor"]) == ("192.0.2.0/24", "staff:ann")
    assert made["expires_at"] is not None
    await ask(world, "POST", path, {"network": "2001:db8::/32", "reason": "lab"})
    listed = (await ask(world, "GET", path)).json()["data"]
    assert [row["network"] for row in listed] == ["192.0.2.0/24", "2001:db8::/32"]
    checks = [
        (await ask(world, "POST", f"{path}/check", {"ip": ip})).json()["exempt"]
        for ip in ("192.0.2.9", "198.51.100.1", "2001:db8::7")
    ]
    assert checks == [True, False, True]
    gone = await ask(world, "DELETE", path, params={"network": "2001:db8::/32"})
    assert gone.json() == {"removed": True}
    twice = await ask(world, "DELETE", path, params={"network": "2001:db8::/32"})
    assert twice.status_code == 404
    wrong = await ask(world, "POST", path, {"network": "300.1.1.1", "reason": "x"})
    assert wrong.status_code == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/admin/rate-limits"), ("PUT", "/admin/rate-limits/update"),
     ("GET", "/api/admin/ip-whitelist"), ("POST", "/admin/rate-limits/velocity/reset")],
)  # fmt: skip
async def test_no_key_of_a_customer_opens_any_of_it(world: World, method: str, path: str) -> None:
    account: Account = await world.account()
    answer = await ask(world, method, path, {}, headers=account.headers)
    assert answer.status_code == 401
