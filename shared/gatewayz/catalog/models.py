"""What models are, assembled from all their listings once these are stored.

Guarantees that offers joined by rule alone, whose contexts differ by more than twice, end under
names of their own, flagged for a person.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gatewayz.catalog.assemble import (
    CONTEXT_VARIES,
    Listed,
    apart,
    categories_of,
    model_of,
    rank_of,
    regroup,
)
from gatewayz.catalog.grouping import Placed
from gatewayz.catalog.hub import Figures
from gatewayz.catalog.model import Model, Offer, offer_id
from gatewayz.catalog.store import CatalogStore, batches, model_row, price_in, row_of


async def assemble_models(store: CatalogStore, run_id: str, figures: Mapping[str, Figures]) -> int:
    """Store the facts of every model; how many offers were set apart.

    `figures` are the hub's, by its ids; a model it does not count keeps what was stored.
    """
    rows: list[dict[str, Any]] = []
    moved: list[dict[str, str]] = []
    async for facts in store.facts():
        group = [_listed(facts["model_id"], offer) for offer in facts["offers"]]
        stay, leave = regroup(group)
        flags = tuple(facts["flags"] or ())
        if stay:
            model = _model(facts["model_id"], stay, flags)
            rows.append(model_row(_counted(model, figures)))
        for listed in leave:
            own = apart(listed)
            moved.append(
                {"offer": offer_id(own.provider, own.row.native_id),
                 "model_id": own.placed.model_id}
            )  # fmt: skip
            model = _model(own.placed.model_id, [own], (CONTEXT_VARIES,))
            rows.append(model_row(_counted(model, figures)))
    for batch in batches(moved):
        await store.call("catalog_move", {"run_id": run_id, "offers": batch})
    for batch in batches(rows):
        await store.call("catalog_store_models", {"run_id": run_id, "models": batch})
    for move in moved:
        await store.call(
            "catalog_alert",
            {"kind": "context_varies", "subject": move["offer"], "severity": "minor",
             "detail": "its context is another one by more than twice: not merged"},
        )  # fmt: skip
    return len(moved)


def _listed(model_id: str, offer: dict[str, Any]) -> Listed:
    row = row_of(offer["native_id"], offer["facts"])
    placed = Placed(model_id, offer["placed"])
    return Listed(offer["provider"], row, placed, price_in(offer["price"]), "", "")


def _model(model_id: str, group: list[Listed], flags: tuple[str, ...]) -> Model:
    ranked = sorted(group, key=rank_of)
    model = model_of(model_id, [listed.row for listed in ranked])
    offers = [
        Offer("", model_id, listed.provider, listed.row.native_id, listed.price)
        for listed in ranked
    ]
    return replace(model, flags=flags, categories=categories_of(model, offers))


def _counted(model: Model, figures: Mapping[str, Figures]) -> Model:
    said = figures.get((model.hugging_face_id or "").lower())
    if said is None:
        return model
    return replace(model, hf_downloads=said.downloads, hf_likes=said.likes)
