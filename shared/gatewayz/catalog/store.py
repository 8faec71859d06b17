"""The catalog's rows in Postgres, as this package reads and writes them. One function, one rpc.

Guarantees that a batch is small enough for one call and that a sync's rows name no operator's
column.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gatewayz.catalog.assemble import Policy
from gatewayz.catalog.gate import Held, KnownOffer
from gatewayz.catalog.grouping import Placed
from gatewayz.catalog.listings.row import Row
from gatewayz.catalog.model import Entry, Model, Offer, offer_id
from gatewayz.catalog.record import price_record, read_price
from gatewayz.catalog.soundness import made
from gatewayz.pricing.markup import markup_of, sale_price
from gatewayz.pricing.price import Price
from gatewayz.pricing.tiers import Tier
from gatewayz.stores.postgres import Postgres

BATCH = 500
PAGE = 1000
# A batch of a large listing takes longer than a request's calls may.
TIMEOUT_S = 60.0

_MODEL_TEXTS = (
    "input_modalities", "output_modalities", "supported_parameters", "capabilities", "categories",
    "flags", "dimensions",
)  # fmt: skip
_FACTS = (
    "name", "description", "created_s", "input_modalities", "output_modalities", "parameters",
    "capabilities", "context_tokens", "max_output_tokens", "hugging_face_id", "tokenizer",
    "knowledge_cutoff", "deprecated_at", "is_moderated", "canonical", "benchmarks",
    "hf_downloads", "hf_likes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class KnownProvider:
    """`listed`: models of its last good listing, 0 when there was none."""

    offers: Mapping[str, KnownOffer]
    listed: int


class CatalogStore:
    """Calls on one Postgres."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def call(self, name: str, params: dict[str, Any]) -> Any:
        return await self._postgres.rpc(name, params, timeout_s=TIMEOUT_S)

    async def known(self, provider: str) -> KnownProvider:
        answer = await self.call("catalog_known", {"provider": provider})
        offers = {row["native_id"]: _known_offer(row) for row in answer["offers"]}
        return KnownProvider(offers, answer["listed"] or 0)

    async def model_ids(self) -> dict[str, int | None]:
        """Every model id with its context."""
        return {row[0]: row[1] for row in await self.call("catalog_model_ids", {})}

    async def facts(self) -> AsyncIterator[dict[str, Any]]:
        """What listings state of each model, one model after another."""
        async for model in self._pages("catalog_facts"):
            yield model

    async def visible(self) -> AsyncIterator[Entry]:
        """The catalog as it is to be published: sale prices, nothing that is hidden."""
        async for row in self._pages("catalog_read"):
            yield _entry(row)

    async def aliases(self) -> tuple[dict[str, str], dict[str, str]]:
        """(aliases, redirects) by lower-case name."""
        aliases: dict[str, str] = {}
        redirects: dict[str, str] = {}
        for row in await self.call("catalog_aliases", {}):
            (redirects if row["kind"] == "redirect" else aliases)[row["alias"]] = row["model_id"]
        return aliases, redirects

    async def _pages(self, name: str) -> AsyncIterator[dict[str, Any]]:
        after: str | None = ""
        while after is not None:
            page = await self.call(name, {"after": after, "limit": PAGE})
            for row in page["models"]:
                yield row
            after = page["next"]


def offer_row(
    row: Row, placed: Placed, policy: Policy, *, price: Price | None, free: bool, source: str,
    checked_ms: int,
) -> dict[str, Any]:  # fmt: skip
    """One offer as `catalog_store` takes it; without a price the known one stays."""
    return {
        "native_id": row.native_id,
        "model_id": placed.model_id,
        "placed": placed.how,
        "context_tokens": row.context_tokens,
        "max_output_tokens": row.max_output_tokens,
        "max_prompt_tokens": row.max_prompt_tokens,
        "supported_parameters": row.parameters,
        "input_modalities": row.input_modalities,
        "output_modalities": row.output_modalities,
        "quantization": row.quantization or placed.quantization,
        "region": row.region or policy.region,
        "trains": policy.trains,
        "retains": policy.retains,
        "zdr": policy.zdr or row.zdr,
        "confidential": policy.confidential or row.confidential or placed.confidential,
        "aggregator": policy.aggregator,
        "reasons": row.reasons,
        "deprecated_at": row.deprecated_at,
        "facts": facts_of(row),
        "price": None if price is None else {**price_record(price), "free": free},
        "source": source,
        "checked_ms": checked_ms,
    }


def facts_of(row: Row) -> dict[str, Any]:
    """What a listing says of the model itself; what it does not say is left out."""
    return {name: value for name in _FACTS if (value := getattr(row, name))}


def row_of(native_id: str, facts: Mapping[str, Any]) -> Row:
    """The row that `facts_of` was made of, without its price."""
    known: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in facts.items()
        if name in _FACTS
    }
    return Row(native_id, **known)


def held_row(native_id: str, held: Held, standing: Price | None) -> dict[str, Any]:
    proposed = None
    if held.proposed is not None:
        proposed = {**price_record(held.proposed), "free": held.free}
    return {
        "native_id": native_id,
        "reason": held.reason,
        "detail": held.detail,
        "source": held.source,
        "proposed": proposed,
        "standing": None if standing is None else price_record(standing),
    }


def model_row(model: Model) -> dict[str, Any]:
    """Facts of a model as `catalog_store_models` takes them."""
    return {
        "id": model.id,
        "name": model.name,
        "author": model.author,
        "description": model.description,
        "created_s": model.created_s,
        "context_tokens": model.context_tokens,
        "max_output_tokens": model.max_output_tokens,
        "tokenizer": model.tokenizer,
        "hugging_face_id": model.hugging_face_id,
        "knowledge_cutoff": model.knowledge_cutoff,
        "deprecated_at": model.deprecated_at,
        "is_moderated": model.is_moderated,
        "benchmarks": dict(model.benchmarks),
        "hf_downloads": model.hf_downloads,
        "hf_likes": model.hf_likes,
        **{name: getattr(model, name) for name in _MODEL_TEXTS},
    }


def batches(rows: list[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    return (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))


def price_in(record: Mapping[str, Any] | None) -> Price | None:
    """The price of a stored record; None when it has none."""
    if record is None or record.get("nanos") is None:
        return None
    if record.get("version"):
        return read_price(record)
    tiers = tuple(Tier(above, nanos) for above, nanos in record.get("tiers") or ())
    return made(record["nanos"], tiers)


def _known_offer(row: Mapping[str, Any]) -> KnownOffer:
    price = row["price"] or {}
    return KnownOffer(
        row["model_id"], row["placed"], price_in(price), bool(price.get("free")), row["decided"]
    )


_MODEL_PLAIN = (
    "name", "author", "description", "created_s", "context_tokens", "max_output_tokens",
    "tokenizer", "hugging_face_id", "knowledge_cutoff", "deprecated_at", "is_moderated",
    "benchmarks", "hf_downloads", "hf_likes",
)  # fmt: skip
_OFFER_TEXTS = ("supported_parameters", "input_modalities", "output_modalities")
_OFFER_PLAIN = (
    "context_tokens", "max_output_tokens", "max_prompt_tokens", "reasons", "quantization",
    "region", "trains", "retains", "zdr", "confidential", "aggregator", "deprecated_at",
)  # fmt: skip


def _entry(row: Mapping[str, Any]) -> Entry:
    model_id = row["model_id"]
    facts: dict[str, Any] = {name: row[name] for name in _MODEL_PLAIN}
    facts |= {name: tuple(row[name]) for name in _MODEL_TEXTS}
    model = Model(id=model_id, canonical_slug=model_id, **facts)
    offers = tuple(_offer(model_id, offer, row["op_markup_ppm"]) for offer in row["offers"])
    return Entry(model, offers)


def _offer(model_id: str, row: Mapping[str, Any], model_markup_ppm: int | None) -> Offer:
    cost = price_in(row["price"])
    markup_ppm = markup_of(row["op_markup_ppm"], model_markup_ppm, row["provider_markup_ppm"])
    price = None if cost is None else sale_price(cost, markup_ppm)
    facts: dict[str, Any] = {name: row[name] for name in _OFFER_PLAIN}
    facts |= {name: tuple(row[name]) for name in _OFFER_TEXTS}
    return Offer(
        id=offer_id(row["provider"], row["native_id"]),
        model_id=model_id,
        provider=row["provider"],
        native_id=row["native_id"],
        price=price,
        cost=None if price is cost else cost,
        checked=_day(row["checked_at_ms"]),
        source=row["source"] or "",
        valid_from_ms=row["valid_from_ms"] or 0,
        **facts,
    )


def _day(ms: int | None) -> str:
    from datetime import UTC, datetime

    return "" if ms is None else datetime.fromtimestamp(ms / 1000, tz=UTC).date().isoformat()
