"""Provider keys (BYOK): for the web client under /user, for OpenRouter's clients under /api/v1.

Both are views of accounts/provider_keys.py. A key's text is sealed here and never answered; which
addresses it is sent to stands in the providers' rows, never in a request. Control plane.
"""

from functools import lru_cache
from typing import Annotated, Any

from fastapi import Depends, Query, Response

from gatewayz.accounts.provider_keys import ProviderKeys
from gatewayz.accounts.sealing import Ring, find_ring
from gatewayz.api import provider_key_views as views
from gatewayz.api.answers import json_answer
from gatewayz.api.app import Caller, CurrentPlane, Plane, create_app
from gatewayz.api.schemas.provider_keys import (
    ChangeProviderKey,
    ChangeRoutedProviderKey,
    NewProviderKey,
    NewRoutedProviderKey,
)
from gatewayz.billing.epochs import Epochs
from gatewayz.catalog.load import OUR_KEY, load_own
from gatewayz.core.errors import InvalidRequest, NotFound
from gatewayz.core.log import get_log
from gatewayz.core.settings import CatalogSettings
from gatewayz.inference.own import takes_keys
from gatewayz.providers.provider import Provider
from gatewayz.runtime import entries

app = create_app("provider_keys")
lambda_handler = entries.http(app)
log = get_log(__name__)

Row = dict[str, Any]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]
Limit = Annotated[int, Query(ge=1, le=100)]
ProviderName = Annotated[str | None, Query(max_length=64, pattern=r"^[A-Za-z0-9._-]*$")]


async def keys_of(caller: Caller, plane: CurrentPlane) -> ProviderKeys:
    """The caller's provider keys; a change is known to the data plane when the answer is sent."""
    epochs = Epochs(plane.stores, plane.settings)
    return ProviderKeys(plane.stores.postgres, epochs.push, caller.account, caller.actor)


Own = Annotated[ProviderKeys, Depends(keys_of)]


@lru_cache(maxsize=4)
def _providers(catalog: CatalogSettings) -> dict[str, Provider]:
    return dict(load_own(catalog).providers)


def _ring(plane: Plane) -> Ring:
    return find_ring(plane.stores.secrets.find)


def _checked(plane: Plane, slug: str, secret: str) -> str:
    """The provider's slug, if its calls can be signed with a key of the caller's."""
    name = slug.lower()
    provider = _providers(plane.settings.catalog).get(name)
    if provider is None:
        raise InvalidRequest(
            "There is no such provider.", code="unknown_provider", param="provider"
        )
    if not takes_keys(provider, plane.stores.secrets.find):
        raise InvalidRequest(
            f"{provider.name} cannot be called with a key of your own here.",
            code="provider_takes_no_keys",
            param="provider",
        )
    if secret.strip().startswith(OUR_KEY):
        raise InvalidRequest("That is a key of ours, not the provider's.", param="key")
    return name


# ------------------------------------------------------------------ the web client


@app.post("/user/provider-keys")
async def add_provider_key(plane: CurrentPlane, keys: Own, asked: NewProviderKey) -> Response:
    """Another key of a provider, tried after those that are there."""
    ring = _ring(plane)
    slug = _checked(plane, asked.provider_slug, asked.api_key)
    row = await keys.add(slug, asked.api_key, views.stored(asked), ring)
    shown = {"status": "success", "message": "The key is kept, sealed."}
    return json_answer(shown | views.provider_key(row))


@app.get("/user/provider-keys")
async def list_provider_keys(keys: Own) -> Response:
    found = await keys.list()
    rows = [views.provider_key(row) for row in found["keys"]]
    return json_answer({"status": "success", "total_keys": found["total"], "provider_keys": rows})


@app.put("/user/provider-keys/{slug}")
async def change_provider_key(
    slug: str, plane: CurrentPlane, keys: Own, asked: ChangeProviderKey
) -> Response:
    """By its id; a new `api_key` is used from the next request."""
    row = await _change(slug, plane, keys, views.stored(asked), asked.api_key)
    shown = {"status": "success", "message": "The key is changed."}
    return json_answer(shown | views.provider_key(row))


@app.delete("/user/provider-keys/{slug}")
async def delete_provider_key(slug: str, keys: Own) -> Response:
    """All keys of a provider by its slug, or one by its id. What was sealed is wiped."""
    try:
        gone = await keys.delete(slug)
    except NotFound:
        gone = await keys.delete_all(slug.lower())
    message = f"{len(gone['deleted'])} deleted."
    return json_answer({"status": "success", "message": message, "deleted": gone["deleted"]})


async def _change(
    key_id: str, plane: Plane, keys: ProviderKeys, fields: Row, secret: str | None
) -> Row:
    if secret is None:
        return await keys.change(key_id, fields, None, None) if fields else await keys.get(key_id)
    ring = _ring(plane)
    _checked(plane, (await keys.get(key_id))["provider"], secret)
    return await keys.change(key_id, fields, secret, ring)


# ------------------------------------------------------------------ OpenRouter's clients


@app.get("/api/v1/byok")
async def list_routed(
    keys: Own, offset: Offset = 0, limit: Limit = 50, provider: ProviderName = None
) -> Response:
    wanted = provider.lower() if provider else None
    found = await keys.list(provider=wanted, offset=offset, limit=limit)
    rows = [views.routed_provider_key(row) for row in found["keys"]]
    return json_answer({"data": rows, "total_count": found["total"]})


@app.post("/api/v1/byok")
async def add_routed(plane: CurrentPlane, keys: Own, asked: NewRoutedProviderKey) -> Response:
    ring = _ring(plane)
    slug = _checked(plane, asked.provider, asked.key)
    row = await keys.add(slug, asked.key, views.stored(asked), ring)
    return json_answer({"data": views.routed_provider_key(row)}, 201)


@app.get("/api/v1/byok/{id}")
async def get_routed(id: str, keys: Own) -> Response:
    return json_answer({"data": views.routed_provider_key(await keys.get(id))})


@app.patch("/api/v1/byok/{id}")
async def change_routed(
    id: str, plane: CurrentPlane, keys: Own, asked: ChangeRoutedProviderKey
) -> Response:
    row = await _change(id, plane, keys, views.stored(asked), asked.key)
    return json_answer({"data": views.routed_provider_key(row)})


@app.delete("/api/v1/byok/{id}")
async def delete_routed(id: str, keys: Own) -> Response:
    await keys.delete(id)
    return json_answer({"deleted": True})
