"""What a member's role allows: one table of permissions, deny by default. Pure data.

A permission is a scope of accounts/scopes.py: what keys may be given, and what only members have.
Whatever a role lacks, nobody with that role has, and no key that was made by them.
"""

from collections.abc import Mapping

# Scopes that a key may be given (accounts/rules.py) …
KEY_PERMISSIONS = (
    "inference", "keys:read", "keys:write", "usage:read", "billing", "management",
)  # fmt: skip
# … and those of people: one's own profile, the account's people, the account, ending it.
MEMBER_PERMISSIONS = ("profile", "members:read", "members:write", "account:write", "account:own")
PERMISSIONS = (*KEY_PERMISSIONS, *MEMBER_PERMISSIONS)
OWNER, ADMIN = "owner", "admin"
# Everybody who belongs to an account, whatever their role.
_EVERYBODY = ("usage:read", "profile", "members:read")
ROLES: Mapping[str, frozenset[str]] = {
    OWNER: frozenset(PERMISSIONS),
    ADMIN: frozenset(PERMISSIONS) - {"account:own"},
    "developer": frozenset({*_EVERYBODY, "inference", "keys:read", "keys:write"}),
    "billing": frozenset({*_EVERYBODY, "billing"}),
    "viewer": frozenset({*_EVERYBODY, "keys:read"}),
}
# The staff's own role stands beside these: it opens what asks for staff, and nothing else.
STAFF = "staff"
GIVEN_BY_INVITATION = ("admin", "developer", "billing", "viewer")
# The first key of a new account: what the web client does with it, and no more.
FIRST_KEY = ("inference", "usage:read", "keys:read", "keys:write", "billing", "profile")


def permissions_of(role: str) -> frozenset[str]:
    """Nothing for a role that nobody knows."""
    return ROLES.get(role, frozenset())


def may_give(role: str | None, wanted: str) -> bool:
    """May somebody of this role make others `wanted`? None: a key that is nobody's, with every
    right. Nobody gives more than they have."""
    return role is None or permissions_of(wanted) <= permissions_of(role)
