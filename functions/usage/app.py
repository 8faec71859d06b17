"""What happened to a request: look-up and receipt. Control plane."""

from fastapi import Response

from gatewayz.api.answers import json_answer
from gatewayz.api.app import Caller, CurrentPlane, create_app
from gatewayz.billing.credits import Credits
from gatewayz.inference.generations import explain, find_generation, show_generation
from gatewayz.runtime import entries

app = create_app("usage")
lambda_handler = entries.http(app)


def _credits(plane: CurrentPlane) -> Credits:
    return Credits(
        plane.stores.postgres,
        plane.stores.redis,
        lease_ttl_s=plane.settings.credit.lease_ttl_s,
    )


@app.get("/v1/generation")
@app.get("/api/v1/generation")
async def get_generation(id: str, caller: Caller, plane: CurrentPlane) -> Response:
    """One request by any id we gave it: tokens by class, cost, provider, timings, outcome."""
    row = await find_generation(plane.stores.postgres, _credits(plane), caller.account, id)
    return json_answer({"data": show_generation(row)})


@app.get("/v1/generation/{id}/explain")
@app.get("/api/v1/generation/{id}/explain")
async def explain_generation(id: str, caller: Caller, plane: CurrentPlane) -> Response:
    """The charge recomputed line by line from usage and the price pinned at admission."""
    row = await find_generation(plane.stores.postgres, _credits(plane), caller.account, id)
    return json_answer({"data": explain(row)})
