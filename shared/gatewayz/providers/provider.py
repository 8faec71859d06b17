"""What a provider is: one checked row of providers.toml as frozen data, and the target it makes
of an offer. No I/O, no credential values.
"""

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from re import Pattern
from typing import Any, Literal

from gatewayz.dialects.form import StreamUsage, Target
from gatewayz.dialects.one_shot import Endpoint
from gatewayz.dialects.registry import UPSTREAMS

# The unit of a listing's prices: declared, never guessed (data/listings). "none": it has no prices.
PriceUnit = Literal[
    "none",
    "usd_per_token",
    "usd_per_million",
    "cents_per_token",
    "usd_1e4_per_million",  # 1/10000 USD per million
    "stated",  # each price says its own unit or scale
]
# What a row may say that it serves, in the words of the public API.
ENDPOINTS = (
    "chat", "completions", "responses", "messages", "generate", "embeddings", "rerank",
    "moderations", "images", "speech", "transcription", "transcriptions", "models",
)  # fmt: skip
# What a row says of stated costs holds in every dialect.
COST_KEYS = frozenset({"cost_usd", "cost_usd_ticks"})
# Kept for offers that were called; a catalog has fewer of one provider.
MAX_TARGETS = 4096
# Kinds of parts that may come by address.
MEDIA_KINDS = ("image", "file", "audio", "video")


@lru_cache(1024)
def _regex(patterns: tuple[str, ...]) -> Pattern[str]:
    # Made when first asked for: most rows are never called.
    return re.compile("|".join(map(fnmatch.translate, patterns)))


def matches(patterns: tuple[str, ...], native_id: str) -> bool:
    """Whether a model's own name is like one of `patterns`, with * and ?."""
    return _regex(patterns).fullmatch(native_id) is not None


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds (D23). `total_s` None means: until the request's own deadline."""

    first_token_s: float = 30.0
    reasoning_first_token_s: float = 120.0
    idle_s: float = 60.0
    total_s: float | None = None

    def first_token(self, *, reasons: bool) -> float:
        """An offer that reasons first is given longer until its first content."""
        return max(self.first_token_s, self.reasoning_first_token_s if reasons else 0.0)


# How long a provider keeps the beginning of a prompt when it does not say: the shortest of those
# that do.
CACHE_LIFE_S = 300


@dataclass(frozen=True, slots=True)
class SignIn:
    """One way to sign in at a provider: `auth` says how the secret named `credential` is used."""

    slug: str
    auth: str
    credential: str


@dataclass(frozen=True, slots=True)
class Param:
    """A piece of an address that is the operator's own: read from the first variable of `names`
    that is set, else `default`; without either the provider cannot be called."""

    names: tuple[str, ...]
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Another address of the same provider. Used for native ids like `models`, when an address
    parameter has a value of `when`, or after a refusal with a status of `after`."""

    name: str
    base_url: str
    models: tuple[str, ...] = ()
    when: Mapping[str, str] = field(default_factory=dict)
    after: frozenset[int] = frozenset()

    def has(self, native_id: str) -> bool:
        return bool(self.models) and matches(self.models, native_id)


@dataclass(frozen=True, slots=True)
class Variant:
    """How some models of a provider differ from the rest of its row. `dialect`: the one in which
    they must be called, "" when any will do."""

    models: tuple[str, ...]
    quirks: frozenset[str] = frozenset()
    drop: frozenset[str] = frozenset()
    rename: Mapping[str, str] = field(default_factory=dict)
    dialect: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """How the provider's own list of models is read. `path` is below the base URL, or a URL."""

    kind: str
    price_unit: PriceUnit = "none"
    path: str = "/models"
    public: bool = False  # asked without a credential


@dataclass(frozen=True, slots=True)
class DataPolicy:
    """What happens to prompts there; None when nobody says."""

    trains: bool | None = None
    retains: bool | None = None
    zdr: bool = False
    confidential: bool = False


@dataclass(frozen=True, slots=True)
class Provider:
    """A company, or a server of one's own, with an API. `credential` is a secret's name or ""."""

    slug: str
    name: str
    dialect: str
    base_url: str
    credential: str = ""
    auth: str = "bearer"
    alternatives: Mapping[str, str] = field(default_factory=dict)
    lent_in: str = ""  # a variable of platforms that give every function an identity
    params: Mapping[str, Param] = field(default_factory=dict)
    places: tuple[Place, ...] = ()
    paths: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    also: Mapping[str, str] = field(default_factory=dict)
    variants: tuple[Variant, ...] = ()
    bytes_only: frozenset[str] = frozenset()
    timeouts: TimeLimits = TimeLimits()
    drop: frozenset[str] = frozenset()
    rename: Mapping[str, str] = field(default_factory=dict)
    clamp: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    stream_usage: StreamUsage = "stream_options"
    cancel_stops_billing: bool = False
    usage: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    quota_rest_s: float = 0.0
    cache_life_s: int = CACHE_LIFE_S
    family: str = ""
    quirks: frozenset[str] = frozenset()
    ports: tuple[int, ...] = ()
    endpoints: frozenset[str] = frozenset({"chat"})
    kinds: Mapping[str, Endpoint] = field(default_factory=dict)
    listing: Listing | None = None
    aggregator: bool = False
    data: DataPolicy = DataPolicy()
    region: str = ""
    enabled: bool = True
    local: bool = False
    sandbox: bool = False
    # Targets made before: every request of an offer has the same one.
    _targets: dict[tuple[object, ...], Target] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def sign_ins(self) -> tuple[SignIn, ...]:
        """Every way to sign in, the first that has a secret is taken; none without a credential."""
        if not self.credential:
            return ()
        first = SignIn(self.slug, self.auth, self.credential)
        others = (SignIn(self.slug, auth, name) for name, auth in self.alternatives.items())
        return (first, *others)

    def speaks(self, client: str, native_id: str = "") -> str:
        """The dialect to call it in for a client of dialect `client`: the client's own where the
        provider has it, since then bytes pass through."""
        for variant in self._variants(native_id):
            if variant.dialect:
                return variant.dialect
        return client if client in self.also else self.dialect

    def _variants(self, native_id: str) -> tuple[Variant, ...]:
        if not self.variants:
            return ()
        return tuple(v for v in self.variants if matches(v.models, native_id))

    def target(
        self,
        native_id: str,
        *,
        max_output_tokens: int | None = None,
        reasons: bool | None = None,
        dialect: str = "",
    ) -> Target:
        """The offer `native_id` of this provider as `dialect` (its main one) sees it. What the row
        says of the main dialect's fields and counts does not hold for another one's."""
        key = (native_id, max_output_tokens, reasons, dialect)
        known = self._targets.get(key)
        if known is None:
            if len(self._targets) >= MAX_TARGETS:
                self._targets.clear()  # callers choose the names of wildcards
            known = self._targets[key] = self._make_target(*key)
        return known

    def _make_target(
        self, native_id: str, max_output_tokens: int | None, reasons: bool | None, dialect: str
    ) -> Target:
        quirks, drop, rename = self.quirks, self.drop, self.rename
        for variant in self._variants(native_id):
            quirks, drop = quirks | variant.quirks, drop | variant.drop
            rename = {**rename, **variant.rename}
        if dialect and dialect != self.dialect:
            return Target(
                native_id=native_id,
                provider=self.slug,
                family=self.family,
                quirks=quirks & UPSTREAMS[dialect].quirks,
                max_output_tokens=max_output_tokens,
                reasons=reasons,
                errors=self.errors,
                usage={name: path for name, path in self.usage.items() if name in COST_KEYS},
                dialect=dialect,
            )
        return Target(
            native_id=native_id,
            provider=self.slug,
            family=self.family,
            quirks=quirks,
            max_output_tokens=max_output_tokens,
            reasons=reasons,
            drop=drop,
            rename=rename,
            clamp=self.clamp,
            defaults=self.defaults,
            stream_usage=self.stream_usage,
            usage=self.usage,
            errors=self.errors,
        )
