"""Fills an empty catalog from the bundled one, so that the first listing has something to be
compared with and a provider whose listing cannot be asked for has its last good data.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gatewayz.catalog.assemble import Policy
from gatewayz.catalog.bundle import open_bundle
from gatewayz.catalog.grouping import Placed
from gatewayz.catalog.listings.row import Row
from gatewayz.catalog.model import Model, Offer
from gatewayz.catalog.store import CatalogStore, batches, model_row, offer_row
from gatewayz.providers.provider import Provider

SOURCE = "bundled"


def policy_of(provider: Provider) -> Policy:
    """What a provider's row says of all its offers."""
    data = provider.data
    return Policy(
        data.trains, data.retains, data.zdr, data.confidential, provider.aggregator,
        provider.region or None,
    )  # fmt: skip


async def seed(store: CatalogStore, run_id: str, providers: Mapping[str, Provider]) -> int:
    """Store every bundled offer of a known provider; how many."""
    by_provider: dict[str, list[dict[str, Any]]] = {}
    models: list[dict[str, Any]] = []
    for entry in open_bundle().entries():
        offers = [offer for offer in entry.offers if offer.provider in providers]
        if offers:
            models.append(model_row(entry.model))
        for offer in offers:
            row = _row(entry.model, offer, policy_of(providers[offer.provider]))
            by_provider.setdefault(offer.provider, []).append(row)
    for slug, rows in sorted(by_provider.items()):
        for batch in batches(rows):
            await store.call(
                "catalog_store",
                {"run_id": run_id, "provider": slug, "offers": batch, "quarantine": []},
            )
    for batch in batches(models):
        await store.call("catalog_store_models", {"run_id": run_id, "models": batch})
    return sum(map(len, by_provider.values()))


def _row(model: Model, offer: Offer, policy: Policy) -> dict[str, Any]:
    row = Row(
        offer.native_id,
        name=model.name,
        description=model.description,
        created_s=model.created_s,
        context_tokens=offer.context_tokens,
        max_output_tokens=offer.max_output_tokens,
        max_prompt_tokens=offer.max_prompt_tokens,
        input_modalities=offer.input_modalities or model.input_modalities,
        output_modalities=offer.output_modalities or model.output_modalities,
        parameters=offer.supported_parameters or model.supported_parameters,
        capabilities=model.capabilities,
        reasons=offer.reasons,
        quantization=offer.quantization,
        region=offer.region,
        confidential=offer.confidential,
        zdr=offer.zdr,
        hugging_face_id=model.hugging_face_id,
        tokenizer=model.tokenizer,
        knowledge_cutoff=model.knowledge_cutoff,
        deprecated_at=offer.deprecated_at,
        is_moderated=model.is_moderated,
        benchmarks=model.benchmarks,
    )
    return offer_row(
        row, Placed(offer.model_id, "curated"), policy, price=offer.price, free=offer.free,
        source=SOURCE, checked_ms=_ms(offer.checked),
    )  # fmt: skip


def _ms(day: str) -> int:
    if not day:
        return 0
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)
