"""The web client's sign-in, profile and keys: its calls, and the fields of answers it reads."""

from base64 import b64encode

import pytest

from tests.fakes.identity import PRIVY_APP
from tests.world import World

READ_OF_SIGN_IN = (
    "user_id", "api_key", "auth_method", "privy_user_id", "is_new_user", "display_name", "email",
    "credits", "tier", "tier_display_name", "subscription_status", "subscription_allowance",
    "purchased_credits", "total_credits", "subscription_end_date", "trial_expires_at",
)  # fmt: skip
READ_OF_PROFILE = (
    "user_id", "api_key", "credits", "subscription_allowance", "purchased_credits",
    "total_credits", "allowance_reset_date", "username", "email", "auth_method",
    "subscription_status", "tier", "tier_display_name", "trial_expires_at",
    "subscription_end_date", "is_active", "registration_date", "created_at", "updated_at",
    "settings",
)  # fmt: skip


async def test_the_web_client_signs_in_and_uses_the_key_it_is_given(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAYZ_KEY_RING", "1:" + b64encode(b"k" * 32).decode())
    assert world.settings.auth.privy_app == PRIVY_APP
    linked = [{"type": "email", "address": "Ada@Example.org"}]
    token = world.identity.privy("ada", linked_accounts=linked)
    body = {
        "user": {"id": "did:privy:mallory", "linked_accounts": [
            {"type": "email", "address": "victim@example.org"}]},
        "token": token, "privy_access_token": world.identity.privy("ada"),
        "email": "victim@example.org", "is_new_user": True, "auto_create_api_key": True,
        "environment_tag": "live",
    }  # fmt: skip
    answer = await world.client.post("/auth", json=body)
    signed = answer.json()
    assert answer.status_code == 200, signed
    assert set(READ_OF_SIGN_IN) <= set(signed)
    assert (signed["email"], signed["auth_method"]) == ("ada@example.org", "email")
    assert signed["privy_user_id"] == "did:privy:ada"
    assert signed["is_new_user"] and signed["success"]
    world.client.cookies.clear()
    headers = {"authorization": f"Bearer {signed['api_key']}"}

    profile = (await world.client.get("/user/profile", headers=headers)).json()
    assert set(READ_OF_PROFILE) <= set(profile)
    assert profile["api_key"].endswith("…") and profile["api_key"] != signed["api_key"]
    assert profile["user_id"] == signed["user_id"]

    changed = await world.client.put(
        "/user/profile",
        json={"name": "Ada L", "preferences": {"theme": "dark"},
              "settings": {"routing_mode": "cheap", "auto_topup_enabled": False}},
        headers=headers,
    )  # fmt: skip
    assert changed.status_code == 200, changed.text
    assert changed.json()["username"] == "Ada L"
    assert changed.json()["settings"]["routing_mode"] == "cheap"
    assert changed.json()["preferences"] == {"theme": "dark"}

    listed = (await world.client.get("/user/api-keys", headers=headers)).json()
    (key,) = listed["keys"]
    assert (key["is_primary"], key["environment_tag"]) == (True, "test")
    made = await world.client.post(
        "/user/api-keys", json={"key_name": "Site", "environment_tag": "test"}, headers=headers
    )
    assert made.status_code == 200, made.text
    url = f"/user/api-keys/{made.json()['id']}"
    renamed = await world.client.put(url, json={"key_name": "Web"}, headers=headers)
    assert renamed.json()["key"]["key_name"] == "Web"
    gone = await world.client.request(
        "DELETE", url, json={"confirmation": "DELETE_KEY"}, headers=headers
    )
    assert gone.json()["deleted_key_id"] == made.json()["id"]

    own = {"provider_slug": "groq", "api_key": "gsk_0123456789abcdef"}
    kept = await world.client.post("/user/provider-keys", json=own, headers=headers)
    assert kept.status_code == 200, kept.text
    listed = await world.client.get("/user/provider-keys", headers=headers)
    (shown,) = listed.json()["provider_keys"]
    assert (shown["provider_slug"], shown["last4"]) == ("groq", "cdef")
    assert shown["is_active"] is True and shown["created_at"]
    assert own["api_key"] not in listed.text
    removed = await world.client.delete("/user/provider-keys/groq", headers=headers)
    assert removed.status_code == 200
    listed = await world.client.get("/user/provider-keys", headers=headers)
    assert listed.json()["provider_keys"] == []
    history = await world.client.get("/user/credit-transactions?limit=50", headers=headers)
    assert history.json()["transactions"] == []

    refreshed = await world.client.post("/v1/auth/refresh", headers=headers)
    ended = await world.client.post("/v1/auth/invalidate", headers=headers)
    assert (refreshed.status_code, ended.status_code) == (200, 200)
    balance = (await world.client.get("/user/balance", headers=headers)).json()
    assert (balance["user_id"], balance["status"]) == (signed["user_id"], "active")
