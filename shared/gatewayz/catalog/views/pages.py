"""Whole and partial lists as bytes: envelopes, pages of a list, and the finished answers that a
publication prepares for everybody.

Guarantees that a finished page is exactly what rendering the same snapshot would give.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import orjson

from gatewayz.catalog.items import iso
from gatewayz.catalog.model import Catalog
from gatewayz.catalog.views.rows import Form, Row, rows_of
from gatewayz.net.encoding import Encoding, pack
from gatewayz.providers.config import Provider

if TYPE_CHECKING:
    from gatewayz.catalog.snapshot import Snapshot

PREPARED: tuple[Encoding, ...] = ("br", "gzip")
FORMS: tuple[Form, ...] = ("openai", "openrouter")
# Raised when an item or an envelope changes its shape: older pages are then not found.
SHAPE = 1
PAGE = 500  # OpenRouter's, when only an offset is given
MOST = 1000
ALL = "all"
NOTE = "Prices are USD per token. Each model is listed once, with every host in source_gateways."


@dataclass(frozen=True, slots=True)
class Slice:
    """Which part of a list is wanted; without both numbers all of it."""

    offset: int = 0
    limit: int | None = None

    @classmethod
    def of(cls, offset: int | None, limit: int | None) -> "Slice":
        if offset is not None and limit is None:
            return cls(offset, PAGE)
        return cls(offset or 0, limit)

    def cut(self, rows: Sequence[Row]) -> Sequence[Row]:
        end = None if self.limit is None else self.offset + self.limit
        return rows[self.offset : end] if self.offset or end is not None else rows

    def next_offset(self, total: int) -> int | None:
        if self.limit is None or self.offset + self.limit >= total:
            return None
        return self.offset + self.limit


@dataclass(frozen=True, slots=True)
class About:
    """What a list says of itself. `query`: the caller's own, to be repeated in the next link."""

    path: str
    built_at_ms: int
    query: tuple[tuple[str, str], ...] = ()
    gateway: str = ALL


def render_list(
    rows: Sequence[Row], form: Form, part: Slice, about: About, *, marked: bool
) -> bytes:
    """The answer of a list route: the rows of `part` in the envelope of its mount."""
    shown = part.cut(rows)
    data = b"[" + b",".join([row.item(form, marked=marked) for row in shown]) + b"]"
    return envelope(data, len(rows), len(shown), form, part, about)


def envelope(
    data: bytes, total: int, returned: int, form: Form, part: Slice, about: About
) -> bytes:
    next_offset = part.next_offset(total)
    links = {"next": _link(about, part, next_offset)}
    if form == "openrouter":
        tail = {"total_count": total, "links": links}
        return b'{"data":' + data + b"," + orjson.dumps(tail)[1:]
    tail = {
        "total": total,
        "total_count": total,
        "returned": returned,
        "offset": part.offset,
        "limit": part.limit,
        "has_more": next_offset is not None,
        "next_offset": next_offset,
        "links": links,
        "gateway": about.gateway,
        "note": NOTE,
        "timestamp": iso(about.built_at_ms),
    }
    return b'{"object":"list","data":' + data + b"," + orjson.dumps(tail)[1:]


def _link(about: About, part: Slice, next_offset: int | None) -> str | None:
    if next_offset is None:
        return None
    kept = [pair for pair in about.query if pair[0] not in ("offset", "limit")]
    wanted = [*kept, ("offset", str(next_offset)), ("limit", str(part.limit))]
    return f"{about.path}?{urlencode(wanted)}"


def path_of(form: Form) -> str:
    return "/v1/models" if form == "openai" else "/api/v1/models"


# ---------------------------------------------------------------- finished pages


def page_name(form: Form, encoding: Encoding, ready: Iterable[str], *, everything: bool) -> str:
    """Under which a publication keeps a finished page for processes with these credentials."""
    scope = ALL if everything else "ready"
    end = {"br": "br", "gzip": "gz"}[encoding]
    return f"models-{form}-{scope}-{digest_of(ready)}-v{SHAPE}.json.{end}"


def digest_of(words: Iterable[str]) -> str:
    return hashlib.blake2s(" ".join(sorted(words)).encode(), digest_size=8).hexdigest()


def default_rows(rows: Iterable[Row], form: Form, *, everything: bool) -> list[Row]:
    """What a list shows unasked; OpenRouter's clients expect models that write text."""
    shown = [row for row in rows if row.available or everything]
    return shown if form == "openai" else [row for row in shown if "text" in row.outputs]


def render_pages(
    snapshot: "Snapshot", providers: Mapping[str, Provider], ready: frozenset[str]
) -> Mapping[str, bytes]:
    """Name → finished, compressed body of every list without filters."""
    catalog = Catalog(snapshot.entries, aliases=snapshot.aliases, ready=ready)
    rows = list(rows_of(catalog, providers))
    pages = {}
    for form in FORMS:
        about = About(path_of(form), snapshot.built_at_ms)
        for everything in (False, True):
            shown = default_rows(rows, form, everything=everything)
            body = render_list(shown, form, Slice(), about, marked=everything)
            for encoding in PREPARED:
                name = page_name(form, encoding, ready, everything=everything)
                pages[name] = pack(body, encoding, kept=True)
    return pages
