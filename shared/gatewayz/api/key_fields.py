"""From what a caller asks of a key to what is stored with it. InvalidRequest names the field."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson

from gatewayz.accounts.rules import Rules, checked_domains, checked_ips, checked_scopes
from gatewayz.api.schemas.keys import ChangeRoutedKey, KeyFields, NewRoutedKey
from gatewayz.core.errors import InvalidRequest
from gatewayz.core.money import NANOS_PER_USD

Row = dict[str, Any]
DAY_MS = 86_400_000
LAST_MS = 253_402_300_799_999
DEFAULT_SCOPES = ("inference", "usage:read")
# Words of the older form.
OLDER: Mapping[str, tuple[str, ...]] = {
    "read": ("usage:read", "keys:read"),
    "write": ("inference", "keys:write"),
    "admin": ("management", "billing"),
}
EVERYTHING = "*"


def stored(asked: KeyFields, holder: Rules, now_ms: int, *, new: bool) -> Row:
    """The columns that `asked` sets, those alone; `holder` is the key that gives the rights."""
    given = {name: getattr(asked, name) for name in asked.model_fields_set}
    row: Row = {}
    rules = _rules(given)
    if new or given.get("scopes") is not None or given.get("scope_permissions") is not None:
        rules["scopes"] = checked_scopes(_scopes(given), holder)
    rules = holder.bound(rules, new=new)
    if rules:
        row["rules"] = rules
    limits = _limits(given)
    if limits:
        row["limits"] = limits
    if "expiration_days" in given:
        days = given["expiration_days"]
        row["expires_at_ms"] = None if days is None else now_ms + days * DAY_MS
    if "preferences" in given:
        row["preferences"] = checked_json(given["preferences"])
    if "team" in given:
        row["team"] = given["team"]
    if "metadata" in given:
        row["metadata"] = given["metadata"] or {}
    return row


def _rules(given: Row) -> Row:
    rules: Row = {}
    if "ip_allowlist" in given:
        rules["ips"] = checked_ips(given["ip_allowlist"] or ())
    if "domain_referrers" in given:
        rules["referrers"] = checked_domains(given["domain_referrers"] or ())
    for shown, name in (
        ("allowed_models", "models"),
        ("blocked_models", "blocked_models"),
        ("allowed_providers", "providers"),
        ("blocked_providers", "blocked_providers"),
    ):
        if shown in given:
            rules[name] = [pattern.lower() for pattern in given[shown] or ()]
    return rules


def _scopes(given: Row) -> list[str]:
    if given.get("scopes") is not None:
        return list(given["scopes"])
    older = given.get("scope_permissions")
    if older is None:
        return list(DEFAULT_SCOPES)
    found: list[str] = []
    for permission, resources in older.items():
        if resources and EVERYTHING not in resources:
            # Rather none than more than was meant.
            raise InvalidRequest(
                'A permission is given for everything: ["*"].', param="scope_permissions"
            )
        if resources:
            found += OLDER.get(permission, (permission,))
    return found


def _limits(given: Row) -> Row:
    limits: Row = {}
    if "limit" in given:
        limits["usd_nanos"] = nanos_of(given["limit"])
    if "limit_reset" in given:
        limits["reset"] = given["limit_reset"]
    if "max_requests" in given:
        limits["max_requests"] = given["max_requests"]
    if given.get("rate_limits") is not None:
        rates = given["rate_limits"]
        limits |= {name: getattr(rates, name) for name in rates.model_fields_set}
    return limits


def routed(asked: NewRoutedKey | ChangeRoutedKey) -> Row:
    """The columns that OpenRouter's body sets."""
    given = {name: getattr(asked, name) for name in asked.model_fields_set}
    row: Row = {}
    limits = _limits(given)
    if "include_byok_in_limit" in given:
        limits["include_byok"] = given["include_byok_in_limit"]
    if limits:
        row["limits"] = limits
    if "expires_at" in given:
        row["expires_at_ms"] = moment_ms(given["expires_at"], "expires_at")
    if given.get("workspace_id"):
        row["team"] = given["workspace_id"]
    if given.get("creator_user_id"):
        row["metadata"] = {"creator_user_id": given["creator_user_id"]}
    return row


def nanos_of(usd: float | None) -> int | None:
    """Through the shortest decimal that means the number: 0.1 is a tenth."""
    return None if usd is None else int(Decimal(repr(usd)) * NANOS_PER_USD)


def moment_ms(text: str | None, param: str) -> int | None:
    """Unix milliseconds of ISO 8601; without a zone it is UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        at_ms = int(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"'{param}' must be a time in ISO 8601.", param=param) from None
    if not 0 <= at_ms <= LAST_MS:
        raise InvalidRequest(f"'{param}' is too far away.", param=param)
    return at_ms


def checked_json(value: Row | None) -> Row | None:
    """What the database can keep: text without NUL and without halves of characters."""
    try:
        text = orjson.dumps(value)
    except TypeError:
        text = b"\\u0000"
    if b"\\u0000" in text or len(text) > 16_384:
        raise InvalidRequest("'preferences' cannot be kept.", param="preferences")
    return value
