"""The layer by address in front of routes that nobody needs a key for."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from gatewayz.core.settings import Settings
from tests.identity.household import sign_in
from tests.world import World

PAGE = "/auth/grant"


@pytest.fixture
def tune() -> Callable[[Settings], Settings]:
    return lambda settings: replace(settings, limits=replace(settings.limits, address_per_minute=5))


@pytest.mark.parametrize(
    "cookie", [None, "theme=dark", "gatewayz_session=", "gatewayz_session=guess"]
)
async def test_a_cookie_that_is_no_session_of_ours_is_counted_as_none(
    world: World, cookie: str | None
) -> None:
    headers = {"cookie": cookie} if cookie else {}
    found = [(await world.client.get(PAGE, headers=headers)).status_code for _ in range(7)]
    assert found == [400] * 5 + [429] * 2


async def test_who_is_signed_in_is_not_counted(world: World) -> None:
    ada = await sign_in(world, "ada")
    headers = {"cookie": f"theme=dark; gatewayz_session={ada.key}"}
    found = [(await world.client.get(PAGE, headers=headers)).status_code for _ in range(7)]
    assert found == [400] * 7
