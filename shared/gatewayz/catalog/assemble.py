"""Models and offers from listed rows: which facts win where several listings state them. Pure.

Guarantees that a model's facts come from the listing nearest to its maker, and that an offer whose
context is another one than the model's by more than twice is not offered under its name unseen.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from gatewayz.catalog.grouping import Placed, differs, facts, own_id
from gatewayz.catalog.listings.row import Row, is_vectors
from gatewayz.catalog.model import Entry, Model, Offer, offer_id
from gatewayz.core.money import NANOS_PER_USD
from gatewayz.pricing.price import Price

CONTEXT_VARIES = "context_varies"
# Rules of the categories that a listing's facts decide (by price: a quarter in, the rest out).
CHEAP_USD = Decimal("0.5")
LONG_TOKENS, LARGEST_TOKENS = 128_000, 200_000
INPUT_SHARE = Decimal("0.25")


@dataclass(frozen=True, slots=True)
class Policy:
    """What a provider's row says of all its offers."""

    trains: bool | None = None
    retains: bool | None = None
    zdr: bool = False
    confidential: bool = False
    aggregator: bool = False
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A row with its place, its price and where that was read (`checked`: YYYY-MM-DD)."""

    provider: str
    row: Row
    placed: Placed
    price: Price | None
    source: str
    checked: str


def offer_of(listed: Listed, policy: Policy, model_id: str | None = None) -> Offer:
    row, placed = listed.row, listed.placed
    return Offer(
        id=offer_id(listed.provider, row.native_id),
        model_id=model_id or placed.model_id,
        provider=listed.provider,
        native_id=row.native_id,
        price=listed.price,
        context_tokens=row.context_tokens,
        max_output_tokens=row.max_output_tokens,
        reasons=row.reasons,
        checked=listed.checked,
        source=listed.source,
        supported_parameters=row.parameters,
        input_modalities=row.input_modalities,
        output_modalities=row.output_modalities,
        quantization=row.quantization or placed.quantization,
        region=row.region or policy.region,
        trains=policy.trains,
        retains=policy.retains,
        zdr=policy.zdr or row.zdr,
        confidential=policy.confidential or row.confidential or placed.confidential,
        aggregator=policy.aggregator,
        deprecated_at=row.deprecated_at,
        max_prompt_tokens=row.max_prompt_tokens,
    )


def with_outputs(row: Row) -> Row:
    """Listings of bare ids say nothing of embeddings, which have no price of output."""
    if row.output_modalities or not is_vectors(row.native_id):
        return row
    return replace(row, output_modalities=("embeddings",))


def regroup(group: list[Listed], reference: int | None = None) -> tuple[list[Listed], list[Listed]]:
    """(those that stay together, those whose context is another one by more than twice).

    What a person placed stays. The context compared with is `reference`, else the maker's own
    listing's, else the one that most state.
    """
    ranked = sorted(group, key=rank_of)
    maker = next((it.row.context_tokens for it in ranked if rank_of(it)[0] == 0), None)
    known = reference or maker or _most_stated(group)
    stay: list[Listed] = []
    leave: list[Listed] = []
    for listed in group:
        free = listed.placed.how != "rule"
        odd = not free and differs(listed.row.context_tokens, known)
        (leave if odd else stay).append(listed)
    return stay, leave


def apart(listed: Listed) -> Listed:
    """The same under its provider's own name, to be looked at."""
    native_id = listed.row.native_id
    return replace(listed, placed=Placed(own_id(listed.provider, native_id), "own"))


def rank_of(listed: Listed) -> tuple[int, str]:
    """Nearest to the maker first: its own listing, then those that describe models well."""
    author = listed.placed.model_id.partition("/")[0]
    if facts()["makers"].get(listed.provider) == author:
        return 0, listed.provider
    told = bool(listed.row.description) + bool(listed.row.canonical)
    return 3 - told, listed.provider


def entry_of(
    model_id: str,
    group: Iterable[Listed],
    policies: Mapping[str, Policy],
    *,
    flags: tuple[str, ...] = (),
) -> Entry:
    """One model with all its offers, cheapest first among equals of rank."""
    ranked = sorted(group, key=rank_of)
    offers = [offer_of(it, policies.get(it.provider, Policy()), model_id) for it in ranked]
    model = model_of(model_id, [listed.row for listed in ranked])
    categories = categories_of(model, offers)
    return Entry(replace(model, flags=flags, categories=categories), tuple(offers))


def model_of(model_id: str, rows: list[Row]) -> Model:
    """Facts of the first row that states them; what a model can do is what any host shows."""
    author = model_id.partition("/")[0]
    inputs = next((r.input_modalities for r in rows if r.input_modalities), ("text",))
    outputs = next((r.output_modalities for r in rows if r.output_modalities), ("text",))
    parameters = dict.fromkeys(p for row in rows for p in row.parameters)
    capabilities = dict.fromkeys(c for row in rows for c in row.capabilities)
    return Model(
        id=model_id,
        name=_first(row.name for row in rows) or model_id.partition("/")[2] or model_id,
        description=_first(row.description for row in rows),
        created_s=max((row.created_s for row in rows[:1]), default=0)
        or next((row.created_s for row in rows if row.created_s), 0),
        context_tokens=max((r.context_tokens for r in rows if r.context_tokens), default=None),
        max_output_tokens=max(
            (r.max_output_tokens for r in rows if r.max_output_tokens), default=None
        ),
        input_modalities=inputs,
        output_modalities=outputs,
        supported_parameters=tuple(parameters),
        hugging_face_id=_first(row.hugging_face_id or "" for row in rows) or None,
        author=author,
        canonical_slug=model_id,
        tokenizer=_first(r.tokenizer for r in rows) or facts()["tokenizers"].get(author, "Other"),
        knowledge_cutoff=_first(row.knowledge_cutoff or "" for row in rows) or None,
        deprecated_at=rows[0].deprecated_at if rows else None,
        is_moderated=next((r.is_moderated for r in rows if r.is_moderated is not None), None),
        capabilities=tuple(capabilities),
        benchmarks={k: v for row in reversed(rows) for k, v in row.benchmarks.items()},
        hf_downloads=next((row.hf_downloads for row in rows if row.hf_downloads), None),
        hf_likes=next((row.hf_likes for row in rows if row.hf_likes), None),
    )


def categories_of(model: Model, offers: list[Offer]) -> tuple[str, ...]:
    """The categories that facts decide; those of quality and speed are measured elsewhere."""
    blended = [cost for offer in offers if (cost := _blended(offer.price)) is not None]
    context = model.context_tokens or 0
    known = {
        "cheapest": any(0 < cost <= CHEAP_USD for cost in blended),
        "free": any(offer.free for offer in offers),
        "largest-context": context >= LARGEST_TOKENS,
        "long-context": context >= LONG_TOKENS,
        "reasoning": "reasoning" in model.capabilities,
        "vision": "image" in model.input_modalities,
    }
    return tuple(name for name, fits in known.items() if fits)


def _blended(price: Price | None) -> Decimal | None:
    """USD per 10^6 tokens, a quarter of them input."""
    if price is None:
        return None
    prompt, answer = price.of("input"), price.of("output")
    if prompt is None or answer is None:
        return None
    share = Decimal(prompt) * INPUT_SHARE + Decimal(answer) * (1 - INPUT_SHARE)
    return share * Decimal(1).scaleb(-len(str(NANOS_PER_USD)) + 1)


def _first(texts: Iterable[str]) -> str:
    return next((text for text in texts if text), "")


def _most_stated(group: list[Listed]) -> int | None:
    contexts = [it.row.context_tokens for it in group if it.row.context_tokens]
    return max(contexts, key=lambda c: (contexts.count(c), c)) if contexts else None
