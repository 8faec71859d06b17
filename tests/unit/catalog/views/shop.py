"""A small catalog whose models differ in everything that lists ask about."""

from gatewayz.catalog.model import Catalog, Entry, Model, Offer, offer_id
from gatewayz.pricing.price import Price
from gatewayz.pricing.tiers import Tier, TieredPrice
from gatewayz.providers.config import Provider

DAY_S = 86_400
NOW_S = 1_800_000_000


def price(version: str, usd_in: float | None, usd_out: float | None) -> Price | None:
    """USD per million tokens."""
    if usd_in is None or usd_out is None:
        return None
    nanos = {"input": round(usd_in * 10**9), "output": round(usd_out * 10**9)}
    return Price(version, nanos)


def offer(model_id: str, provider: str, cost: Price | None, **more: object) -> Offer:
    native = str(more.pop("native_id", model_id))
    return Offer(
        offer_id(provider, native),
        model_id,
        provider,
        native,
        cost,
        **more,  # type: ignore[arg-type]
    )


TIERED = TieredPrice(
    "p-tiered",
    {"input": 10**9, "output": 4 * 10**9, "cache_read": 10**8},
    tiers=(Tier(200_000, {"input": 2 * 10**9, "output": 6 * 10**9}),),
)

BIG = Model(
    "acme/big", "Acme Big", "The large one.", NOW_S - 10 * DAY_S, 400_000, 64_000,
    ("text", "image"), ("text",), ("temperature", "tools", "tool_choice", "made_up"),
    hugging_face_id="acme/Big", author="acme", tokenizer="GPT", knowledge_cutoff="2026-01-31",
    deprecated_at="2027-06-01", categories=("programming", "science"),
    capabilities=("tools", "vision", "streaming"),
    benchmarks={"intelligence_index": 70.5, "coding_index": 60.0, "task:design_arena": 1400.0},
    hf_downloads=12, hf_likes=3,
)  # fmt: skip
SMALL = Model(
    "acme/small", "Acme Small", "The small one.", NOW_S - 400 * DAY_S, 8_000, 4_000,
    supported_parameters=("temperature",), author="acme", tokenizer="GPT",
    categories=("trivia",), benchmarks={"intelligence_index": 20.0},
)  # fmt: skip
ART = Model(
    "brush/art", "Brush Art", "Paints.", NOW_S - 2 * DAY_S, None, None, ("text",), ("image",),
    author="brush", tokenizer="Media",
)  # fmt: skip
PRIVATE = Model(
    "vault/quiet", "Quiet", "Tells nobody.", 0, 32_000, author="vault", tokenizer="Llama3"
)
UNPRICED = Model("vault/unpriced", "Unpriced", "", 0, 1_000, author="vault", tokenizer="Llama3")

CATALOG = Catalog(
    [
        Entry(
            BIG,
            (
                offer("acme/big", "first", TIERED, region="us-east-1", quantization="fp8",
                      context_tokens=400_000, max_output_tokens=64_000, checked="2026-11-01",
                      source="its listing", trains=False, max_prompt_tokens=300_000),
                offer("acme/big", "second", price("p-b2", 0.5, 2), region="eu", zdr=True,
                      context_tokens=200_000),
            ),
        ),
        Entry(SMALL, (offer("acme/small", "first", price("p-s", 0.0, 0.0)),)),
        Entry(ART, (offer("brush/art", "second", price("p-a", 5, 20)),)),
        Entry(
            PRIVATE,
            (offer("vault/quiet", "third", price("p-q", 3, 3), confidential=True, zdr=True),),
        ),
        Entry(UNPRICED, (offer("vault/unpriced", "first", None),)),
    ],
    aliases={"big": "acme/big"},
    ready=frozenset({"first", "second"}),
)  # fmt: skip
PROVIDERS = {
    slug: Provider(slug, name, "openai_chat", f"https://{slug}.example/v1")
    for slug, name in (("first", "First Host"), ("second", "Second"), ("third", "Third"))
}
