"""The catalog as an account of another plan sees it: another reader's content at its prices.

Guarantees tags of its own, so that no answer of one plan is ever taken for another's.
"""

from collections.abc import Mapping

from gatewayz.catalog.model import Known
from gatewayz.catalog.priced import catalog_at, known_at
from gatewayz.catalog.shelf import Shelf
from gatewayz.catalog.views.pages import MOST
from gatewayz.catalog.views.reader import Reader
from gatewayz.catalog.views.rows import Form
from gatewayz.net.encoding import Encoding, pack
from gatewayz.providers.config import Provider


class PricedReader(Reader):
    """`published` reads the stores and keeps the answers."""

    def __init__(self, published: Reader, markup_ppm: int) -> None:
        self._published = published
        self._markup_ppm = markup_ppm
        self._shelves: tuple[Shelf, Shelf] | None = None
        self.stores = published.stores
        self.popularity = published.popularity
        self.kept = published.kept

    async def known(self, name: str) -> Known:
        return known_at(await self._published.known(name), self._markup_ppm)

    async def hosts(self) -> Mapping[str, Provider]:
        return await self._published.hosts()

    async def tag(self) -> str:
        return f"{await self._published.tag()}-x{self._markup_ppm}"

    async def shelf(self) -> Shelf:
        published = await self._published.shelf()
        if self._shelves is None or self._shelves[0] is not published:
            catalog = catalog_at(published.catalog, self._markup_ppm)
            priced = Shelf(
                published.providers,
                catalog,
                version=f"{published.tag}-x{self._markup_ppm}",
                built_at_ms=published.built_at_ms,
            )
            self._shelves = published, priced
        return self._shelves[1]

    async def whole_list(self, form: Form, encoding: Encoding, *, everything: bool) -> bytes:
        tag = f"{await self.tag()}.{form}.{everything}"
        body = self.kept.find(tag, encoding)
        if body is not None:
            return body
        shelf = await self.shelf()
        plain = shelf.whole_list(form, everything=everything)
        if encoding == "identity" and len(plain) > self._published.most_bytes:
            plain = shelf.whole_list(form, everything=everything, limit=MOST)
        return self.kept.keep(tag, encoding, pack(plain, encoding))
