"""Preferences over the API: a member's own, the account's for who made none; letters to try."""

from dataclasses import replace
from typing import Any

import pytest

from gatewayz.core.settings import Settings
from gatewayz.notify.send import Sender
from tests.identity.household import sign_in
from tests.notify.conftest import APP_URL, Box
from tests.world import World

STAFF = "staff-secret-staff-secret-staff-secret"
PLACE = "/user/notifications/preferences"


@pytest.fixture
def tune() -> Any:
    def apply(settings: Settings) -> Settings:
        return replace(settings, keys=replace(settings.keys, staff=f"ann:{STAFF}"))

    return apply


async def test_the_fields_that_the_web_client_reads_and_their_usual_values(world: World) -> None:
    ada = await sign_in(world, "ada")
    answer = await world.client.get(PLACE, headers=ada.headers)
    found = answer.json()["preferences"]
    assert found["of"] == "account"
    assert {name: found[name] for name in (
        "email_notifications", "low_balance_threshold", "trial_expiry_reminder_days",
        "plan_expiry_reminder_days", "usage_alerts", "webhook_url")} == {
        "email_notifications": True, "low_balance_threshold": 10, "trial_expiry_reminder_days": 1,
        "plan_expiry_reminder_days": 7, "usage_alerts": True, "webhook_url": None,
    }  # fmt: skip


async def test_only_what_is_named_changes_and_only_for_who_asks(world: World) -> None:
    ada, bob = await sign_in(world, "ada"), await sign_in(world, "bob")
    set_to = {"low_balance_threshold": 2.5, "usage_alerts": False}
    answer = await world.client.put(PLACE, json=set_to, headers=ada.headers)
    assert answer.status_code == 200, answer.text
    again = await world.client.put(
        PLACE, json={"plan_expiry_reminder_days": 0}, headers=ada.headers
    )
    found = again.json()["preferences"]
    assert (found["low_balance_threshold"], found["usage_alerts"]) == (2.5, False)
    assert (found["plan_expiry_reminder_days"], found["of"]) == (0, "member")
    theirs = (await world.client.get(PLACE, headers=bob.headers)).json()["preferences"]
    assert (theirs["low_balance_threshold"], theirs["of"]) == (10, "account")


async def test_a_key_sets_the_accounts_choice(world: World) -> None:
    account = await world.account()
    answer = await world.client.put(
        PLACE, json={"email_notifications": False}, headers=account.headers
    )
    assert answer.json()["preferences"]["of"] == "account"
    found = (await world.client.get(PLACE, headers=account.headers)).json()["preferences"]
    assert found["email_notifications"] is False


@pytest.mark.parametrize(
    "wrong",
    [
        {"low_balance_threshold": -1}, {"low_balance_threshold": 10**7},
        {"trial_expiry_reminder_days": 31}, {"usage_alerts": "yes"},
        {"webhook_url": "https://internal.example/"},
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused(world: World, wrong: dict[str, Any]) -> None:
    account = await world.account()
    answer = await world.client.put(PLACE, json=wrong, headers=account.headers)
    assert answer.status_code == 400


async def test_a_member_sends_themselves_a_letter_once_a_minute(world: World) -> None:
    ada = await sign_in(world, "ada")
    first = await world.client.post("/user/notifications/test", headers=ada.headers)
    again = await world.client.post("/user/notifications/test", headers=ada.headers)
    assert first.status_code == 200, first.text
    assert again.status_code in (200, 429)  # the minute may just have turned
    box = Box()
    await Sender(world.stores.postgres, box, APP_URL).step()
    assert {mail.subject for mail in box.letters} == {"A test of your notifications"}
    account = await world.account()
    keyed = await world.client.post("/user/notifications/test", headers=account.headers)
    assert (keyed.status_code, keyed.json()["error"]["code"]) == (403, "sign_in_needed")


async def test_staff_sees_what_waits_and_nobody_else_does(world: World) -> None:
    ada = await sign_in(world, "ada")
    await world.client.post("/user/notifications/test", headers=ada.headers)
    for method, path in (("GET", "stats"), ("POST", "process")):
        place = f"/admin/notifications/{path}"
        denied = await world.client.request(method, place, headers=ada.headers)
        assert denied.status_code == 401
        allowed = await world.client.request(
            method, place, headers={"authorization": f"Bearer {STAFF}"}
        )
        assert allowed.status_code == 200
    assert allowed.json() == {"revived": 0}
