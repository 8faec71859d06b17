"""Credits of the calling account. Control plane."""

from fastapi import Response

from gatewayz.api.answers import json_answer
from gatewayz.api.app import Caller, CurrentPlane, create_app
from gatewayz.core.money import usd_number
from gatewayz.runtime import entries

app = create_app("billing")
lambda_handler = entries.http(app)


@app.get("/v1/credits")
@app.get("/api/v1/credits")
async def get_credits(caller: Caller, plane: CurrentPlane) -> Response:
    """OpenRouter's two figures; `balance` counts credit that running requests may still use."""
    row = await plane.stores.postgres.rpc("get_balance", {"account": caller.account})
    return json_answer(
        {
            "data": {
                "total_credits": usd_number(row["granted_nanos"]),
                "total_usage": usd_number(row["charged_nanos"]),
                "balance": usd_number(row["balance_nanos"]),
                "balance_nanos": row["balance_nanos"],
            }
        }
    )
