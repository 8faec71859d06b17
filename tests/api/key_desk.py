"""What the API document's run needs for the routes of keys: bodies, and a key to act on."""

from typing import Any

from gatewayz.accounts.keys import generate_key, hash_key
from gatewayz.api.operation import Operation
from tests.world import Account, World

# By method and path: one path is changed, and deleted, with different bodies.
REQUESTS: dict[tuple[str, str], dict[str, Any]] = {
    ("post", "/user/api-keys"): {
        "key_name": "Web site", "environment_tag": "test", "expiration_days": 90,
        "ip_allowlist": ["192.0.2.0/24"], "allowed_models": ["sandbox/*"],
    },
    ("put", "/user/api-keys/{key_id}"): {"key_name": "Renamed", "limit": 5, "limit_reset": "daily"},
    ("delete", "/user/api-keys/{key_id}"): {"confirmation": "DELETE_KEY"},
    ("put", "/user/rate-limits"): {"scope": "account", "limit": 100, "limit_reset": "monthly"},
    ("put", "/user/rate-limits/{key_id}"): {"requests_per_minute": 60, "tokens_per_day": 100_000},
    ("post", "/user/rate-limits/bulk-update"): {
        "keys": [{"key_id": "key_1", "concurrent_requests": 20}],
    },
    ("post", "/api/v1/keys"): {"name": "Customer", "limit": 5, "limit_reset": "monthly"},
    ("patch", "/api/v1/keys/{hash}"): {"disabled": True},
}  # fmt: skip
# Wrong wherever it is read.
WRONG = {"limit": "much", "confirmation": 5, "keys": 7}
ACTED_ON = ("key_id", "hash")


async def names(world: World, operation: Operation, account: Account) -> dict[str, str]:
    """A key of the account for a route that acts on one, made for this call."""
    wanted = [p.name for p in operation.parameters if p.name in ACTED_ON and p.place == "path"]
    if not wanted or not account.id:
        return {}
    secret = generate_key("test")
    key_id = f"key_{account.id}_{operation.name}"
    await world.stores.postgres.rpc(
        "create_key",
        {
            "key_id": key_id,
            "account": account.id,
            "name": key_id,
            "hash": hash_key(key_id.encode(), b"any").hex(),
            "prefix": secret.prefix,
        },
    )
    return dict.fromkeys(wanted, key_id)
