"""The answers of the public catalog routes, from a Reader: what each looks up, and its tag.

Owns no HTTP. An Answer is rendered only when its tag is new to the caller.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson

from gatewayz.catalog.items import Item, endpoint_item, endpoints_item
from gatewayz.catalog.model import Known, Model, Offer
from gatewayz.catalog.shelf import Shelf, tag_of
from gatewayz.catalog.views import comparing, rss
from gatewayz.catalog.views.asking import (
    gateways_of,
    is_plain,
    list_filters,
    search_filters,
    search_order,
)
from gatewayz.catalog.views.comparing import Criteria, UniqueSort
from gatewayz.catalog.views.filters import MEASURED, NO_USAGE, Filters, sorted_by
from gatewayz.catalog.views.history import current_item, history_item, history_page
from gatewayz.catalog.views.hosts import provider_item
from gatewayz.catalog.views.older import model_answer, search_answer
from gatewayz.catalog.views.pages import About, Slice, path_of, render_list
from gatewayz.catalog.views.reader import Reader
from gatewayz.catalog.views.rows import Form, Row, find_author, row_named
from gatewayz.catalog.views.traffic import cut
from gatewayz.catalog.views.variants import as_asked
from gatewayz.core import clock
from gatewayz.core.errors import InvalidRequest, NotFound, echo
from gatewayz.net.body import parse_object
from gatewayz.net.encoding import Encoding, pack

__all__ = ["Answer", "Criteria"]

JSON = "application/json"
# Ages are told to this many seconds, so that an answer stays the same for a while.
AGE_STEP_S = 3600
MOST_COMPARED = 100
HISTORY = ("limit", "before_ms", "offer", "provider")

# A model's figures by provider; every offer's by model and provider; a model's own.
FindHealth = Callable[[str], Awaitable[Mapping[str, Item]]]
FindEvery = Callable[[], Awaitable[Mapping[tuple[str, str], Item]]]
FindModel = Callable[[str], Awaitable[Item]]


@dataclass(frozen=True, slots=True)
class Answer:
    """`tag` names the content; `make` gives it plain. `whole`: how to get it packed already."""

    tag: str
    make: Callable[[], bytes]
    reader: Reader
    media: str = JSON
    packed: Callable[[Encoding], Awaitable[bytes]] | None = None

    async def render(self, encoding: Encoding) -> bytes:
        if self.packed is not None:
            return await self.packed(encoding)
        kept = self.reader.kept
        known = kept.find(self.tag, encoding)
        if known is None:
            known = kept.keep(self.tag, encoding, pack(self.make(), encoding))
        return known


Allowed = Callable[[Model, Sequence[Offer]], bool]


# ---------------------------------------------------------------- lists


async def model_list(
    reader: Reader, asked: Mapping[str, Any], form: Form, *, base_url: str = ""
) -> Answer:
    """GET /models with whatever filters, order and page it asks for."""
    everything = asked.get("available") == "all"
    if is_plain(asked):
        tag = f"{await reader.tag()}.{form}.{everything}"

        async def packed(encoding: Encoding) -> bytes:
            return await reader.whole_list(form, encoding, everything=everything)

        return Answer(tag, lambda: b"", reader, packed=packed)
    shelf = await reader.shelf()
    filters = list_filters(asked, shelf, form)
    now_s = clock.now_ms() // 1000 // AGE_STEP_S * AGE_STEP_S
    usage, stamp = await _usage_for(reader, asked)
    feed = asked.get("use_rss") == "true"
    part = Slice.of(asked.get("offset"), asked.get("limit"))
    query = tuple((name, str(value)) for name, value in asked.items())
    about = About(path_of(form), shelf.built_at_ms, query, asked.get("gateway", "all").lower())

    def rows() -> list[Row]:
        sort = asked.get("sort") or ("newest" if feed else None)
        return shelf.chosen(filters, sort=sort, everything=everything, now_s=now_s, usage=usage)

    def make() -> bytes:
        return render_list(rows(), form, part, about, marked=everything)

    def make_feed() -> bytes:
        chat = asked.get("use_rss_chat_links") == "true"
        return rss.render_feed(part.cut(rows()), base_url, shelf.built_at_ms, chat_links=chat)

    aged = now_s if asked.keys() & {"min_age_days", "max_age_days"} else 0
    tag = tag_of(shelf.tag, (form, sorted(query), stamp, aged, base_url if feed else ""))
    return Answer(tag, make_feed if feed else make, reader, rss.MEDIA if feed else JSON)


async def model_count(reader: Reader, asked: Mapping[str, Any], form: Form) -> int:
    """How many models a list with the same filters has."""
    shelf = await reader.shelf()
    usage, _ = await _usage_for(reader, asked)
    chosen = shelf.chosen(
        list_filters(asked, shelf, form),
        everything=asked.get("available") == "all",
        now_s=clock.now_ms() // 1000,
        usage=usage,
    )
    return len(chosen)


async def own_models(
    reader: Reader, asked: Mapping[str, Any], form: Form, allowed: Allowed
) -> bytes:
    """The list after the caller's own settings."""
    shelf = await reader.shelf()
    chosen = shelf.chosen(list_filters({}, shelf, form))
    rows = [row for row in chosen if allowed(row.model, row.offers)]
    part = Slice.of(asked.get("offset"), asked.get("limit"))
    query = tuple((name, str(value)) for name, value in asked.items())
    about = About(path_of(form) + "/user", shelf.built_at_ms, query)
    return render_list(rows, form, part, about, marked=False)


async def zdr(reader: Reader, *, everything: bool, health: FindEvery | None = None) -> Answer:
    shelf = await reader.shelf()
    figures = {} if health is None else await health()

    def make() -> bytes:
        rows = shelf.chosen(Filters(zdr=True), everything=everything)
        items = [
            endpoint_item(row.model, offer, shelf.providers)
            | figures.get((row.model.id, offer.provider), {})
            for row in rows
            for offer in row.offers
            if offer.zdr
        ]
        return orjson.dumps({"data": items})

    return Answer(tag_of(shelf.tag, ("zdr", everything, repr(figures))), make, reader)


async def providers(reader: Reader) -> Answer:
    shelf = await reader.shelf()

    def make() -> bytes:
        ready = shelf.catalog.ready
        items = [provider_item(p, available=s in ready) for s, p in shelf.providers.items()]
        return orjson.dumps({"data": items})

    return Answer(tag_of(shelf.tag, "providers"), make, reader)


async def search(reader: Reader, asked: Mapping[str, Any]) -> bytes:
    shelf = await reader.shelf()
    usage = NO_USAGE
    if asked["sort_by"] == "popularity":
        usage, _ = await reader.popularity.usage()
    rows = shelf.chosen(search_filters(asked, shelf), everything=asked.get("available") == "all")
    falling = asked["order"] == "desc"
    return search_answer(
        search_order(rows, asked["sort_by"], falling=falling, usage=usage), asked, shelf
    )


async def unique(reader: Reader, asked: Mapping[str, Any]) -> Item:
    shelf = await reader.shelf()
    rows = shelf.chosen(everything=asked["include_inactive"] == "true")
    least = asked.get("min_providers") or 1
    rows = [row for row in rows if len(row.gateways) >= least]
    by, falling = cast(UniqueSort, asked["sort_by"]), asked["order"] == "desc"
    key = comparing.unique_key(by)
    if by == "name":
        rows = sorted(rows, key=key, reverse=falling)
    else:
        rows = sorted_by(rows, key, falling=falling)
    return _page([comparing.unique_item(row) for row in cut(rows, asked)], len(rows), asked, shelf)


async def _usage_for(reader: Reader, asked: Mapping[str, Any]) -> tuple[Any, str]:
    wants = asked.get("sort") in MEASURED or any("tool_success" in name for name in asked)
    return await reader.popularity.usage() if wants else (NO_USAGE, "")


# ---------------------------------------------------------------- single models


async def endpoints(
    reader: Reader, name: str, *, everything: bool, health: FindHealth | None = None
) -> Answer:
    """`health` gives the figures of a model's offers by provider."""
    known = as_asked(await reader.known(name))
    figures = {} if health is None else await health(known.model.id)
    offers = known.offers if everything else known.servable
    shown = await reader.hosts()

    def make() -> bytes:
        item = endpoints_item(known.model, offers, shown)
        for row in item["endpoints"]:
            row |= figures.get(row["tag"], {})
        return orjson.dumps({"data": item})

    asked = ("endpoints", repr(known), everything, repr(figures))
    return Answer(tag_of(await reader.tag(), asked), make, reader)


async def routed_model(reader: Reader, name: str) -> Answer:
    known = as_asked(await reader.known(name))
    row = row_named(known, await reader.hosts())

    def make() -> bytes:
        return b'{"data":' + row.item("openrouter", marked=False) + b"}"

    return Answer(tag_of(await reader.tag(), ("model", repr(known))), make, reader)


async def model_or_author(
    reader: Reader, name: str, asked: Mapping[str, Any], health: FindModel | None = None
) -> Answer:
    """One model; a word without a slash that is no model may be an organisation."""
    try:
        known = await reader.known(name)
    except NotFound:
        shelf = await reader.shelf()
        if "/" in name or not find_author(shelf.rows, name):
            raise
        author = {**asked, "model_authors": name.lower().removeprefix("@")}
        return await model_list(reader, author, "openai")
    return await _one_model(reader, known, asked.get("gateway"), health)


async def detail(
    reader: Reader, asked: Mapping[str, Any], health: FindModel | None = None
) -> Answer:
    """GET /api/models/detail: by whole id, or by developer and name."""
    wanted = asked.get("modelId") or ""
    author, _, rest = wanted.rpartition("/") if "/" not in wanted else wanted.partition("/")
    author, rest = asked.get("developer") or author, asked.get("modelName") or rest
    if not rest:
        raise InvalidRequest(
            "Name the model by modelId, or by developer and modelName.", param="modelId"
        )
    name = f"{author}/{rest}" if author else rest
    return await _one_model(reader, await reader.known(name), asked.get("gateway"), health)


async def _one_model(
    reader: Reader, known: Known, gateway: str | None, health: FindModel | None
) -> Answer:
    shelf = await reader.shelf()
    row = row_named(as_asked(known), shelf.providers)
    slugs = gateways_of(gateway, shelf)
    if slugs:
        mine = next((slug for slug in slugs if slug in row.gateways), None)
        if mine is None:
            raise NotFound(
                f"Model '{echo(known.model.id)}' is not offered by '{echo(gateway or '')}'.",
                code="model_not_found",
                param="gateway",
            )
        row = row.at(mine)
    figures = {} if health is None else await health(known.model.id)
    tag = tag_of(await reader.tag(), ("one", repr(known), slugs, repr(figures)))
    return Answer(tag, lambda: model_answer(row, shelf, figures), reader)


async def compare_hosts(reader: Reader, name: str, gateways: str) -> Item:
    known = await reader.known(name)
    shelf = await reader.shelf()
    slugs = gateways_of(gateways, shelf)
    compared = comparing.compare(
        known.model, known.offers, shelf.catalog.ready, frozenset(slugs) if slugs else None
    )
    return {**compared, "timestamp": shelf.timestamp}


async def batch_compare(
    reader: Reader, names: Sequence[str], raw: bytes, criteria: Criteria
) -> Item:
    """POST /models/batch-compare: ids in the query, as a JSON array, or as `model_ids`."""
    wanted = list(names) or _listed(raw)
    if not 1 <= len(wanted) <= MOST_COMPARED:
        raise InvalidRequest(
            f"'model_ids' must name 1 to {MOST_COMPARED} models.", param="model_ids"
        )
    shelf = await reader.shelf()
    results: list[Item] = []
    for name in wanted:
        try:
            known = await reader.known(name)
        except NotFound as missing:
            results.append({"model_id": name, "error": missing.message})
            continue
        results.append(
            {
                "model_id": known.model.id,
                "comparison": comparing.compare_by(known.offers, criteria, shelf.catalog.ready),
                "savings": comparing.savings_of(known.offers),
                "gateways_available": len(known.servable),
            }
        )
    return {
        "success": True,
        "criteria": criteria,
        "models_compared": len(wanted),
        "results": results,
        "timestamp": shelf.timestamp,
    }


def _listed(raw: bytes) -> list[str]:
    bare = raw.lstrip()[:1] == b"["
    body = parse_object(b'{"model_ids":' + raw + b"}" if bare else raw)
    listed = body.get("model_ids")
    alone = set(body) == {"model_ids"}
    if not alone or type(listed) is not list or any(type(name) is not str for name in listed):
        raise InvalidRequest("'model_ids' must be an array of model ids.", param="model_ids")
    return listed


# ---------------------------------------------------------------- prices


async def price_history(reader: Reader, asked: Mapping[str, Any]) -> Item:
    """Versions of prices, the newest first. One model by any of its names, or one offer."""
    wanted = {name: asked[name] for name in HISTORY if name in asked}
    offers: tuple[Offer, ...] = ()
    if "model" in asked:
        known = await reader.known(asked["model"])
        wanted["model"], offers = known.model.id, known.offers
    elif not asked.keys() & {"offer", "provider"}:
        raise InvalidRequest("Name a 'model', an 'offer' or a 'provider'.", param="model")
    rows: list[Mapping[str, Any]] = await reader.stores.postgres.rpc("price_history", wanted)
    recorded = {row["offer"] for row in rows}
    rows, next_before_ms = history_page(rows, wanted["limit"])
    items = [history_item(row) for row in rows]
    if next_before_ms is None and "before_ms" not in asked:
        items += [current_item(o) for o in offers if o.id not in recorded and o.price]
    return {"object": "list", "data": items, "next_before_ms": next_before_ms}


def _page(shown: list[Item], total: int, asked: Mapping[str, Any], shelf: Shelf) -> Item:
    end = asked["offset"] + len(shown)
    return {
        "object": "list",
        "data": shown,
        "total": total,
        "returned": len(shown),
        "offset": asked["offset"],
        "limit": asked["limit"],
        "has_more": end < total,
        "next_offset": end if end < total else None,
        "timestamp": shelf.timestamp,
    }
