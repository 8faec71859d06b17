"""The catalog as this gateway shows it: rows, worked out when the first list asks for them.

Guarantees that a list holds what can be served from here and, only when asked, the rest, marked
`available: false` (D35). A changed catalog gets a new Shelf.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from gatewayz.catalog.items import iso
from gatewayz.catalog.model import Catalog
from gatewayz.catalog.views.filters import NO_USAGE, Filters, Usage, choose, order
from gatewayz.catalog.views.pages import (
    SHAPE,
    About,
    Slice,
    default_rows,
    digest_of,
    path_of,
    render_list,
)
from gatewayz.catalog.views.rows import Form, Row, rows_of
from gatewayz.providers.config import Provider

NO_FILTERS = Filters()


class Shelf:
    """One catalog's public face. `version` names the catalog's content where a publication made
    it; without one the content itself is digested."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        catalog: Catalog,
        *,
        version: str = "",
        built_at_ms: int = 0,
    ) -> None:
        self.providers = providers
        self.catalog = catalog
        self.built_at_ms = built_at_ms
        self.timestamp = iso(built_at_ms)
        self._version = version
        self._tag = ""
        self._rows: tuple[Row, ...] | None = None
        self._listed: Mapping[str, Row] | None = None

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every listed model, available or not, in the catalog's order."""
        if self._rows is None:
            self._rows = tuple(rows_of(self.catalog, self.providers))
        return self._rows

    @property
    def listed(self) -> Mapping[str, Row]:
        """Every row by its model's id."""
        if self._listed is None:
            self._listed = {row.model.id: row for row in self.rows}
        return self._listed

    @property
    def tag(self) -> str:
        """Changes whenever something that is shown does."""
        if not self._tag:
            version = self._version or self._digest()
            self._tag = tag_of(version, sorted(self.catalog.ready))
        return self._tag

    def chosen(
        self,
        filters: Filters = NO_FILTERS,
        *,
        sort: str | None = None,
        everything: bool = False,
        now_s: int = 0,
        usage: Usage = NO_USAGE,
    ) -> list[Row]:
        """The rows of a filtered list, in its order. Hosts asked for show their own price."""
        rows: Sequence[Row] = self.rows
        if not everything:
            rows = [row for row in rows if row.available]
        found = choose(rows, filters, now_s=now_s, usage=usage)
        if filters.gateways:
            found = [
                row.at(next(g for g in filters.gateways if g in row.gateways)) for row in found
            ]
        return order(found, sort, usage)

    def whole_list(self, form: Form, *, everything: bool, limit: int | None = None) -> bytes:
        """The list without filters, as a publication would have prepared it; or its first page."""
        rows = default_rows(self.rows, form, everything=everything)
        query = (("available", "all"),) if everything and limit is not None else ()
        about = About(path_of(form), self.built_at_ms, query)
        return render_list(rows, form, Slice(0, limit), about, marked=everything)

    def gateways_named(self, name: str) -> tuple[str, ...]:
        """Slugs of hosts that a caller's word means: one's own slug, else those that begin with
        it, as a maker's name does for each of its clouds. Empty when it means none."""
        word = name.lower()
        if word in self.providers:
            return (word,)
        return tuple(slug for slug in self.providers if slug.startswith(word + "-"))

    def _digest(self) -> str:
        digest = hashlib.blake2s(digest_size=12)
        for model in self.catalog.models():
            digest.update(repr(model).encode())
            for offer in self.catalog.offers(model.id):
                digest.update(repr(offer).encode())
        return digest.hexdigest()


def tag_of(version: str, asked: Any) -> str:
    """An entity tag: what the catalog is, how it is shown, and what was asked of it."""
    return f"{version}.{digest_of([str(SHAPE), repr(asked)])}"
