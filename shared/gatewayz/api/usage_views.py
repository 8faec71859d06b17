"""Exports, alerts, service levels and credits as the API tells them. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

from gatewayz.api.answers import time_text
from gatewayz.core.money import usd_number

Row = dict[str, Any]
PPM_PER_PERCENT = 10_000
BLAME: Mapping[str, str] = {
    "client": "the request was refused for what it asks, or its own provider key was refused",
    "gateway": "a process of ours, a store of ours, or our credential at a provider failed",
    "provider": "the provider failed, timed out, throttled, broke off or gave nothing",
}


def percent(ppm: int | None) -> float | None:
    return None if ppm is None else ppm / PPM_PER_PERCENT


def export(job: Row, link: Callable[[int], str]) -> Row:
    parts = job["parts"] if job["state"] == "done" else []
    return {
        "id": job["export_id"],
        "kind": job["kind"],
        "format": job["format"],
        "status": job["state"],
        "created_at": time_text(job["created_at_ms"]),
        "finished_at": time_text(job["finished_at_ms"]),
        "expires_at": time_text(job["expires_at_ms"]),
        "rows": sum(part["rows"] for part in job["parts"]),
        "error": job["problem"],
        "parts": [
            {"url": link(number), "rows": part["rows"], "bytes": part["bytes"]}
            for number, part in enumerate(parts, 1)
        ],
    }


def alert(row: Row) -> Row:
    expected = row["forecast_nanos"]
    return {
        "id": row["alert_id"],
        "name": row["name"],
        "limit": usd_number(row["limit_nanos"]),
        "period": row["period"],
        "thresholds": row["thresholds"],
        "forecast": row["forecast"],
        "daily_report": row["daily_report"],
        "dimension": row["dimension"],
        "value": row["value"],
        "enabled": row["enabled"],
        "created_at": time_text(row["created_at_ms"]),
        "period_start": time_text(row["period_start_ms"]),
        "period_end": time_text(row["period_end_ms"]),
        "spent": usd_number(row["spent_nanos"]),
        "spent_percent": row["spent_nanos"] * 100 // row["limit_nanos"],
        "expected": None if expected is None else usd_number(expected),
    }


def terms(row: Row) -> Row:
    return {
        "plans": [
            {
                "plan": plan["plan"],
                "promised": percent(plan["promised_ppm"]),
                "least_requests": plan["least_requests"],
                "steps": [
                    {"below": percent(step["below_ppm"]), "credit_percent": step["percent"]}
                    for step in plan["steps"]
                ],
            }
            for plan in row["plans"]
        ],
        "outcomes": [
            {"outcome": each["outcome"], "credit_percent": each["percent"]}
            for each in row["outcomes"]
        ],
        "blame": dict(BLAME),
    }


def uptime(row: Row) -> Row:
    return {
        "name": row["name"],
        "requests": row["requests"],
        "failed": row["failed"],
        "availability": percent(row["availability_ppm"]),
    }


def incident(row: Row) -> Row:
    return {
        "id": row["id"],
        "model": row["model"],
        "provider": row["provider"],
        "kind": row["kind"],
        "severity": row["severity"],
        "error_class": row["class"],
        "failures": row["failures"],
        "opened_at": time_text(row["opened_at_ms"]),
        "closed_at": time_text(row["closed_at_ms"]),
    }


def _dollars(detail: Row) -> Row:
    """Amounts within a credit's detail, told like all others."""
    return {
        name.removesuffix("_nanos"): usd_number(value) if name.endswith("_nanos") else value
        for name, value in detail.items()
        if name != "account"
    }


def service_credit(row: Row) -> Row:
    return {
        "id": row["credit_id"],
        "kind": row["kind"],
        "period": row["period"],
        "amount": usd_number(row["amount_nanos"]),
        "reason": row["reason"],
        "detail": _dollars(row["detail"]),
        "posted_at": time_text(row["posted_at_ms"]),
        "reversed_at": time_text(row["reversed_at_ms"]),
        "reversed_for": row["reversed_for"],
    }


def sla_report(row: Row) -> Row:
    same = ("month", "plan", "final", "requests", "failed", "failed_by", "failed_as", "providers",
            "least_requests", "breached", "credit_percent")  # fmt: skip
    return {name: row[name] for name in same} | {
        "availability": percent(row["availability_ppm"]),
        "promised": percent(row["promised_ppm"]),
        "charged": usd_number(row["charged_nanos"]),
        "credit": usd_number(row["credit_nanos"]),
        "credits": [service_credit(each) for each in row["credits"]],
    }
