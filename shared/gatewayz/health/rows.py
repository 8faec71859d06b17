"""Rows of status pages: an offer, a provider, an incident, a breaker, a point of a curve. Pure."""

from datetime import UTC, datetime
from typing import Any

from gatewayz.core import clock
from gatewayz.core.money import usd_number
from gatewayz.health.report import Figures, Span, Stand, Word, word_of_model, word_of_provider
from gatewayz.health.windows import Row, breaker_state
from gatewayz.routing.view import Health

Page = dict[str, Any]


def text_of(at_ms: int | None) -> str | None:
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).isoformat(timespec="milliseconds")


def now_text() -> str:
    return str(text_of(clock.now_ms()))


def provider_page(slug: str, stand: Stand, *, is_open: bool = False) -> Page:
    day = stand.spans["d1"]
    words = [word_of_model(Stand([row])) for row in stand.rows]
    return {
        "provider": slug,
        "gateway": slug,
        "status": word_of_provider(stand, is_open=is_open),
        "uptime_24h": day.uptime,
        "uptime_7d": stand.spans["d7"].uptime,
        "uptime_30d": stand.spans["d30"].uptime,
        "total_models": len(stand.rows),
        "healthy_models": sum(word == "operational" for word in words),
        "offline_models": sum(word in ("offline", "major_outage") for word in words),
        "requests_24h": day["requests"],
        "error_rate": day.error_rate,
        "average_response_time_ms": day.average_ms,
        "latency": stand.percentiles("latency_d1"),
        "throughput": stand.percentiles("throughput_d1"),
        "last_success_at": text_of(stand.latest("last_success_at_ms")),
        "last_failure_at": text_of(stand.latest("last_failure_at_ms")),
    }


def model_page(row: Row, stand: Stand, word: Word) -> Page:
    day = stand.spans["d1"]
    return {
        "provider": row["provider"],
        "gateway": row["provider"],
        "model": row["model"],
        "model_id": row["model"],
        "status": word,
        "last_status": row["last_class"],
        "last_status_code": row["last_status"],
        "last_response_time_ms": row["last_ms"],
        "average_response_time_ms": day.average_ms,
        "uptime_percentage": day.uptime,
        "uptime_24h": day.uptime,
        "uptime_7d": stand.spans["d7"].uptime,
        "uptime_30d": stand.spans["d30"].uptime,
        "call_count": day["requests"],
        "success_count": day["successes"],
        "error_count": day["errors"],
        "error_rate": day.error_rate,
        "success_rate": day.uptime,
        "tool_call_success_rate": day.tools_valid,
        "consecutive_failures": row["failures"],
        "last_called_at": text_of(row["seen_at_ms"]),
        "last_success_at": text_of(row["last_success_at_ms"]),
        "last_failure_at": text_of(row["last_failure_at_ms"]),
        "is_hidden": row["hidden"],
        "active_incident": incident_page(row["incident"] | {
            "model": row["model"], "provider": row["provider"], "closed_at_ms": None,
        }) if row.get("incident") else None,
    }  # fmt: skip


def is_available(row: Page) -> bool | None:
    """Whether a model answers there; None when nobody asked it lately."""
    if row["status"] == "unknown":
        return None
    return row["status"] not in ("offline", "major_outage")


def incident_page(row: Row) -> Page:
    return {
        "id": row["id"],
        "provider": row["provider"],
        "model": row["model"],
        "incident_type": row["kind"],
        "severity": row["severity"],
        "status": "active" if row["closed_at_ms"] is None else "resolved",
        "error_type": row["class"],
        "error_count": row["failures"],
        "started_at": text_of(row["opened_at_ms"]),
        "resolved_at": text_of(row["closed_at_ms"]),
        "duration_seconds": None
        if row["closed_at_ms"] is None
        else (row["closed_at_ms"] - row["opened_at_ms"]) // 1000,
    }


def point_of(row: Row) -> Page:
    figures = Figures()
    figures.add(row)
    return {
        "at": text_of(row["starts_at_ms"]),
        "provider": row["provider"],
        "requests": figures["requests"],
        "errors": figures["errors"],
        "uptime_percentage": figures.uptime,
        "error_rate": figures.error_rate,
        "average_response_time_ms": figures.average_ms,
        "tokens": figures["prompt_tokens"] + figures["output_tokens"],
        "cost_usd": usd_number(figures["cost_nanos"]),
    }


def breaker_page(name: str, health: Health | None, now_s: float) -> Page:
    left_s = 0.0 if health is None else health.open_until_s - now_s
    return {
        "name": name,
        "state": breaker_state(health, now_s),
        "retry_after_s": round(left_s, 1) if left_s > 0 else None,
        "requests_60s": None if health is None else health.requests,
        "errors_60s": None if health is None else health.errors,
        "cooling_down_s": round(health.cooling_until_s - now_s, 1)
        if health is not None and health.cooling_until_s > now_s
        else None,
        "hidden": health is not None and health.hidden,
    }


def efficiency_of(stand: Stand, span: Span = "d1") -> Page:
    """Tokens and what they cost us."""
    figures = stand.spans[span]
    tokens = figures["prompt_tokens"] + figures["output_tokens"]
    cost = figures["cost_nanos"]
    return {
        "requests": figures["requests"],
        "prompt_tokens": figures["prompt_tokens"],
        "completion_tokens": figures["output_tokens"],
        "tokens_per_request": round(tokens / figures["requests"], 2)
        if figures["requests"]
        else None,
        "cost_usd": usd_number(cost),
        "cost_usd_per_million_tokens": usd_number(cost * 1_000_000 // tokens) if tokens else None,
    }


def counts_of(stand: Stand, span: Span = "d1") -> Page:
    """How many requests, and how they ended."""
    figures = stand.spans[span]
    return {
        "requests": figures["requests"],
        "completed": figures["successes"],
        "failed": figures["errors"],
        "throttled": figures["throttled"],
        "tokens": figures["prompt_tokens"] + figures["output_tokens"],
    }
