"""Which scope a route of the control plane asks for: data, deny by default.

The data plane's routes all ask for `inference`. A route that stands nowhere here asks for what no
restricted key has.
"""

from collections.abc import Mapping

from gatewayz.accounts.rules import ANY_SCOPE

UNDECLARED = "undeclared"
# By the title of the application; its routes may say otherwise below.
OF_FUNCTION: Mapping[str, str] = {
    "billing": "billing",
    "subscriptions": "billing",
    "promotions": "billing",
    "credits": "billing",
    "trials": "billing",
    "usage": "usage:read",
    "models": "inference",
}
OF_ROUTE: Mapping[tuple[str, str], str] = {
    ("GET", "/v1/key"): ANY_SCOPE,
    ("GET", "/api/v1/key"): ANY_SCOPE,
    ("GET", "/user/api-keys"): "keys:read",
    ("GET", "/user/api-keys/usage"): "keys:read",
    ("GET", "/user/api-keys/audit-logs"): "keys:read",
    ("POST", "/user/api-keys"): "keys:write",
    ("PUT", "/user/api-keys/{key_id}"): "keys:write",
    ("DELETE", "/user/api-keys/{key_id}"): "keys:write",
    **dict.fromkeys(
        (
            ("GET", "/api/v1/keys"),
            ("POST", "/api/v1/keys"),
            ("GET", "/api/v1/keys/{hash}"),
            ("PATCH", "/api/v1/keys/{hash}"),
            ("DELETE", "/api/v1/keys/{hash}"),
            ("GET", "/user/audit"),
            ("GET", "/user/audit/verify"),
        ),
        "management",
    ),
}


def scope_of(function: str, method: str, path: str) -> str:
    """The scope that this method of this route asks for."""
    named = OF_ROUTE.get((method, path))
    return named if named is not None else OF_FUNCTION.get(function, UNDECLARED)
