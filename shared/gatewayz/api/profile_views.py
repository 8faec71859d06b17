"""A profile, a member, an invitation, a team as clients read them. Pure."""

from collections.abc import Iterable
from typing import Any

from gatewayz.api.answers import time_text
from gatewayz.core.money import usd_number

Row = dict[str, Any]
PRIVY_SUBJECT = "did:privy:"
NANOS_PER_CENT = 10_000_000


def funds(row: Row, plan_name: str) -> Row:
    """What an account has. `total_credits` is all of it, set aside for requests or not."""
    subscription, trial = row["subscription"] or {}, row["trial"] or {}
    total = row["balance"]["balance_nanos"]
    ends_ms = subscription.get("ended_at_ms") or subscription.get("period_end_ms")
    status = subscription.get("status") or ("trial" if trial.get("active") else "inactive")
    return {
        "credits": usd_number(total),
        "subscription_status": status,
        "tier": row["plan"],
        "tier_display_name": plan_name,
        "trial_expires_at": time_text(trial.get("ended_at_ms") or trial.get("ends_at_ms")),
        "subscription_end_date": ends_ms // 1000 if ends_ms else None,
        "subscription_allowance": usd_number(row["allowance_nanos"]),
        "purchased_credits": usd_number(row["purchased_nanos"]),
        "total_credits": usd_number(total),
        "allowance_reset_date": time_text(subscription.get("period_end_ms")),
    }


def privy_id(row: Row) -> str | None:
    subject = row.get("subject")
    return subject if subject and subject.startswith(PRIVY_SUBJECT) else None


def settings_of(row: Row) -> Row:
    """The account's settings, automatic top-ups among them."""
    topup = row["auto_topup"] or {"enabled": False, "threshold_nanos": 0, "amount_cents": 0}
    return {
        **row["settings"],
        "auto_topup_enabled": topup["enabled"],
        "auto_topup_threshold": usd_number(topup["threshold_nanos"]),
        "auto_topup_amount": usd_number(topup["amount_cents"] * NANOS_PER_CENT),
    }


def shown_prefix(row: Row) -> str | None:
    return row["prefix"] + "…" if row["prefix"] else None


def profile(row: Row, plan_name: str) -> Row:
    person = row["person"] or {}
    return {
        "user_id": row["account"],
        "member_id": person.get("person"),
        "api_key": shown_prefix(row),
        "username": person.get("name") or row["name"],
        "email": person.get("email"),
        "auth_method": person.get("method"),
        "privy_user_id": privy_id(row),
        "role": row["role"],
        "is_active": row["status"] == "active",
        "registration_date": time_text(row["created_at_ms"]),
        "created_at": time_text(row["created_at_ms"]),
        "updated_at": time_text(person.get("updated_at_ms")),
        "settings": settings_of(row),
        "preferences": person.get("preferences") or {},
        **funds(row, plan_name),
    }


def account(row: Row, role: str | None) -> Row:
    return {
        "id": row["account"],
        "name": row["name"],
        "status": row["status"],
        "role": role,
        "members": row["members"],
        "owner_id": row["owner"],
        "created_at": time_text(row["created_at_ms"]),
    }


def accounts(rows: Iterable[Row]) -> list[Row]:
    return [
        {"id": r["account"], "name": r["name"], "role": r["role"], "is_home": bool(r["home"])}
        for r in rows
    ]


def member(row: Row) -> Row:
    return {
        "id": row["person"],
        "name": row["name"],
        "email": row["email"],
        "role": row["role"],
        "teams": row["teams"],
        "joined_at": time_text(row["joined_at_ms"]),
        "last_seen_at": time_text(row["seen_at_ms"]),
    }


def invitation(row: Row) -> Row:
    return {
        "id": row["invitation"],
        "email": row["email"],
        "role": row["role"],
        "status": row["status"],
        "invited_by": row["invited_by"],
        "created_at": time_text(row["created_at_ms"]),
        "expires_at": time_text(row["expires_at_ms"]),
    }


def team(row: Row) -> Row:
    return {
        "id": row["team"],
        "name": row["name"],
        "members": row["members"],
        "keys": row["keys"],
        "usage": usd_number(row["nanos"]),
        "created_at": time_text(row["created_at_ms"]),
    }


def session(row: Row, current: str) -> Row:
    return {
        "id": row["session"],
        "ip": row["ip"],
        "user_agent": row["agent"],
        "is_current": row["session"] == current,
        "created_at": time_text(row["created_at_ms"]),
        "last_seen_at": time_text(row["seen_at_ms"]),
        "expires_at": time_text(row["expires_at_ms"]),
    }


def user(row: Row) -> Row:
    """For the staff: an account and its owner."""
    return {
        "user_id": row["account"],
        "member_id": row["person"],
        "username": row["person_name"] or row["name"],
        "account_name": row["name"],
        "email": row["email"],
        "phone_number": row["phone"],
        "auth_method": row["method"],
        "role": row["role"],
        "is_staff": row["staff"],
        "status": row["status"],
        "is_active": row["status"] == "active",
        "credits": usd_number(row["balance_nanos"]),
        "members": row["members"],
        "api_keys": row["keys"],
        "registration_date": time_text(row["created_at_ms"]),
        "last_seen_at": time_text(row["seen_at_ms"]),
    }


def seat(row: Row) -> Row:
    """For the staff: somebody's role in an account."""
    return {
        "user_id": row["account"],
        "member_id": row["person"],
        "username": row["name"],
        "email": row["email"],
        "role": row["role"],
        "is_staff": row["staff"],
    }
