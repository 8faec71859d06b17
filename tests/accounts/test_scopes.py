"""F92: every route of the control plane × every scope; what is not declared is denied."""

from itertools import chain
from typing import Any

import pytest

from gatewayz.accounts.roles import PERMISSIONS
from gatewayz.accounts.rules import ANY_SCOPE, SCOPES, Rules
from gatewayz.accounts.scopes import OF_ROUTE, UNDECLARED, scope_of
from gatewayz.api.app import caller_of
from gatewayz.local.mount import load_modules
from tests.world import Account, World


def _asks(route: Any) -> bool:
    dependants = [getattr(route, "dependant", None)]
    while dependants:
        dependant = dependants.pop()
        if dependant is None:
            continue
        if dependant.call is caller_of:
            return True
        dependants += dependant.dependencies
    return False


def keyed_routes() -> list[tuple[str, str, str]]:
    """(application's title, method, path) of every route that asks for a caller's key."""
    found = []
    for _, module in load_modules("app"):
        for route in getattr(module.app, "routes", ()):
            if _asks(route):
                found += [
                    (module.app.title, method, route.path)
                    for method in route.methods - {"HEAD", "OPTIONS"}
                ]
    return sorted(found)


ROUTES = keyed_routes()


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r[1]} {r[2]}")
def test_every_route_that_takes_a_key_declares_its_scope(route: tuple[str, str, str]) -> None:
    assert scope_of(*route) in (*PERMISSIONS, ANY_SCOPE)


def test_what_is_declared_exists() -> None:
    assert {(method, path) for _, method, path in ROUTES} >= set(OF_ROUTE)


def test_a_route_that_nobody_declared_is_denied_to_every_restricted_key() -> None:
    assert scope_of("new", "GET", "/new") == UNDECLARED
    assert not Rules.of({"scopes": SCOPES}).grants(UNDECLARED)


# The routes of the data plane, one of each function.
INFERENCE = [("inference", "POST", "/v1/chat/completions"), ("inference", "POST", "/v1/embeddings")]


async def test_F92_each_scope_opens_the_declared_routes_and_no_others(world: World) -> None:
    owner = await world.account()
    for held in SCOPES:
        made = await world.client.post(
            "/user/api-keys", json={"key_name": held, "scopes": [held]}, headers=owner.headers
        )
        key = Account(owner.id, made.json()["api_key"], made.json()["id"])
        rules = Rules.of({"scopes": [held]})
        for title, method, path in chain(ROUTES, INFERENCE):
            wanted = "inference" if title == "inference" else scope_of(title, method, path)
            # Nothing of the body is read before the key is judged; an empty one changes nothing.
            answer = await world.client.request(
                method, path.replace("{", "").replace("}", ""), json=[], headers=key.headers
            )
            told = answer.status_code == 403 and "insufficient_scope" in answer.text
            assert told is not rules.grants(wanted), (held, method, path, answer.text)
