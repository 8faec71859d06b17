"""Every route × every role, from the route table and the permission matrix: deny by default."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.accounts.roles import (
    ADMIN,
    GIVEN_BY_INVITATION,
    KEY_PERMISSIONS,
    MEMBER_PERMISSIONS,
    OWNER,
    PERMISSIONS,
    ROLES,
    may_give,
    permissions_of,
)
from gatewayz.accounts.rules import ANY_SCOPE, FREE, SCOPES, Rules, ip_in
from gatewayz.accounts.scopes import OF_FUNCTION, OF_ROUTE, UNDECLARED, scope_of
from gatewayz.api.staff import staff_of
from gatewayz.local.mount import load_modules
from tests.accounts.test_scopes import ROUTES
from tests.identity.household import join, sign_in
from tests.world import Account, World

# Without a body it does what it says, so it is tried last.
LEAVES = ("people", "POST", "/user/account/leave")


@pytest.fixture
def tune() -> Any:
    return lambda settings: replace(settings, keys=replace(settings.keys, staff="root:" + "s" * 40))


def staff_routes() -> list[tuple[str, str]]:
    found = []
    for _, module in load_modules("app"):
        for route in getattr(module.app, "routes", None) or ():
            dependant = getattr(route, "dependant", None)
            if dependant and any(d.call is staff_of for d in dependant.dependencies):
                found += [(m, route.path) for m in route.methods - {"HEAD", "OPTIONS"}]
    return sorted(found)


def test_every_permission_of_the_matrix_is_one_that_is_known() -> None:
    assert set().union(*ROLES.values()) == set(PERMISSIONS)
    assert set(KEY_PERMISSIONS) == set(SCOPES)
    declared = {*OF_ROUTE.values(), *OF_FUNCTION.values()} - {ANY_SCOPE}
    assert declared <= set(PERMISSIONS)
    # What only members have guards something, each of it.
    assert set(MEMBER_PERMISSIONS) <= declared


def test_what_nobody_declared_and_who_nobody_knows_is_denied() -> None:
    for role in ROLES:
        assert not Rules(role=role).grants(UNDECLARED)
        assert Rules(role=role).grants(ANY_SCOPE)
    for unknown in ("", "none", "root", "Owner", "staff"):
        assert permissions_of(unknown) == frozenset()
        assert not any(Rules(role=unknown).grants(each) for each in PERMISSIONS)
        assert not any(Rules(role=unknown).gives(each) for each in PERMISSIONS)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_bounds_every_key_and_what_a_key_gives(role: str) -> None:
    for scope in SCOPES:
        bounded = Rules.of({"scopes": [scope], "role": role})
        for wanted in PERMISSIONS:
            free = Rules.of({"scopes": [scope]})
            assert bounded.grants(wanted) is (free.grants(wanted) and wanted in ROLES[role])
            assert not bounded.gives(wanted) or wanted in ROLES[role]


@given(st.data())
def test_rules_cover_others_exactly_when_those_open_nothing_more(data: st.DataObject) -> None:
    """Against the definition: every permission, address, model and page, one by one."""
    names, models = ["192.0.2.0/24", "198.51.100.0/24"], ["a/*", "b/*"]

    def rules() -> Rules:
        lists = {"ips": names, "models": models, "blocked_models": models}
        return Rules.of(
            {name: data.draw(st.lists(st.sampled_from(all_), unique=True))
             for name, all_ in lists.items()}
            | {"scopes": data.draw(st.none() | st.lists(st.sampled_from(SCOPES), unique=True)),
               "role": data.draw(st.none() | st.sampled_from(sorted(ROLES)))}
        )  # fmt: skip

    holder, other = rules(), rules()
    if not holder.covers(other):
        return
    for permission in PERMISSIONS:
        assert holder.gives(permission) or not other.grants(permission)
    for ip in ("192.0.2.1", "198.51.100.1", "203.0.113.1"):
        allowed = not other.ips or ip_in(ip, other.ips)
        assert not allowed or not holder.ips or ip_in(ip, holder.ips)
    for model in ("a/x", "b/x", "c/x"):
        assert holder.allows_model(model) or not other.allows_model(model)


def test_whoever_is_free_covers_all_and_everybody_covers_themselves() -> None:
    for scope in SCOPES:
        mine = Rules.of({"scopes": [scope], "ips": ["192.0.2.0/24"]})
        assert FREE.covers(mine) and mine.covers(mine)
        assert not mine.covers(FREE)
        assert not mine.covers(Rules.of({"scopes": [scope]}))
    assert FREE.covers(FREE) and Rules(role=OWNER).covers(FREE)
    assert not Rules(role=ADMIN).covers(Rules(role=OWNER))


def test_nobody_gives_a_role_that_may_more_than_their_own() -> None:
    assert may_give(None, OWNER) and may_give(OWNER, ADMIN) and may_give(ADMIN, ADMIN)
    assert not may_give(ADMIN, OWNER)
    for lower in ("developer", "billing", "viewer"):
        assert not may_give(lower, ADMIN)
    assert OWNER not in GIVEN_BY_INVITATION


async def test_each_role_opens_the_declared_routes_and_no_others(world: World) -> None:
    owner = await sign_in(world, "ada")
    people: dict[str, Account] = {OWNER: owner}
    for role in GIVEN_BY_INVITATION:
        people[role] = await join(world, owner.id, role, role)
    assert set(people) == set(ROLES)
    assert len(ROUTES) > 60
    routes = sorted(ROUTES, key=lambda route: route == LEAVES)
    for role, who in people.items():
        for title, method, path in routes:
            # Nothing of the body is read before the role is judged; an empty one changes nothing.
            answer = await world.client.request(
                method, path.replace("{", "").replace("}", ""), json=[], headers=who.headers
            )
            told = answer.status_code == 403 and "insufficient_scope" in answer.text
            wanted = scope_of(title, method, path)
            allowed = wanted == ANY_SCOPE or wanted in ROLES[role]
            assert told is not allowed, (role, method, path, answer.text)
            assert answer.status_code not in (401, 500), (role, method, path, answer.text)


async def test_no_role_of_an_account_opens_a_route_of_the_staff(world: World) -> None:
    """14: staff routes × owner, key, nobody; and a person of the staff."""
    owner, key = await sign_in(world, "ada"), await world.account()
    routes = staff_routes()
    assert len(routes) > 40
    for method, path in routes:
        url = path.replace("{", "").replace("}", "")
        for headers in (owner.headers, key.headers, {}):
            answer = await world.client.request(method, url, json=[], headers=headers)
            assert answer.status_code == 401, (method, path)
    root = {"authorization": "Bearer " + "s" * 40}
    made = await world.client.post(
        "/admin/roles/update", json={"user_id": owner.key_id, "new_role": "staff"}, headers=root
    )
    assert made.json()["is_staff"] is True
    for path in ("/admin/users", "/admin/roles/permissions/viewer", f"/admin/users/{owner.id}"):
        assert (await world.client.get(path, headers=owner.headers)).status_code == 200
