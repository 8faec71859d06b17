"""The request log as callers read it, and as files hold it. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gatewayz.core.ids import public_id
from gatewayz.core.money import usd_number, usd_text

Row = dict[str, Any]

# In the order of a file's columns.
COLUMNS = (
    "id", "created_at", "model", "provider", "offer", "api_key_id", "team", "member", "tags",
    "end_user", "session_id", "app", "outcome", "finish_reason", "error_class", "blame", "streamed",
    "is_byok", "tokens_prompt", "tokens_completion", "tokens_cached", "tokens_reasoning",
    "usage_usd", "cache_savings_usd", "estimated", "attempts", "first_token_ms", "total_ms",
    "price_version", "client_request_id",
)  # fmt: skip


def time_text(at_ms: int) -> str:
    """Unix milliseconds as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).isoformat(timespec="milliseconds")


def _plain(row: Mapping[str, Any]) -> Row:
    return {
        "id": public_id(row["request_id"], "gen-"),
        "created_at": time_text(row["at_ms"]),
        "model": row["model"],
        "provider": row["provider"],
        "offer": row["offer"],
        "api_key_id": row["key_id"],
        "team": row["team"],
        "member": row["member"],
        "tags": row["tags"],
        "end_user": row["end_user"],
        "session_id": row["session"],
        "app": row["app"],
        "outcome": row["outcome"],
        "finish_reason": row["finish"],
        "error_class": row["error_class"],
        "blame": row["blame"],
        "streamed": row["stream"],
        "is_byok": row["is_byok"],
        "tokens_prompt": row["prompt_tokens"],
        "tokens_completion": row["completion_tokens"],
        "tokens_cached": row["cached_tokens"],
        "tokens_reasoning": row["reasoning_tokens"],
        "estimated": row["estimated"],
        "first_token_ms": row["first_token_ms"],
        "total_ms": row["total_ms"],
        "price_version": row["price_version"],
        "client_request_id": row["client_request_id"],
    }


def shown(row: Mapping[str, Any]) -> Row:
    """One request of the log's answer."""
    return _plain(row) | {
        "request_id": row["request_id"],
        "usage": usd_number(row["charge_nanos"]),
        "cache_savings": usd_number(row["cache_savings_nanos"]),
        "attempts": row["attempts"],
    }


def filed(row: Mapping[str, Any]) -> Row:
    """One request as a flat row of a file; amounts are exact decimal text."""
    made = _plain(row) | {
        "tags": " ".join(row["tags"]),
        "usage_usd": usd_text(row["charge_nanos"]),
        "cache_savings_usd": usd_text(row["cache_savings_nanos"]),
        "attempts": len(row["attempts"]),
    }
    return {name: made[name] for name in COLUMNS}
