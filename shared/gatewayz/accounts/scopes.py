"""Which scope a route of the control plane asks for: data, deny by default. A key has its scopes,
a member those of their role (accounts/roles.py).

The data plane's routes all ask for `inference`. A route that stands nowhere here asks for what no
restricted key and no role has.
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
    "promises": "usage:read",
    "models": "inference",
}
OF_ROUTE: Mapping[tuple[str, str], str] = {
    ("GET", "/v1/key"): ANY_SCOPE,
    ("GET", "/api/v1/key"): ANY_SCOPE,
    ("GET", "/user/api-keys"): "keys:read",
    ("POST", "/v1/alerts"): "billing",
    ("PUT", "/v1/alerts/{alert_id}"): "billing",
    ("DELETE", "/v1/alerts/{alert_id}"): "billing",
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
    ("GET", "/user/rate-limits"): "keys:read",
    ("GET", "/user/rate-limits/usage/{key_id}"): "keys:read",
    ("PUT", "/user/rate-limits"): "management",
    ("PUT", "/user/rate-limits/{key_id}"): "keys:write",
    ("POST", "/user/rate-limits/bulk-update"): "keys:write",
    ("GET", "/user/provider-keys"): "keys:read",
    ("POST", "/user/provider-keys"): "keys:write",
    ("PUT", "/user/provider-keys/{slug}"): "keys:write",
    ("DELETE", "/user/provider-keys/{slug}"): "keys:write",
    **dict.fromkeys(
        (
            ("GET", "/api/v1/byok"),
            ("POST", "/api/v1/byok"),
            ("GET", "/api/v1/byok/{id}"),
            ("PATCH", "/api/v1/byok/{id}"),
            ("DELETE", "/api/v1/byok/{id}"),
            ("POST", "/api/v1/auth/keys/code"),
        ),
        "management",
    ),
    ("GET", "/user/notifications/preferences"): "usage:read",
    ("PUT", "/user/notifications/preferences"): "profile",
    # One's own: whoever is signed in, and what a key is without harm.
    **dict.fromkeys(
        (
            ("GET", "/auth/session"),
            ("POST", "/v1/auth/refresh"),
            ("POST", "/v1/auth/invalidate"),
            ("GET", "/user/sessions"),
            ("POST", "/user/notifications/test"),
            ("DELETE", "/user/sessions/{session}"),
            ("GET", "/user/accounts"),
            ("POST", "/user/account/leave"),
            ("POST", "/user/invitations/accept"),
        ),
        ANY_SCOPE,
    ),
    ("GET", "/user/profile"): "usage:read",
    ("GET", "/user/balance"): "usage:read",
    ("PUT", "/user/profile"): "profile",
    **dict.fromkeys(
        (
            ("GET", "/user/account"),
            ("GET", "/user/members"),
            ("GET", "/user/members/{member_id}"),
            ("GET", "/user/teams"),
        ),
        "members:read",
    ),
    **dict.fromkeys(
        (
            ("PATCH", "/user/members/{member_id}"),
            ("DELETE", "/user/members/{member_id}"),
            ("GET", "/user/invitations"),
            ("POST", "/user/invitations"),
            ("DELETE", "/user/invitations/{invitation_id}"),
        ),
        "members:write",
    ),
    **dict.fromkeys(
        (
            ("PATCH", "/user/account"),
            ("POST", "/user/teams"),
            ("PATCH", "/user/teams/{team_id}"),
            ("DELETE", "/user/teams/{team_id}"),
            ("PUT", "/user/teams/{team_id}/members/{member_id}"),
            ("DELETE", "/user/teams/{team_id}/members/{member_id}"),
        ),
        "account:write",
    ),
    ("GET", "/user/destinations"): "usage:read",
    ("PUT", "/user/destinations/{name}"): "management",
    ("DELETE", "/user/destinations/{name}"): "management",
    ("DELETE", "/user/account"): "account:own",
    ("POST", "/user/account/transfer"): "account:own",
}


def scope_of(function: str, method: str, path: str) -> str:
    """The scope that this method of this route asks for."""
    named = OF_ROUTE.get((method, path))
    return named if named is not None else OF_FUNCTION.get(function, UNDECLARED)
