"""Readers of providers' model lists: one module per shape; brands may be named here.

A shape says where the models stand and how one of them is read. Units are declared by the rows of
providers.toml, and nothing is fetched here.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from gatewayz.catalog.listings import (
    aihubmix,
    anthropic,
    bedrock,
    cloudflare,
    copilot,
    deepinfra,
    friendli,
    gemini,
    genai_prices,
    helicone,
    huggingface,
    litellm,
    mistral,
    models_dev,
    near,
    novita,
    ollama,
    openai,
    openrouter,
    venice,
    vercel,
    xai,
)
from gatewayz.catalog.listings.row import UNITS, Item, Row, table
from gatewayz.catalog.listings.stream import Items, UnreadableListing, read_whole

Read = Callable[[Item, str], Iterator[Row]]


@dataclass(frozen=True, slots=True)
class Shape:
    """`path`: where the models stand; a bare array is taken everywhere. `units`: those that its
    prices can be in. `page_key`: what an answer calls the next page, `page_query` what asks for it.
    """

    read: Read
    path: tuple[str, ...] = ("data",)
    units: tuple[str, ...] = ("none",)
    page_key: str = ""
    page_query: str = ""
    pages: bool = False


_ANY = ("none", "usd_per_token", "usd_per_million", "cents_per_token", "stated")
_MILLION, _TOKEN = ("usd_per_million",), ("usd_per_token",)
_TEN_THOUSANDTH = ("usd_1e4_per_million",)
SHAPES: Mapping[str, Shape] = {
    "openai": Shape(openai.read, units=_ANY),
    "numbered": Shape(openai.read, units=_ANY, pages=True),
    "openrouter": Shape(openrouter.read, units=_TOKEN),
    "vercel": Shape(vercel.read, units=_TOKEN),
    "anthropic": Shape(anthropic.read, page_key="last_id", page_query="after_id"),
    "gemini": Shape(gemini.read, ("models",), page_key="nextPageToken", page_query="pageToken"),
    "mistral": Shape(mistral.read),
    "xai": Shape(xai.read, ("models",), _TEN_THOUSANDTH),
    "deepinfra": Shape(deepinfra.read, units=("cents_per_token",)),
    "novita": Shape(novita.read, units=_TEN_THOUSANDTH),
    "friendli": Shape(friendli.read, units=("stated",)),
    "near": Shape(near.read, ("models",), ("stated",)),
    "aihubmix": Shape(aihubmix.read, units=_MILLION),
    "venice": Shape(venice.read, units=_MILLION),
    "huggingface": Shape(huggingface.read, units=_MILLION),
    "helicone": Shape(helicone.read, ("data", "models"), _MILLION),
    "bedrock": Shape(bedrock.read, ("modelSummaries",)),
    "bedrock_mantle": Shape(bedrock.read_compatible),
    "copilot": Shape(copilot.read),
    "ollama": Shape(ollama.read, ("models",)),
    "cloudflare": Shape(cloudflare.read, ("result",), ("usd_per_token", "stated")),
}


def feeds_read(feed: str, body: bytes | None, today: str) -> Iterator[tuple[str, Row]]:
    """(provider's name there, row) of everything in one price feed.

    Without `body` the feed's own installed package is read, where it has one. `today` (YYYY-MM-DD)
    chooses among prices by date. UnreadableListing when the bytes are not the feed's.
    """
    if feed == "genai_prices":
        for item in genai_prices.packaged() if body is None else read_whole(body, ()):
            yield from genai_prices.read(table(item), today)
        return
    reader = {"models_dev": models_dev.read, "litellm": litellm.read}[feed]
    for name, item in read_whole(body or b"{}", (), members=True):
        yield from reader(name, item)


__all__ = ["SHAPES", "UNITS", "Items", "Row", "Shape", "UnreadableListing", "feeds_read"]
