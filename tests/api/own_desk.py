"""What the API document's run needs for provider keys and for keys of applications: bodies, a key
to act on, a code to exchange.
"""

from typing import Any

from gatewayz.api.operation import Operation
from tests.world import Account, World

KEPT = "sk-proj-abcdefghij0123456789"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
ASK = {
    "callback_url": "https://app.example/done", "code_challenge": CHALLENGE,
    "code_challenge_method": "S256", "key_label": "An app", "limit": 5,
}  # fmt: skip
REQUESTS: dict[tuple[str, str], dict[str, Any]] = {
    ("post", "/user/provider-keys"): {
        "provider_slug": "openai", "api_key": KEPT, "name": "Production", "mode": "always",
    },
    ("put", "/user/provider-keys/{slug}"): {"mode": "fallback", "priority": 1},
    ("post", "/api/v1/byok"): {"provider": "openai", "key": KEPT, "name": "Production"},
    ("patch", "/api/v1/byok/{id}"): {"disabled": False, "name": "Renamed"},
    ("post", "/api/v1/auth/keys/code"): ASK,
    ("post", "/api/v1/auth/keys"): {
        "code": "auth_code_abc123def456", "code_verifier": VERIFIER,
        "code_challenge_method": "S256",
    },
    ("put", "/user/notifications/preferences"): {
        "low_balance_threshold": 5, "usage_alerts": True, "trial_expiry_reminder_days": 3,
    },
}  # fmt: skip
# Wrong wherever it is read.
WRONG = {
    name: [5] for name in ("provider_slug", "mode", "provider", "disabled", "callback_url",
                           "code", "usage_alerts")
}  # fmt: skip
NOBODYS = "11111111-2222-3333-4444-555555555555"
PATHS = ("/user/provider-keys/{slug}", "/api/v1/byok/{id}")


async def names(world: World, operation: Operation, account: Account) -> dict[str, str]:
    """A provider key for a route that acts on one, made for this call."""
    if operation.path not in PATHS:
        return {}
    if not account.id:
        return {"slug": NOBODYS, "id": NOBODYS}
    body = REQUESTS["post", "/user/provider-keys"]
    made = await world.client.post("/user/provider-keys", json=body, headers=account.headers)
    return {"slug": made.json()["id"], "id": made.json()["id"]}


async def fields(world: World, operation: Operation, account: Account) -> dict[str, Any]:
    """A code that is good for once."""
    if operation.path != "/api/v1/auth/keys" or not account.id:
        return {}
    given = await world.client.post("/api/v1/auth/keys/code", json=ASK, headers=account.headers)
    return {"code": given.json()["data"]["id"]}
