"""The answers of the older web client's routes: search, one model, one organisation, hosts.

Same rows and prices as every other list; only the envelopes are its own. Pure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gatewayz.catalog.items import Item
from gatewayz.catalog.names import VARIANTS
from gatewayz.catalog.shelf import Shelf
from gatewayz.catalog.views.hosts import count_models, counted_item, gateway_item
from gatewayz.catalog.views.rows import Row

Raw = orjson.Fragment


def search_answer(rows: Sequence[Row], asked: Mapping[str, Any], shelf: Shelf) -> bytes:
    """A page of what was found, and the filters as they were understood."""
    offset, limit = asked["offset"], asked["limit"]
    shown = rows[offset : offset + limit]
    applied = {k: v for k, v in asked.items() if k not in ("offset", "limit", "available", "q")}
    return orjson.dumps(
        {
            "success": True,
            "data": [Raw(row.item("openai", marked=True)) for row in shown],
            "meta": {
                "total": len(rows),
                "limit": limit,
                "offset": offset,
                "returned": len(shown),
                "filters_applied": {"query": asked.get("q"), **applied},
            },
            "timestamp": shelf.timestamp,
        },
        default=str,
    )


def model_answer(row: Row, shelf: Shelf, health: Mapping[str, Any]) -> bytes:
    """OpenAI's object, and beside it the same as the older client looks for it; `health` are
    fields that were measured."""
    item = row.item("openai", marked=True)
    if health:
        item = orjson.dumps({**orjson.loads(item), **health})
    author, _, name = row.model.id.partition("/")
    around = {
        "data": Raw(item),
        "providers": list(dict.fromkeys(offer.provider for offer in row.offers)),
        "provider": author,
        "model": name,
        "gateway": row.offers[0].provider if row.offers else None,
        "timestamp": shelf.timestamp,
    }
    return item[:-1] + b"," + orjson.dumps(around)[1:]


def provider_answer(shelf: Shelf, asked: Mapping[str, Any]) -> Item:
    """Hosts with their sites, policies and numbers of models."""
    counts = count_models(row for row in shelf.rows if row.available)
    ready, gateway = shelf.catalog.ready, (asked.get("gateway") or "all").lower()
    rows = [
        counted_item(provider, counts.get(slug, 0), available=slug in ready)
        for slug, provider in shelf.providers.items()
        if gateway in ("all", slug)
    ]
    if asked["moderated_only"] == "true":  # nobody's answers are moderated on their way
        rows = []
    offset, limit = asked["offset"], asked.get("limit")
    shown = rows[offset : None if limit is None else offset + limit]
    return {
        "data": shown,
        "total": len(rows),
        "returned": len(shown),
        "offset": offset,
        "limit": limit,
        "gateway": gateway,
        "timestamp": shelf.timestamp,
    }


def gateways_answer(shelf: Shelf) -> Item:
    counts = count_models(row for row in shelf.rows if row.available)
    items = [
        gateway_item(provider, counts.get(slug, 0), available=slug in shelf.catalog.ready)
        for slug, provider in shelf.providers.items()
    ]
    items.sort(key=lambda item: (item["priority"] != "fast", item["name"]))
    return {"data": items, "total": len(items), "timestamp": shelf.timestamp}


def routers_answer(shelf: Shelf) -> Item:
    """What chooses instead of the caller: suffixes that any model takes, and models that route."""
    routing = [row for row in shelf.rows if row.tokenizer == "router" and row.available]
    items: list[Item] = [
        {"id": f":{word}", "name": word, "kind": "variant", "description": MEANINGS[word]}
        for word in VARIANTS
    ]
    items += [
        {
            "id": row.model.id,
            "name": row.model.name,
            "kind": "model",
            "description": row.model.description,
        }
        for row in routing
    ]
    return {"data": items, "total": len(items), "timestamp": shelf.timestamp}


MEANINGS: Mapping[str, str] = {
    "free": "only offers that are declared free",
    "nitro": "the offers with the highest throughput first",
    "floor": "the cheapest offers first",
    "thinking": "with reasoning",
    "extended": "with the longest context",
    "online": "with a web search",
}
