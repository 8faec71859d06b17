"""The calling key: its label, limits and usage. Control plane."""

from fastapi import Response

from gatewayz.api.answers import json_answer
from gatewayz.api.app import Caller, CurrentPlane, create_app
from gatewayz.core.money import usd_number
from gatewayz.runtime import entries

app = create_app("keys")
lambda_handler = entries.http(app)


@app.get("/v1/key")
@app.get("/api/v1/key")
async def get_key(caller: Caller, plane: CurrentPlane) -> Response:
    """OpenRouter's key object. A key without a limit of its own has `limit: null`."""
    row = await plane.stores.postgres.rpc(
        "get_key_usage", {"account": caller.account, "key_id": caller.key_id}
    )
    zero = usd_number(0)
    return json_answer(
        {
            "data": {
                "label": row["prefix"] + "…",
                "name": caller.key_name,
                "limit": None,
                "limit_reset": None,
                "limit_remaining": None,
                "include_byok_in_limit": False,
                "usage": usd_number(row["total_nanos"]),
                "usage_daily": usd_number(row["day_nanos"]),
                "usage_weekly": usd_number(row["week_nanos"]),
                "usage_monthly": usd_number(row["month_nanos"]),
                "byok_usage": zero,
                "byok_usage_daily": zero,
                "byok_usage_weekly": zero,
                "byok_usage_monthly": zero,
                "is_free_tier": False,
                "is_management_key": False,
                "is_provisioning_key": False,
                "creator_user_id": None,
                "expires_at": None,
                "rate_limit": {
                    "requests": -1,
                    "interval": "10s",
                    "note": "This field is deprecated and safe to ignore.",
                },
            }
        }
    )
