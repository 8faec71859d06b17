"""Who may make, rotate and limit keys: nobody gets rid of a limit by way of another key.

Guarantees that a key with limits or an expiry makes and frees none unless it manages the account's
keys, and that what an owner or admin set is not lifted by a role below them.
"""

from collections.abc import Iterable
from typing import Any

from gatewayz.accounts.principals import Principal
from gatewayz.accounts.roles import permissions_of
from gatewayz.core.errors import Forbidden
from gatewayz.stores.postgres import Postgres

MANAGEMENT = "management"
# Columns of a key that bound what it may spend, and how long.
BOUNDS = frozenset({"limits", "expires_at_ms", "team"})
# Stored beside the limits, and none by themselves.
_SHAPES = frozenset({"reset", "include_byok"})
Row = dict[str, Any]


async def check_may_make(caller: Principal, postgres: Postgres) -> None:
    """For making keys and for new secrets. Forbidden (insufficient_scope) for a key without
    `management` that has limits, of its own or of its team, or an expiry."""
    if caller.person or caller.rules.grants(MANAGEMENT):
        return
    named = {"account": caller.account, "key_id": caller.key_id}
    row: Row = await postgres.rpc("read_key", named)
    bounded = row["expires_at_ms"] is not None or _limits(row["limits"])
    if not bounded and row["team"] is not None:
        bounded = _limits((await postgres.rpc("find_limits", named))["team_limits"])
    if bounded:
        raise Forbidden(
            "This key has limits or an expiry: without the scope 'management' it makes, rotates"
            " and limits no keys.",
            code="insufficient_scope",
        )


async def check_may_change(caller: Principal, postgres: Postgres, fields: Iterable[str]) -> None:
    """For a change of these columns of a key: its limits, expiry and team are changed by owners
    and admins, and by keys that may make others. Forbidden (insufficient_scope)."""
    if BOUNDS.isdisjoint(fields):
        return
    role = caller.rules.role
    if role is not None and MANAGEMENT not in permissions_of(role):
        raise Forbidden(
            "Limits, expiry and team of a key are changed by an owner or an admin.",
            code="insufficient_scope",
        )
    await check_may_make(caller, postgres)


def _limits(stored: Row | None) -> bool:
    return any(value is not None for name, value in (stored or {}).items() if name not in _SHAPES)
