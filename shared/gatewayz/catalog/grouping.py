"""Which model a provider's model is: curated ids first, then rules that never guess across makers.

Guarantees that the same input gives the same id, that a rule only joins names that differ in case,
punctuation or a named weight format, and that a model nobody can place keeps its provider's name.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from gatewayz.catalog.listings.openai import QUANTIZATIONS
from gatewayz.catalog.listings.row import Row
from gatewayz.catalog.model import MODEL_ID
from gatewayz.catalog.names import MARK, VARIANTS
from gatewayz.providers.tables import read_toml

IDS = Path(__file__).with_name("ids.toml")
# Contexts of one model that differ by more are looked at by a person, not merged.
MAX_CONTEXT_RATIO = 2
_FORMAT = re.compile(rf"-({'|'.join(QUANTIZATIONS)}|tee)$", re.IGNORECASE)
_SNAPSHOT = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2})$")
# `maker.name-v1:0`, with a place before it or not: how one cloud writes its ids.
_DOTTED = re.compile(
    r"(?:(us|eu|apac|au|jp|global)\.)?([a-z0-9]+)\.([a-z0-9.-]+?)(?:-v?\d+:\d+|:\d+)?"
)
# A bare name is taken for a known model's only when it says a version, and one model has it.
_TELLING = re.compile(r"(?=.*\d)[a-z0-9]{4,}")


@dataclass(frozen=True, slots=True)
class Placed:
    """`how`: curated, rule or own. `quantization` where the native id says it."""

    model_id: str
    how: str
    quantization: str | None = None
    confidential: bool = False


@dataclass(slots=True)
class Index:
    """Canonical ids known so far, by what is left of them without punctuation."""

    by_key: dict[str, str] = field(default_factory=dict)
    by_name: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, model_ids: Iterable[str]) -> "Index":
        index = cls()
        for model_id in model_ids:
            index.add(model_id)
        return index

    def add(self, model_id: str) -> None:
        """The first spelling of an id stays the canonical one."""
        known = self.by_key.setdefault(key_of(model_id), model_id)
        self.by_name.setdefault(key_of(known).partition("/")[2], set()).add(known)

    def rename(self, aliases: Mapping[str, str]) -> None:
        """Author and name that are an alias stand for the model it names."""
        for alias, model_id in aliases.items():
            if "/" in alias:
                self.by_key[key_of(alias)] = model_id

    def named(self, name: str) -> str | None:
        """The one known model of this bare name."""
        key = _squeezed(name)
        found = self.by_name.get(key, set())
        return next(iter(found)) if len(found) == 1 and _TELLING.fullmatch(key) else None


def key_of(model_id: str) -> str:
    """Lower case, without `-`, `_` and `.` inside author and name."""
    author, _, name = model_id.lower().partition("/")
    return f"{_squeezed(author)}/{_squeezed(name)}"


def _squeezed(text: str) -> str:
    return re.sub(r"[-_.\s]", "", text.lower())


@cache
def facts() -> Mapping[str, Any]:
    """ids.toml."""
    return read_toml(IDS)


def feed_name(feed: str, provider: str) -> str:
    """What `provider` is called in a price feed."""
    name: str = facts()["feeds"][feed].get(provider, provider)
    return name


def minimum_of(provider: str) -> int:
    """The fewest models that a sound listing of this provider has."""
    least: int = facts()["minimum"].get(provider, 1)
    return least


def place(provider: str, row: Row, index: Index, listed: frozenset[str] = frozenset()) -> Placed:
    """The canonical id of `row`; `listed` are all native ids of the same listing."""
    curated = facts()["ids"].get(provider, {})
    known = curated.get(row.native_id) or curated.get(row.canonical)
    whole = row.canonical or row.native_id
    whole = whole.removeprefix(facts()["prefixes"].get(provider, ""))
    base, variant = _without_variant(whole)
    base, quantization, confidential = _without_format(base)
    if known:
        return Placed(known + variant, "curated", quantization, confidential)
    author, name = _split(provider, base, row)
    if author and "/" not in base and author == facts()["makers"].get(provider):
        # A maker's cloud lists other makers' models by bare names too.
        other = index.named(name.partition("@")[0])
        if other is not None and not other.startswith(author + "/"):
            return Placed(other + variant, "rule", quantization, confidential)
    if not author:
        found = index.named(name)
        if found is None and row.hugging_face_id and "/" in row.hugging_face_id:
            # The weights say who made it.
            author, name = _split(provider, _without_format(row.hugging_face_id)[0], row)
        elif found is not None:
            return Placed(found + variant, "rule", quantization, confidential)
    if author:
        model_id = _ruled(author, name, row, index, listed) + variant
        if MODEL_ID.fullmatch(model_id):
            return Placed(model_id, "rule", quantization, confidential)
    return Placed(own_id(provider, row.native_id), "own", quantization, confidential)


def own_id(provider: str, native_id: str) -> str:
    """An id under the provider's own name, for what is not known to be another's model."""
    text = re.sub(r"[^A-Za-z0-9._:/@~+-]", "-", native_id).strip("/").lower()
    text = text.removeprefix(facts()["prefixes"].get(provider, "")).removeprefix(provider + "/")
    return f"{provider}/{text}"[:128]


def differs(context: int | None, other: int | None) -> bool:
    """Two contexts too different for one model to be offered under one name unseen."""
    if not context or not other:
        return False
    return max(context, other) > MAX_CONTEXT_RATIO * min(context, other)


def _ruled(author: str, name: str, row: Row, index: Index, listed: frozenset[str]) -> str:
    known = index.by_key.get(key_of(f"{author}/{name}"))
    if known is not None:
        return known
    undated = _SNAPSHOT.sub("", name)
    # A dated name is the undated one's only snapshot, unless both are listed.
    alone = author in facts()["one_snapshot"]["authors"] or undated_native(row) not in listed
    if undated != name and alone:
        known = index.by_key.get(key_of(f"{author}/{undated}"))
        if known is not None:
            return known
    return f"{author}/{name}".lower()


def undated_native(row: Row) -> str:
    return _SNAPSHOT.sub("", row.native_id)


def _split(provider: str, text: str, row: Row) -> tuple[str, str]:
    """(author, name); the author "" when nobody says."""
    author, slash, name = text.rpartition("/")
    author = author.rpartition("/")[2]
    if not slash:
        found = _DOTTED.fullmatch(text.lower())
        maker = found[2] if found else ""
        if found and maker in _dotted_makers():
            name = found[3]
            author = _author(maker)
            # Its v3.1 is the maker's own name and version.
            return author, f"{author}-{name}" if re.match(r"v\d", name) else name
        return facts()["makers"].get(provider, ""), text
    if _author(author) == provider and provider not in facts()["makers"]:
        return "", name
    return _author(author), name


@cache
def _dotted_makers() -> frozenset[str]:
    known = facts()["makers"].values()
    return frozenset(facts()["authors"]) | frozenset(known)


def _author(text: str) -> str:
    lower = text.lower()
    author: str = facts()["authors"].get(lower, lower)
    return author


def _without_variant(text: str) -> tuple[str, str]:
    """A listed `x:free` stays a model of its own."""
    base, mark, word = text.rpartition(MARK)
    return (base, mark + word.lower()) if mark and word.lower() in VARIANTS else (text, "")


def _without_format(text: str) -> tuple[str, str | None, bool]:
    found = _FORMAT.search(text)
    if not found:
        return text, None, False
    word = found[1].lower()
    base = text[: found.start()]
    return (base, None, True) if word == "tee" else (base, word, False)
