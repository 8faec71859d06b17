"""A stored key as the web client and as OpenRouter's clients read it. Pure."""

from typing import Any

from gatewayz.accounts.rules import LISTS, SCOPES
from gatewayz.api.answers import time_text
from gatewayz.core.money import usd_number

Row = dict[str, Any]
DAY_MS = 86_400_000
RATES = (
    "requests_per_minute", "requests_per_hour", "requests_per_day",
    "tokens_per_minute", "tokens_per_day", "tokens_per_month", "concurrent_requests",
)  # fmt: skip
SPENT = {"daily": "day_nanos", "weekly": "week_nanos", "monthly": "month_nanos"}
NAMES = dict(
    zip(
        LISTS,
        ("ip_allowlist", "domain_referrers", "allowed_models", "blocked_models",
         "allowed_providers", "blocked_providers"),
        strict=True,
    )
)  # fmt: skip


def scopes_of(row: Row) -> list[str]:
    found: list[str] | None = row["rules"].get("scopes")
    return list(SCOPES) if found is None else found


def spend_limit(row: Row) -> Row:
    """`limit`, `limit_reset` and `limit_remaining`, None without a limit."""
    limits = row["limits"]
    most, reset = limits.get("usd_nanos"), limits.get("reset")
    if most is None:
        return {"limit": None, "limit_reset": None, "limit_remaining": None}
    left = max(0, most - row[SPENT.get(reset, "total_nanos")])
    return {"limit": usd_number(most), "limit_reset": reset, "limit_remaining": usd_number(left)}


def spending(row: Row) -> Row:
    return {
        "usage": usd_number(row["total_nanos"]),
        "usage_daily": usd_number(row["day_nanos"]),
        "usage_weekly": usd_number(row["week_nanos"]),
        "usage_monthly": usd_number(row["month_nanos"]),
    }


def api_key(row: Row, now_ms: int) -> Row:
    """For /user/api-keys; never the secret."""
    expires_ms, used = row["expires_at_ms"], row["requests"]
    most = row["limits"].get("max_requests")
    spend = spend_limit(row)
    return {
        "id": row["key_id"],
        "api_key": row["prefix"] + "…",
        "key_name": row["name"],
        "environment_tag": row["environment"],
        "scopes": scopes_of(row),
        "scope_permissions": {scope: ["*"] for scope in scopes_of(row)},
        "is_active": row["enabled"] and (expires_ms is None or expires_ms > now_ms),
        "is_primary": row["is_primary"],
        "expiration_date": time_text(expires_ms),
        "days_remaining": None
        if expires_ms is None
        else max(0, -(-(expires_ms - now_ms) // DAY_MS)),
        "max_requests": most,
        "requests_used": used,
        "requests_remaining": None if most is None else max(0, most - used),
        "usage_percentage": None if most is None else round(min(100, used * 100 / most), 2),
        **{shown: row["rules"].get(name) or [] for name, shown in NAMES.items()},
        "limit": spend["limit"],
        "limit_reset": spend["limit_reset"],
        "rate_limits": {name: row["limits"].get(name) for name in RATES},
        "preferences": row["preferences"],
        "team": row["team"],
        "metadata": row["metadata"],
        "old_secret_until": time_text(row["old_until_ms"]),
        "created_at": time_text(row["created_at_ms"]),
        "updated_at": time_text(row["updated_at_ms"]),
        "last_used_at": time_text(row["last_used_at_ms"]),
    }


def api_key_use(row: Row) -> Row:
    return {
        "id": row["key_id"],
        "key_name": row["name"],
        "is_active": row["enabled"],
        "requests": row["requests"],
        "prompt_tokens": row["prompt_tokens"],
        "completion_tokens": row["completion_tokens"],
        "total_tokens": row["prompt_tokens"] + row["completion_tokens"],
        **spending(row),
        "max_requests": row["limits"].get("max_requests"),
        **spend_limit(row),
        "last_used_at": time_text(row["last_used_at_ms"]),
    }


def routed_key(row: Row) -> Row:
    """For /api/v1/keys."""
    return {
        "hash": row["hash"],
        "name": row["name"],
        "label": row["prefix"] + "…",
        "disabled": not row["enabled"],
        **spend_limit(row),
        **_byok(row),
        **spending(row),
        "created_at": time_text(row["created_at_ms"]),
        "updated_at": time_text(row["updated_at_ms"]),
        "expires_at": time_text(row["expires_at_ms"]),
        "creator_user_id": row["metadata"].get("creator_user_id"),
        "workspace_id": row["team"],
    }


def own_key(row: Row, balance_nanos: int) -> Row:
    """For /v1/key: the calling key of itself, and what its account has left."""
    scopes = scopes_of(row)
    manages = "management" in scopes and "inference" not in scopes
    return {
        "label": row["prefix"] + "…",
        "name": row["name"],
        **spend_limit(row),
        **_byok(row),
        **spending(row),
        "is_free_tier": False,
        "is_management_key": manages,
        "is_provisioning_key": manages,
        "creator_user_id": row["metadata"].get("creator_user_id"),
        "expires_at": time_text(row["expires_at_ms"]),
        "balance": usd_number(balance_nanos),
        "rate_limits": {name: row["limits"].get(name) for name in RATES},
        "rate_limit": {
            "requests": -1,
            "interval": "10s",
            "note": "This field is deprecated and safe to ignore.",
        },
    }


def _byok(row: Row) -> Row:
    """What requests at the account's own provider keys cost their owner, at list prices."""
    return {
        "include_byok_in_limit": bool(row["limits"].get("include_byok")),
        "byok_usage": usd_number(row["byok_total_nanos"]),
        "byok_usage_daily": usd_number(row["byok_day_nanos"]),
        "byok_usage_weekly": usd_number(row["byok_week_nanos"]),
        "byok_usage_monthly": usd_number(row["byok_month_nanos"]),
    }


def audit_entry(row: Row) -> Row:
    return {
        "id": row["seq"],
        "timestamp": time_text(row["at_ms"]),
        "actor": row["actor"],
        "action": row["action"],
        "target": row["target"],
        "details": row["details"],
        "hash": row["hash"],
    }
