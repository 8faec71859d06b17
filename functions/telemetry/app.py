"""What operators' tools read and send: metrics, reports of browsers; where accounts have their own
requests traced. Control plane; gives nothing to who has no key for it.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import orjson
from fastapi import Path, Request, Response

from gatewayz.accounts.principals import key_in
from gatewayz.accounts.sealing import find_ring
from gatewayz.api.answers import json_answer
from gatewayz.api.app import Caller, CurrentPlane, create_app
from gatewayz.api.schemas.telemetry import DestinationRequest
from gatewayz.core.errors import (
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    StoreUnavailable,
    Unauthorized,
)
from gatewayz.health.windows import Windows, breaker_state
from gatewayz.net.egress import Egress, FetchRefused, read_networks
from gatewayz.net.http import HttpClient, NetError
from gatewayz.runtime import entries
from gatewayz.telemetry.destinations import MAX_DESTINATIONS, headers_of, kinds, place_of
from gatewayz.telemetry.prometheus import OPEN, TEXT, render
from gatewayz.telemetry.sentry import MAX_ENVELOPE_BYTES, MEDIA, tunnelled
from gatewayz.telemetry.state import gather_metrics

app = create_app("telemetry")
lambda_handler = entries.http(app)

TUNNEL_S = 5.0
Name = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]


# ---------------------------------------------------------------- metrics


@app.get("/metrics")
async def get_metrics(request: Request, plane: CurrentPlane) -> Response:
    """The catalogue's metrics of all instances, as Prometheus reads them."""
    token = plane.settings.telemetry.metrics_token
    given = key_in(request.scope["headers"]) or b""
    digests = (hashlib.sha256(given).digest(), hashlib.sha256(token.encode()).digest())
    if not token or not hmac.compare_digest(*digests):
        raise Unauthorized
    windows = Windows(plane.stores)

    async def breakers(providers: Iterable[str]) -> Mapping[str, str]:
        names = list(providers)
        known, now_s = await windows.breakers(names)
        return {name: breaker_state(known.get(name), now_s) for name in names} if known else {}

    samples = await gather_metrics(plane.stores, breakers)
    openmetrics = "application/openmetrics-text" in request.headers.get("accept", "")
    text = render(samples, openmetrics=openmetrics)
    return Response(text, media_type=OPEN if openmetrics else TEXT)


# ---------------------------------------------------------------- reports of browsers


@app.post("/monitoring")
async def pass_report_on(request: Request, plane: CurrentPlane) -> Response:
    """A browser's report, passed on to the one project of the settings."""
    dsn = plane.settings.telemetry.tunnel_dsn
    if not dsn:
        raise NotFound("There is no such route.", code="route_not_found")
    url, body = tunnelled(await _small_body(request), dsn)
    http = HttpClient()
    try:
        answer = await http.request(
            "POST", url, headers={"content-type": MEDIA}, body=body,
            timeout_s=TUNNEL_S, max_bytes=64 * 1024,
        )  # fmt: skip
    except NetError:
        raise StoreUnavailable("Reports cannot be passed on now.") from None
    finally:
        await http.aclose()
    return json_answer({"passed_on": answer.status < 300})


async def _small_body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_ENVELOPE_BYTES:
            raise PayloadTooLarge(f"A report may have {MAX_ENVELOPE_BYTES} bytes.")
    return body


# ---------------------------------------------------------------- where accounts' traces go


@app.get("/user/destinations")
async def list_destinations(caller: Caller, plane: CurrentPlane) -> Response:
    """Where this account's requests are traced, without their keys."""
    rows = await plane.stores.postgres.rpc("list_destinations", {"account": caller.account})
    return json_answer({"destinations": [_shown(row) for row in rows]})


@app.put("/user/destinations/{name}")
async def put_destination(
    name: Name, given: DestinationRequest, caller: Caller, plane: CurrentPlane
) -> Response:
    """Make one, or change it as a whole."""
    kind = kinds().get(given.kind)
    if kind is None:
        known = ", ".join(kinds())
        raise InvalidRequest(f"'kind' is one of: {known}.", param="kind")
    endpoint = given.endpoint or kind.endpoint
    if not endpoint:
        raise InvalidRequest("This kind of destination needs 'endpoint'.", param="endpoint")
    headers = headers_of(kind, given.model_dump(include={"key", "secret", "project"}))
    try:
        await Egress(read_networks(plane.settings.http.fetch_networks)).check(endpoint)
    except FetchRefused as error:
        raise InvalidRequest(f"The endpoint cannot be used: {error}.", param="endpoint") from None
    ring = find_ring(plane.stores.secrets.find)
    sealed = ring.seal(orjson.dumps(headers).decode(), place_of(caller.account, name))
    row = await plane.stores.postgres.rpc(
        "put_destination",
        {
            "account": caller.account, "actor": caller.actor, "name": name, "kind": given.kind,
            "endpoint": endpoint, "sealed": sealed, "label": _label(given.key or ""),
            "per_mille": round(given.sampling * 1000), "enabled": given.enabled,
            "most": MAX_DESTINATIONS,
        },
    )  # fmt: skip
    if "refused" in row:
        raise InvalidRequest(f"An account has at most {MAX_DESTINATIONS} destinations.")
    return json_answer({"destination": _shown(row)})


@app.delete("/user/destinations/{name}")
async def delete_destination(name: Name, caller: Caller, plane: CurrentPlane) -> Response:
    params = {"account": caller.account, "actor": caller.actor, "name": name}
    row = await plane.stores.postgres.rpc("delete_destination", params)
    if not row["deleted"]:
        raise NotFound("There is no such destination.", code="destination_not_found")
    return json_answer({"deleted": True})


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": row["name"],
        "kind": row["kind"],
        "endpoint": row["endpoint"],
        "key": row["label"],
        "sampling": row["per_mille"] / 1000,
        "enabled": row["enabled"],
        "sent": row["sent"],
        "failed": row["failed"],
        "last_error": row["last_error"],
        "sent_at_ms": row["sent_at_ms"],
        "updated_at_ms": row["updated_at_ms"],
    }


def _label(key: str) -> str:
    """Enough of a key to know it again."""
    return f"{key[:4]}…{key[-4:]}" if len(key) >= 16 else "…"
