"""A stored provider key as the web client and as OpenRouter's clients read it, and what they ask
as it is stored. Pure; knows no secret.
"""

from typing import Any

from gatewayz.api.answers import time_text
from gatewayz.api.schemas.provider_keys import (
    ChangeRoutedProviderKey,
    NewRoutedProviderKey,
    ProviderKeyFields,
)

Row = dict[str, Any]
# Names of theirs and of ours; what is null in an API means "unrestricted".
LISTS = {
    "allowed_models": "models",
    "allowed_api_key_hashes": "api_keys",
    "allowed_user_ids": "people",
}
PLAIN = {
    "name": "name",
    "priority": "sort_order",
    "sort_order": "sort_order",
    "is_fallback": "is_fallback",
    "is_active": "enabled",
}


def stored(asked: ProviderKeyFields | NewRoutedProviderKey | ChangeRoutedProviderKey) -> Row:
    """What is named, in our words; null takes away a restriction or a name, nothing else."""
    given = asked.model_fields_set
    fields: Row = {LISTS[name]: getattr(asked, name) for name in LISTS if name in given}
    for name, ours in PLAIN.items():
        value = getattr(asked, name, None)
        if name in given and (value is not None or name == "name"):
            fields[ours] = value
    if "disabled" in given and getattr(asked, "disabled", None) is not None:
        fields["enabled"] = not asked.disabled  # type: ignore[union-attr]
    if "mode" in given and asked.mode is not None:
        fields["always"] = asked.mode == "always"
    return fields


def _mode(row: Row) -> str:
    return "always" if row["always"] else "fallback"


def provider_key(row: Row) -> Row:
    """For /user/provider-keys."""
    return {
        "id": row["id"],
        "provider_slug": row["provider"],
        "name": row["name"],
        "label": row["label"],
        "last4": row["last4"],
        "mode": _mode(row),
        "priority": row["sort_order"],
        "is_fallback": row["is_fallback"],
        "is_active": row["enabled"],
        "allowed_models": row["models"],
        "allowed_api_key_hashes": row["api_keys"],
        "allowed_user_ids": row["people"],
        "created_at": time_text(row["created_at_ms"]),
        "updated_at": time_text(row["updated_at_ms"]),
    }


def routed_provider_key(row: Row) -> Row:
    """For /api/v1/byok."""
    return {
        "id": row["id"],
        "provider": row["provider"],
        "name": row["name"],
        "label": row["label"],
        "disabled": not row["enabled"],
        "is_fallback": row["is_fallback"],
        "sort_order": row["sort_order"],
        "mode": _mode(row),
        "allowed_models": row["models"],
        "allowed_api_key_hashes": row["api_keys"],
        "allowed_user_ids": row["people"],
        "workspace_id": None,
        "created_at": time_text(row["created_at_ms"]),
        "updated_at": time_text(row["updated_at_ms"]),
    }
