"""F83: every route that is told an id × an id of another account: as one that never was."""

from base64 import b64encode
from typing import Any

import pytest

from gatewayz.core.ids import ulid
from tests.accounts.test_scopes import ROUTES
from tests.api import own_desk, usage_desk
from tests.billing import conftest as tills
from tests.identity.household import household
from tests.world import Account, World

fake, tune = tills.fake, tills.tune
# The same for everybody, and no account's.
PUBLIC = {"code", "month"}
# Makes what is not there: nobody else's is found or changed by it.
MAKES = {("PUT", "/user/destinations/{name}")}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("PUT", "/user/api-keys/{key_id}"): {"key_name": "taken"},
    ("DELETE", "/user/api-keys/{key_id}"): {"confirmation": "DELETE_KEY"},
    ("PATCH", "/api/v1/keys/{hash}"): {"name": "taken"},
    ("PATCH", "/api/v1/byok/{id}"): {"name": "taken"},
    ("PUT", "/user/provider-keys/{slug}"): {"priority": 1},
    ("PUT", "/v1/alerts/{alert_id}"): usage_desk.ALERT,
    ("PUT", "/user/rate-limits/{key_id}"): {"requests_per_minute": 5},
    ("PATCH", "/user/members/{member_id}"): {"role": "viewer"},
    ("PATCH", "/user/teams/{team_id}"): {"name": "taken"},
}
# What the owner of the id has not got either: the payment was not made.
NOT_YET = {"/api/stripe/payments/{payment_id}/receipt"}
BYOK = "/api/v1/byok/{id}"
UNKNOWN = {
    "id": "gen-01M89HHCCJT9KCQZSB0ZRMMK9Z", "slug": own_desk.NOBODYS, BYOK: own_desk.NOBODYS,
}  # fmt: skip


@pytest.fixture
def bill() -> Any:
    return lambda billing: billing


def parameter(path: str) -> str | None:
    """The name of the id in a path."""
    if path.endswith("/generation"):
        return "id"
    return path[path.index("{") + 1 : path.index("}")] if "{" in path else None


NAMED = [
    (method, path, name)
    for _, method, path in ROUTES
    if (name := parameter(path)) and name not in PUBLIC and (method, path) not in MAKES
]


async def ids_of(world: World, owner: Account) -> dict[str, str]:
    """One real id of the account for every parameter there is."""
    generation = (await world.post(owner)).headers["x-generation-id"]
    await world.settle()
    keys = (await world.client.get("/api/v1/keys", headers=owner.headers)).json()["data"]
    found = {"id": generation, "key_id": owner.key_id, "hash": keys[0]["hash"]}
    for path, name in (("checkout-session", "session_id"), ("payment-intent", "intent_id")):
        answer = await world.client.post(
            f"/api/stripe/{path}", json={"amount": 1000}, headers=owner.headers
        )
        made = answer.json()
        found[name] = made.get(name) or made["payment_intent_id"]
        found["payment_id"] = made["payment_id"]
    return found | await _kept(world, owner)


async def _kept(world: World, owner: Account) -> dict[str, str]:
    """What the account keeps besides: a provider's key, an alert, an export, a destination."""
    rpc = world.stores.postgres.rpc
    key = {"provider_slug": "openai", "api_key": own_desk.KEPT}
    made = await world.client.post("/user/provider-keys", json=key, headers=owner.headers)
    alert = await world.client.post("/v1/alerts", json=usage_desk.ALERT, headers=owner.headers)
    export = {"export_id": "exp_" + ulid(), "kind": "focus", "format": "csv", "params": {}}
    await rpc("create_export", export | {"account": owner.id})
    await rpc(
        "put_destination",
        {
            "account": owner.id, "actor": "system", "name": "mine", "kind": "otlp",
            "endpoint": "https://1.1.1.1/v1/traces", "sealed": "s", "label": "k…1",
            "per_mille": 1000, "enabled": True, "most": 5,
        },
    )  # fmt: skip
    return {
        "slug": made.json()["id"], BYOK: made.json()["id"], "name": "mine",
        "alert_id": alert.json()["data"]["id"] if "data" in alert.json() else alert.json()["id"],
        "export_id": export["export_id"],
    }  # fmt: skip


async def test_F83_an_id_of_another_account_is_an_id_that_never_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAYZ_KEY_RING", "1:" + b64encode(b"k" * 32).decode())
    victim, stranger = await world.account(), await world.account()
    ids = await ids_of(world, victim)
    # What only people have is asked for by people: each the owner of an account.
    house, other = await household(world), await household(world)
    ids |= house.ids
    assert len(NAMED) >= 12
    keys = (victim, stranger)
    for method, path, name in NAMED:
        victim, stranger = (house.owner, other.owner) if name in house.ids else keys
        query = name if "{" not in path else None
        answers = []
        for who, wanted in (
            (stranger, ids.get(path, ids[name])),
            (stranger, UNKNOWN.get(path, UNKNOWN.get(name, "never_was"))),
            (victim, ids.get(path, ids[name])),
        ):
            if who is victim and (method != "GET" or path in NOT_YET):
                continue
            answer = await world.client.request(
                method,
                path if query else path.replace(f"{{{name}}}", wanted),
                params={query: wanted} if query else None,
                json=BODIES.get((method, path)),
                headers=who.headers,
            )
            body = answer.json()
            body.pop("request_id", None)
            if "error" in body:
                body["error"].get("metadata", {}).pop("request_id", None)
            answers.append((answer.status_code, body))
        assert answers[0] == answers[1], (method, path)
        assert answers[0][0] == 404, (method, path)
        # The owner finds it: the refusal above was about who asks.
        assert [status for status, _ in answers[2:]] == [200] * len(answers[2:]), (method, path)
    rows = (await world.client.get("/user/api-keys", headers=keys[0].headers)).json()["keys"]
    assert [row["key_name"] for row in rows] == ["test key"]
