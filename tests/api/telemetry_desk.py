"""Examples of an account's own tracing, for the API document."""

from typing import Any

from gatewayz.api.operation import Operation
from tests.world import Account, World

PATH = "/user/destinations/{name}"
# An address as such: no name of it is looked up.
REQUESTS: dict[tuple[str, str], dict[str, Any]] = {
    ("put", PATH): {
        "kind": "otlp",
        "endpoint": "https://1.1.1.1/v1/traces",
        "key": "key-of-that-service-0001",
        "sampling": 0.5,
    },
}


async def names(world: World, operation: Operation, account: Account) -> dict[str, str]:
    """There is one to be shown, changed and taken away."""
    if operation.path.startswith("/user/destinations"):
        body = REQUESTS["put", PATH]
        await world.client.put("/user/destinations/mine", json=body, headers=account.headers)
    return {}
