"""The feed genai-prices, version 2: USD per 10^6 tokens; searches and requests per thousand.

A price may be a list by date: the one that holds on `today` counts, prices by the hour of the day
are not read. A price may have tiers, which hold for the whole request. Its package ships the same
facts, so that the feed is there without a network.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from gatewayz.catalog.listings.row import (
    Item,
    RateReader,
    Rates,
    Row,
    at,
    count_of,
    id_of,
    table,
    text_of,
    tier_rows,
)

KEYS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write_5m",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "audio_in",
    "output_audio_mtok": "audio_out",
    "output_reasoning_mtok": "reasoning",
    "output_image_mtok": "image_out",
    "input_image_mtok": "image_in",
}
THOUSANDS = {"web_searches_kcount": "search", "requests_kcount": "request"}
PER_THOUSAND = Decimal(1000)


def read(item: Item, today: str) -> Iterator[tuple[str, Row]]:
    """(provider's name in the feed, row) of every model of one provider."""
    models = item.get("models")
    for model in models if isinstance(models, list) else []:
        native_id = id_of(at(model, "id"))
        prices = current(at(model, "prices"), today)
        if not native_id or not prices:
            continue
        base, tiers = split(prices)
        if base:
            yield (
                str(item.get("id")),
                Row(
                    native_id,
                    name=text_of(at(model, "name"), 120),
                    context_tokens=count_of(at(model, "context_window")),
                    rates=base,
                    tiers=tiers,
                ),
            )


def current(stated: Any, today: str) -> Item:
    """The prices that hold on `today` (YYYY-MM-DD), all day long; the last such one counts."""
    if not isinstance(stated, list):
        return table(stated)
    held: Item = {}
    for entry in stated:
        constraint = table(at(entry, "constraint"))
        starts = constraint.get("start_date")
        if not constraint or (isinstance(starts, str) and starts <= today):
            held = table(at(entry, "prices"))
    return held


def split(prices: Item) -> tuple[Rates, tuple[tuple[int, Rates], ...]]:
    """The base rates, and those of long prompts."""
    base = RateReader(Decimal(1))
    tiers: dict[int, dict[str, Decimal]] = {}
    for key, name in KEYS.items():
        stated = prices.get(key)
        if not isinstance(stated, dict):
            base.add(name, stated)
            continue
        base.add(name, stated.get("base"))
        known = stated.get("tiers")
        for tier in known if isinstance(known, list) else []:
            above = count_of(at(tier, "start"))
            rates = RateReader(Decimal(1))
            rates.add(name, at(tier, "price"))
            if above:
                tiers.setdefault(above, {}).update(rates.stated())
    for key, name in THOUSANDS.items():
        base.add(name, prices.get(key), PER_THOUSAND)
    return ({}, ()) if base.problems else (base.stated(), tier_rows(tiers.items()))


def packaged() -> list[Item]:
    """The same facts from the installed package, in the feed's own form."""
    from genai_prices.data import providers

    return [
        {"id": provider.id, "models": [_model(model) for model in provider.models]}
        for provider in providers
    ]


def _model(model: Any) -> Item:
    return {
        "id": model.id,
        "name": model.name,
        "context_window": model.context_window,
        "prices": [_dated(entry) for entry in model.prices]
        if isinstance(model.prices, list)
        else _prices(model.prices),
    }


def _dated(entry: Any) -> Item:
    starts = getattr(entry.constraint, "start_date", None)
    if entry.constraint is not None and starts is None:
        return {"constraint": {"other": True}, "prices": _prices(entry.prices)}
    constraint = {"constraint": {"start_date": starts.isoformat()}} if starts else {}
    return {**constraint, "prices": _prices(entry.prices)}


def _prices(prices: Any) -> Item:
    return {key: _price(getattr(prices, key, None)) for key in (*KEYS, *THOUSANDS)}


def _price(value: Any) -> Any:
    tiers = getattr(value, "tiers", None)
    if tiers is None:
        return value
    return {"base": value.base, "tiers": [{"start": t.start, "price": t.price} for t in tiers]}
