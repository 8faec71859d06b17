"""F83: every route that is told an id × an id of another account: as one that never was."""

from typing import Any

import pytest

from tests.accounts.test_scopes import ROUTES
from tests.billing import conftest as tills
from tests.world import Account, World

fake, tune = tills.fake, tills.tune
# The same for everybody, and no account's.
PUBLIC = {"code"}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("PUT", "/user/api-keys/{key_id}"): {"key_name": "taken"},
    ("DELETE", "/user/api-keys/{key_id}"): {"confirmation": "DELETE_KEY"},
    ("PATCH", "/api/v1/keys/{hash}"): {"name": "taken"},
}
UNKNOWN = {"id": "gen-01M89HHCCJT9KCQZSB0ZRMMK9Z"}


@pytest.fixture
def bill() -> Any:
    return lambda billing: billing


def parameter(path: str) -> str | None:
    """The name of the id in a path."""
    if path.endswith("/generation"):
        return "id"
    return path[path.index("{") + 1 : path.index("}")] if "{" in path else None


NAMED = [(m, p, name) for _, m, p in ROUTES if (name := parameter(p)) and name not in PUBLIC]


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
    return found


async def test_F83_an_id_of_another_account_is_an_id_that_never_was(world: World) -> None:
    victim, stranger = await world.account(), await world.account()
    ids = await ids_of(world, victim)
    assert len(NAMED) >= 12
    for method, path, name in NAMED:
        query = name if "{" not in path else None
        answers = []
        for who, wanted in (
            (stranger, ids[name]),
            (stranger, UNKNOWN.get(name, "never_was")),
            (victim, ids[name]),
        ):
            if who is victim and method != "GET":
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
    rows = (await world.client.get("/user/api-keys", headers=victim.headers)).json()["keys"]
    assert [row["key_name"] for row in rows] == ["test key"]
