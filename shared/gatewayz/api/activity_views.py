"""An account's activity as the web client and as OpenRouter's clients read it. Pure."""

from typing import Any

from gatewayz.api.answers import time_text
from gatewayz.core.money import usd_number

Row = dict[str, Any]


def stats(days: list[Row]) -> Row:
    return {
        "total_requests": sum(day["requests"] for day in days),
        "total_tokens": sum(day["tokens"] for day in days),
        "total_spend": usd_number(sum(day["nanos"] for day in days)),
        "daily_stats": [
            {
                "date": day["day"],
                "spend": usd_number(day["nanos"]),
                "tokens": day["tokens"],
                "requests": day["requests"],
            }
            for day in days
        ],
    }


def logged(row: Row, account: str) -> Row:
    prompt, answer = row["prompt_tokens"], row["completion_tokens"]
    return {
        "id": row["request_id"],
        "user_id": account,
        "api_key_id": row["key_id"],
        "timestamp": time_text(row["at_ms"]),
        "model": row["model"],
        "provider": row["provider"],
        "tokens": prompt + answer,
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "cost": usd_number(row["nanos"]),
        "speed": _speed(row, answer),
        "finish_reason": row["finish"],
        "outcome": row["outcome"],
        "app": row["app"],
    }


def _speed(row: Row, tokens: int) -> float | None:
    first_ms, total_ms = row["first_token_ms"], row["total_ms"]
    if not tokens or first_ms is None or total_ms is None or total_ms <= first_ms:
        return None
    return float(round(tokens * 1000 / (total_ms - first_ms), 2))


def routed(row: Row) -> Row:
    return {
        "date": row["day"],
        "model": row["model"],
        "model_permaslug": row["model"],
        "endpoint_id": row["offer"],
        "provider_name": row["provider"],
        "usage": usd_number(row["nanos"]),
        "byok_usage_inference": usd_number(0),
        "requests": row["requests"],
        "prompt_tokens": row["prompt_tokens"],
        "completion_tokens": row["completion_tokens"],
        "reasoning_tokens": row["reasoning_tokens"],
    }
