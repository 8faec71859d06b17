"""Reads `[[models]]` of a TOML file into catalog entries.

Guarantees exact prices or none: a price that is inexact, insane or an undeclared zero is
quarantined with a warning, its offer loaded but not served. A malformed entry is an error.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from gatewayz.catalog.model import MODEL_ID, WILDCARD, Entry, Model, Offer, offer_id
from gatewayz.core.log import get_log
from gatewayz.core.money import NANOS_PER_USD
from gatewayz.pricing.price import InexactPrice, Price, parse_usd_per_million
from gatewayz.providers.config import MODELS_KEY, Provider
from gatewayz.providers.tables import Table, TableError, read_toml

log = get_log(__name__)

# Classes whose price a file states in USD per million tokens.
TOKEN_CLASSES = (
    "input",
    "output",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "reasoning",
    "audio_in",
    "audio_out",
    "image_in",
    "image_out",
)
# … and those that are counted by the piece, whose price for a million is large.
PIECE_CLASSES = ("request", "search", "second")
# Models that give nothing else write no tokens, so they have no price of output.
WRITES_NOTHING = frozenset({"embeddings", "rerank", "moderation"})
# No model costs more; a price above is in another unit than its reader thought.
MAX_SANE_NANOS = 1_000 * NANOS_PER_USD
VERSION_DIGITS = 16
# Text models take these nearly everywhere; an entry that differs states its own.
COMMON_PARAMETERS = ("max_tokens", "temperature", "top_p", "stop")
DAY = r"\d{4}-\d{2}-\d{2}"
_FREE_NANOS = {"input": 0, "output": 0}


class UnsoundPrice(ValueError):
    """Stated prices that cannot be true."""


@dataclass(slots=True)
class Draft:
    """A model while its entries are read: what they state about it, and its offers by id."""

    about: dict[str, Any] = field(default_factory=dict)
    offers: dict[str, Offer] = field(default_factory=dict)


Drafts = dict[str, Draft]


def price_of(
    usd_per_million: Mapping[str, Decimal | int | str], *, free: bool = False, writes: bool = True
) -> Price:
    """A price by class; its version is a hash of its content, so equal prices share one.

    InexactPrice, UnsoundPrice. A price of 0 must be declared by `free`; what does not write needs
    no price of output.
    """
    nanos = {name: parse_usd_per_million(usd) for name, usd in usd_per_million.items()}
    if free:
        if any(nanos.values()):
            raise UnsoundPrice("declared free, but priced")
        return Price(price_version(_FREE_NANOS), _FREE_NANOS)
    for name, value in nanos.items():
        if value == 0:
            raise UnsoundPrice(f"{name} is 0 without free = true")
        if value > MAX_SANE_NANOS and name not in PIECE_CLASSES:
            raise UnsoundPrice(f"{name} is above {MAX_SANE_NANOS // NANOS_PER_USD} USD per million")
    if writes and ("input" not in nanos or "output" not in nanos):
        raise UnsoundPrice("input and output must both be known")
    if "input" in nanos and nanos.get("cache_read", 0) > nanos["input"]:
        raise UnsoundPrice("cache_read is dearer than input")
    return Price(price_version(nanos), nanos)


def price_version(nanos_per_million: Mapping[str, int]) -> str:
    """Names these prices for ever: the same in every process, release and file."""
    text = ";".join(f"{name}={nanos}" for name, nanos in sorted(nanos_per_million.items()))
    return "p1-" + hashlib.sha256(text.encode()).hexdigest()[:VERSION_DIGITS]


def read_entries(
    path: Path, drafts: Drafts, providers: Mapping[str, Provider], *, bundled: bool
) -> None:
    """Add the file's models to `drafts`. An offer that is there already is replaced.

    Bundled entries may name providers that are not in use here; an operator's may not.
    """
    entries = read_toml(path).get(MODELS_KEY, [])
    if not isinstance(entries, list):
        raise TableError(f"{path.name}: models must be written as [[models]]")
    seen: set[str] = set()
    for index, data in enumerate(entries):
        table = Table(path.name, f"models #{index + 1}", data)
        model_id = _model_id(table)
        table.name = model_id
        draft = drafts.setdefault(model_id, Draft())
        offers = _read_entry(table, draft, model_id)
        for offer in offers:
            if offer.id in seen:
                raise table.fail("native_id", f"'{offer.id}' is offered twice in this file")
            seen.add(offer.id)
            if offer.provider in providers:
                draft.offers[offer.id] = _with_policy(offer, providers[offer.provider])
            elif not bundled:
                raise table.fail("provider", f"'{offer.provider}' is not a known provider")


def build(drafts: Drafts, providers: Mapping[str, Provider]) -> list[Entry]:
    """Finished entries; models that nobody here offers are left out."""
    entries = []
    for model_id, draft in drafts.items():
        if not draft.offers:
            continue
        offers = tuple(draft.offers.values())
        contexts = [o.context_tokens for o in offers if o.context_tokens is not None]
        outputs = [o.max_output_tokens for o in offers if o.max_output_tokens is not None]
        model = Model(
            id=model_id,
            context_tokens=max(contexts, default=None),
            max_output_tokens=max(outputs, default=None),
            sandbox=all(providers[o.provider].sandbox for o in offers),
            **{"name": model_id, "supported_parameters": _usual_parameters(draft), **draft.about},
        )
        entries.append(Entry(model, offers))
    return entries


def _with_policy(offer: Offer, provider: Provider) -> Offer:
    """What the provider's own row says of prompts holds for each of its offers."""
    return replace(
        offer,
        region=provider.region or None,
        trains=provider.data.trains,
        retains=provider.data.retains,
        zdr=provider.data.zdr,
        confidential=provider.data.confidential,
        aggregator=provider.aggregator,
    )


def _usual_parameters(draft: Draft) -> tuple[str, ...]:
    outputs = draft.about.get("output_modalities", ())
    return () if outputs and WRITES_NOTHING.issuperset(outputs) else COMMON_PARAMETERS


def overlay(entry: Entry, draft: Draft) -> Entry:
    """`entry` with what a file states: its facts win, its offers replace their namesakes."""
    offers = {offer.id: offer for offer in entry.offers} | draft.offers
    contexts = [o.context_tokens for o in offers.values() if o.context_tokens is not None]
    context = max(contexts, default=entry.model.context_tokens)
    model = replace(entry.model, **{"context_tokens": context, **draft.about})
    return Entry(model, tuple(offers.values()))


def _model_id(table: Table) -> str:
    model_id = table.text("id")
    whole = model_id.removesuffix(WILDCARD)
    if not MODEL_ID.fullmatch(whole):
        raise table.fail("id", f"{model_id[:60]!r} is not of the form {MODEL_ID.pattern}")
    return model_id


def _read_entry(table: Table, draft: Draft, model_id: str) -> list[Offer]:
    draft.about |= _about(table)
    outputs = draft.about.get("output_modalities", ())
    writes = not outputs or not WRITES_NOTHING.issuperset(outputs)
    nested = table.take("offers", list, "a list of tables")
    if nested is None:
        offers = [_offer(table, model_id, writes=writes)]
    else:
        offers = []
        for data in nested:
            inner = Table(table.file, table.name, data)
            offers.append(_offer(inner, model_id, writes=writes))
            inner.finish()
    table.finish()
    return offers


def _about(table: Table) -> dict[str, Any]:
    """What the entry states about the model itself."""
    about: dict[str, Any] = {
        "name": table.text("name", ""),
        "description": table.text("description", ""),
        "created_s": _day_s(table, "created"),
        "input_modalities": table.texts("input_modalities", pattern=r"[a-z]+"),
        "output_modalities": table.texts("output_modalities", pattern=r"[a-z]+"),
        "supported_parameters": table.texts("parameters", pattern=r"[a-z_]+"),
        "hugging_face_id": table.text("hugging_face_id", ""),
        "dimensions": _counts(table, "dimensions"),
    }
    return {key: value for key, value in about.items() if value}


def _offer(table: Table, model_id: str, *, writes: bool) -> Offer:
    provider = table.text("provider")
    native_id = table.text("native_id")
    if model_id.endswith(WILDCARD) != (WILDCARD in native_id):
        raise table.fail("native_id", "needs a * exactly when the id ends in one")
    own_id = offer_id(provider, native_id)
    checked = table.text("checked", "", pattern=DAY)
    return Offer(
        id=own_id,
        model_id=model_id,
        provider=provider,
        native_id=native_id,
        price=_price(table, own_id, writes=writes),
        context_tokens=table.count("context"),
        max_output_tokens=table.count("max_output"),
        reasons=table.flag("reasons"),
        checked=checked,
        source=table.text("source", ""),
    )


def _price(table: Table, own_id: str, *, writes: bool) -> Price | None:
    """None when no price is stated or the stated one is quarantined."""
    stated = {name: table.number_or_text(name) for name in (*TOKEN_CLASSES, *PIECE_CLASSES)}
    known = {name: value for name, value in stated.items() if value is not None}
    free = table.flag("free")
    if not known and not free:
        return None
    try:
        return price_of(known, free=free, writes=writes)
    except (InexactPrice, UnsoundPrice) as problem:
        log.warning("price_quarantined", offer=own_id, file=table.file, problem=str(problem))
        return None


def _counts(table: Table, key: str) -> tuple[int, ...]:
    counts = table.take(key, list, "a list of whole numbers") or []
    if any(type(count) is not int or count <= 0 for count in counts):
        raise table.fail(key, "must hold whole numbers above 0")
    return tuple(counts)


def _day_s(table: Table, key: str) -> int:
    """Unix seconds of a day written as YYYY-MM-DD, 0 when absent."""
    text = table.text(key, "", pattern=DAY)
    if not text:
        return 0
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise table.fail(key, f"{text!r} is no day") from None
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def read_aliases(path: Path) -> Mapping[str, str]:
    """Lower-case alias → canonical id. TableError unless each is a plain, lower-case name."""
    aliases = {}
    for alias, model_id in read_toml(path).items():
        if not re.fullmatch(MODEL_ID, alias) or alias != alias.lower():
            raise TableError(f"{path.name}: {alias[:60]!r} must be a lower-case model name")
        if not isinstance(model_id, str) or not MODEL_ID.fullmatch(model_id):
            raise TableError(f"{path.name}: {alias!r} must name a canonical model id")
        aliases[alias] = model_id
    return aliases
