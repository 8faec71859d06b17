"""Models, offers and the catalog that finds them. Immutable to its users; no I/O.

Guarantees that a name means one model: exact id, then alias by lower case, then a declared
wildcard, and nothing is normalised or guessed beyond that (D31).
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gatewayz.pricing.price import Price

MODEL_ID = re.compile(r"[A-Za-z0-9@~][A-Za-z0-9._:/@~+-]{0,127}")
# In a wildcard's id and native id: the rest of the name asked for.
WILDCARD = "*"
MAX_ID_CHARS = 128
MAX_SUGGESTIONS = 3
# Below this likeness a suggestion is noise.
MIN_LIKENESS = 0.6
# Wildcard names kept ready; callers choose them, so their number is bounded.
MAX_EXPANDED = 1000


@dataclass(frozen=True, slots=True)
class Model:
    """`id` is canonical: vendor/name. `created_s` is the release in Unix seconds, 0 if unknown.

    `flags`: what a person should look at, as `context_varies`. Benchmarks are the feeds' own
    scores by name; downloads and likes are the model hub's.
    """

    id: str
    name: str
    description: str = ""
    created_s: int = 0
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    input_modalities: tuple[str, ...] = ("text",)
    output_modalities: tuple[str, ...] = ("text",)
    supported_parameters: tuple[str, ...] = ()
    hugging_face_id: str | None = None
    sandbox: bool = False
    author: str = ""
    canonical_slug: str = ""
    tokenizer: str = "Other"
    knowledge_cutoff: str | None = None
    deprecated_at: str | None = None
    is_moderated: bool | None = None
    categories: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    benchmarks: Mapping[str, float] = field(default_factory=dict)
    hf_downloads: int | None = None
    hf_likes: int | None = None
    flags: tuple[str, ...] = ()
    # Lengths of its vectors, the usual one first; chosen by the parameter `dimensions`.
    dimensions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """A model at a provider. `price` None means unknown: then it is never served.

    `price` is what a caller pays, `cost` what the provider asks, None where they are the same.

    `native_id` is the provider's own name for it, case-sensitive. `checked` (YYYY-MM-DD) and
    `source` say when and where the price was read. `trains` and `retains`: whether the provider
    trains on prompts or keeps them, None when nobody says. Empty parameters and modalities mean
    "as the model's". `aggregator`: sold on by somebody who does not run it.
    """

    id: str
    model_id: str
    provider: str
    native_id: str
    price: Price | None
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    reasons: bool = False
    checked: str = ""
    source: str = ""
    supported_parameters: tuple[str, ...] = ()
    input_modalities: tuple[str, ...] = ()
    output_modalities: tuple[str, ...] = ()
    quantization: str | None = None
    region: str | None = None
    trains: bool | None = None
    retains: bool | None = None
    zdr: bool = False
    confidential: bool = False
    aggregator: bool = False
    deprecated_at: str | None = None
    max_prompt_tokens: int | None = None
    cost: Price | None = None
    valid_from_ms: int = 0

    @property
    def servable(self) -> bool:
        return self.price is not None

    @property
    def free(self) -> bool:
        """Declared to cost nothing: every known price is 0. An unknown price is not free."""
        return self.price is not None and not any(self.price.nanos_per_million.values())


def offer_id(provider: str, native_id: str) -> str:
    return f"{provider}/{native_id}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A model with its offers, in the order in which they are to be tried."""

    model: Model
    offers: tuple[Offer, ...]

    def expand(self, model_id: str) -> "Entry":
        """A wildcard entry as the one model that `model_id` names."""
        rest = model_id[len(self.model.id) - len(WILDCARD) :]
        model = replace(self.model, id=model_id, name=self.model.name.replace(WILDCARD, rest))
        offers = []
        for offer in self.offers:
            native_id = offer.native_id.replace(WILDCARD, rest)
            own_id = offer_id(offer.provider, native_id)
            offers.append(replace(offer, id=own_id, model_id=model_id, native_id=native_id))
        return Entry(model, tuple(offers))


@dataclass(frozen=True, slots=True)
class Known:
    """What a name means here: an entry, and those of its offers that this process can serve.

    `variants`: suffixes the caller wrote that are no part of the model's id, as `nitro`.
    `redirected_from`: the retired model the caller named, where an operator leads on from it.
    """

    model: Model
    offers: tuple[Offer, ...]
    servable: tuple[Offer, ...]
    variants: tuple[str, ...] = ()
    redirected_from: str = ""


class Catalog:
    """All models known here. `ready` names the providers that can be called from here."""

    __slots__ = ("_aliases", "_entries", "_expanded", "_known", "_suggested", "_wildcards", "ready")

    def __init__(
        self,
        entries: Iterable[Entry],
        *,
        aliases: Mapping[str, str],
        ready: frozenset[str],
    ) -> None:
        self.ready = ready
        self._aliases = dict(aliases)
        self._entries = tuple(entries)
        self._known = {
            entry.model.id: self._know(entry)
            for entry in self._entries
            if not entry.model.id.endswith(WILDCARD)
        }
        self._wildcards = [e for e in self._entries if e.model.id.endswith(WILDCARD)]
        self._expanded: dict[str, Known] = {}
        # Comparing with all names takes milliseconds: who asks again for the same pays once.
        self._suggested: dict[str, list[str]] = {}

    def find(self, name: str) -> Model | None:
        """The model a caller's text names, None when there is none."""
        known = self._known.get(name)
        if known is None:
            known = self._known.get(self._aliases.get(name.lower(), "")) or self._wildcard(name)
        return None if known is None else known.model

    def offers(self, model_id: str) -> tuple[Offer, ...]:
        """All offers of a canonical id, servable or not, in the order to try them."""
        known = self._known.get(model_id) or self._wildcard(model_id)
        return () if known is None else known.offers

    def servable(self, model_id: str) -> tuple[Offer, ...]:
        """Those that have a price and whose provider can be called from here (D35)."""
        known = self._known.get(model_id) or self._wildcard(model_id)
        return () if known is None else known.servable

    def models(self) -> tuple[Model, ...]:
        """Every listed model, wildcards apart."""
        return tuple(known.model for known in self._known.values())

    def entries(self) -> tuple[Entry, ...]:
        """Every model with its offers, wildcards too."""
        return self._entries

    def suggest(self, name: str) -> list[str]:
        """At most three servable ids that look like `name`, the closest first."""
        known = self._suggested.get(name)
        if known is None:
            if len(self._suggested) >= MAX_EXPANDED:
                self._suggested.clear()
            known = self._suggested[name] = self._look_alike(name)
        return known

    def _look_alike(self, name: str) -> list[str]:
        names: dict[str, str] = {}
        for model_id, known in self._known.items():
            if known.servable:
                # People leave the vendor out, so the part after it counts as a name too.
                names.setdefault(model_id.lower().rpartition("/")[2], model_id)
                names[model_id.lower()] = model_id
        for alias, model_id in self._aliases.items():
            if self.servable(model_id):
                names.setdefault(alias, model_id)
        close = difflib.get_close_matches(
            name[:MAX_ID_CHARS].lower(), names, n=3 * MAX_SUGGESTIONS, cutoff=MIN_LIKENESS
        )
        return list(dict.fromkeys(names[match] for match in close))[:MAX_SUGGESTIONS]

    def extended(self, entries: Iterable[Entry], *, ready: frozenset[str]) -> "Catalog":
        """This catalog with more models; a known id keeps its entry."""
        more = [entry for entry in entries if entry.model.id not in self._known]
        return Catalog((*self._entries, *more), aliases=self._aliases, ready=self.ready | ready)

    def _know(self, entry: Entry) -> Known:
        servable = tuple(o for o in entry.offers if o.servable and o.provider in self.ready)
        return Known(entry.model, entry.offers, servable)

    def _wildcard(self, name: str) -> Known | None:
        known = self._expanded.get(name)
        if known is not None:
            return known
        for entry in self._wildcards:
            prefix = entry.model.id[: -len(WILDCARD)]
            if name.startswith(prefix) and MODEL_ID.fullmatch(name):
                if len(self._expanded) >= MAX_EXPANDED:
                    self._expanded.clear()
                known = self._expanded[name] = self._know(entry.expand(name))
                return known
        return None
