"""Finds model servers of this machine on their usual ports, by asking for their model lists.

Guarantees to take no longer than PROBE_S in all, to touch loopback only, and never to take this
gateway, its sandbox or another gateway for a model server. Price 0 is declared here (D34).
"""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import orjson

from gatewayz.catalog.entries import COMMON_PARAMETERS, price_of
from gatewayz.catalog.model import MODEL_ID, Catalog, Entry, Model, Offer, offer_id
from gatewayz.core.log import get_log
from gatewayz.net.http import HttpClient, NetError
from gatewayz.providers.client import credential_headers
from gatewayz.providers.config import Provider, is_loopback
from gatewayz.stores.secrets import Secrets

log = get_log(__name__)

PROBE_S = 0.3
MAX_LIST_BYTES = 4 * 1024 * 1024
MAX_MODELS = 500
# Where the servers say how much context they were started with.
CONTEXT_PATHS = (("max_model_len",), ("meta", "n_ctx"), ("context_length",))
# Kinds that servers of one's own have besides chat → what their models are said to give.
SERVED = {"rerank": "rerank", "embeddings": "embeddings"}
NAMED = {
    "rerank": re.compile("rerank", re.IGNORECASE),
    "embeddings": re.compile("embed|minilm|(^|[/_-])(bge|gte|e5)[-_]", re.IGNORECASE),
}
# Only a gateway's list has prices; calling one as a model server could go round in circles.
GATEWAY_FIELD = "pricing"

Found = tuple[Provider, tuple[Entry, ...]]


async def with_local_servers(
    providers: Mapping[str, Provider],
    catalog: Catalog,
    http: HttpClient,
    *,
    own_ports: Iterable[int] = (),
    secrets: Secrets | None = None,
) -> tuple[Mapping[str, Provider], Catalog]:
    """The same with the models of every server found now."""
    found = await discover_local(
        http, providers.values(), own_ports=own_ports, secrets=secrets or Secrets()
    )
    known = {**providers, **{provider.slug: provider for provider, _ in found}}
    entries = [entry for _, entries in found for entry in entries]
    ready = frozenset(provider.slug for provider, _ in found)
    return known, catalog.extended(entries, ready=ready)


async def discover_local(
    http: HttpClient,
    providers: Iterable[Provider],
    *,
    own_ports: Iterable[int] = (),
    secrets: Secrets,
) -> Sequence[Found]:
    """(provider at its port, its models) of each server that answers with a model list."""
    rows = list(providers)
    closed = {*own_ports, *(urlsplit(row.base_url).port for row in rows if row.sandbox)}
    places = [row_at(row, port) for row in rows for port in row.ports if port not in closed]
    found = await asyncio.gather(*(_probe(http, place, secrets) for place in places))
    taken: set[str] = set()
    servers = []
    for provider, entries in ((p, e) for p, e in zip(places, found, strict=True) if e):
        # A kind's second server cannot have the first one's name.
        if provider.slug in taken:
            continue
        taken.add(provider.slug)
        servers.append((provider, entries))
        log.info("local_server_found", provider=provider.slug, models=len(entries))
    return servers


def row_at(provider: Provider, port: int) -> Provider:
    """The row as a server on `port` of this machine."""
    parts = urlsplit(provider.base_url)
    host = parts.hostname if parts.hostname and is_loopback(parts.hostname) else "127.0.0.1"
    shown = f"[{host}]" if ":" in host else host
    return replace(provider, base_url=f"http://{shown}:{port}{parts.path}")


async def _probe(http: HttpClient, provider: Provider, secrets: Secrets) -> tuple[Entry, ...]:
    headers = {"accept": "application/json"}
    if provider.credential and (secret := secrets.find(provider.credential)):
        headers |= credential_headers(provider, secret)
    try:
        answer = await http.request(
            "GET",
            provider.base_url + "/models",
            headers=headers,
            timeout_s=PROBE_S,
            max_bytes=MAX_LIST_BYTES,
        )
        listed = orjson.loads(answer.body) if answer.status == 200 else None
    except (NetError, orjson.JSONDecodeError):
        return ()
    return read_list(provider, listed)


def read_list(provider: Provider, listed: Any) -> tuple[Entry, ...]:
    """The models of an OpenAI-style list; what is no such list has none."""
    items = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(items, list):
        return ()
    known = [item for item in items[:MAX_MODELS] if isinstance(item, dict)]
    if any(GATEWAY_FIELD in item for item in known):
        return ()
    entries: dict[str, Entry] = {}
    for item in known:
        entry = _entry(provider, item)
        if entry is not None:
            entries.setdefault(entry.model.id, entry)
    return tuple(entries.values())


def _entry(provider: Provider, item: Mapping[str, Any]) -> Entry | None:
    native_id = item.get("id")
    if not isinstance(native_id, str) or not native_id:
        return None
    # Some servers name a model by its file's path; the file's name is enough.
    name = native_id.rpartition("/")[2] if native_id.startswith("/") else native_id
    model_id = offer_id(provider.slug, name)
    if not MODEL_ID.fullmatch(model_id):
        log.warning("local_model_skipped", provider=provider.slug, model=native_id)
        return None
    context = next((n for path in CONTEXT_PATHS if (n := _count_at(item, path))), None)
    outputs = outputs_of(name, provider)
    model = Model(
        id=model_id,
        name=f"{name} ({provider.slug})",
        context_tokens=context,
        output_modalities=outputs,
        supported_parameters=COMMON_PARAMETERS if "text" in outputs else (),
    )
    offer = Offer(
        id=offer_id(provider.slug, native_id),
        model_id=model_id,
        provider=provider.slug,
        native_id=native_id,
        price=price_of({}, free=True),
        context_tokens=context,
        # A server of one's own may think before it answers; nobody says which model does.
        reasons=True,
        source="its own model list",
    )
    return Entry(model, (offer,))


def outputs_of(name: str, provider: Provider) -> tuple[str, ...]:
    """What a model of a server's plain list gives. Those that are made for one thing say so in
    their name; of the others nobody knows, so they may be asked for whatever the server has."""
    served = {kind: word for kind, word in SERVED.items() if kind in provider.kinds}
    for kind, word in served.items():
        if NAMED[kind].search(name):
            return (word,)
    return ("text", *served.values())


def _count_at(item: Any, path: tuple[str, ...]) -> int | None:
    for step in path:
        item = item.get(step) if isinstance(item, dict) else None
    return item if type(item) is int and item > 0 else None
