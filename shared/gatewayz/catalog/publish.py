"""Makes what is known the catalog that everybody reads, by one write of a pointer.

Guarantees that readers see the old version whole or the new one whole, whenever this dies; that an
empty catalog is never published (F21); and that more than a tenth of changed prices at once needs
somebody who says so (F68).
"""

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import orjson

from gatewayz.catalog.model import Entry
from gatewayz.catalog.record import encode
from gatewayz.catalog.resolver import POINTER, SCRIPT
from gatewayz.catalog.snapshot import (
    FOLDER,
    LATEST,
    PAGE_NAME,
    WHOLE,
    Snapshot,
    current_version,
    pack_snapshot,
)
from gatewayz.catalog.store import CatalogStore
from gatewayz.core import clock
from gatewayz.core.errors import GatewayError, StoreUnavailable
from gatewayz.core.log import get_log
from gatewayz.stores.open import Stores

log = get_log(__name__)

# More than this share of published offers changed or gone at once: refused without `force`.
MAX_CHANGED_PERCENT = 10
# With fewer offers a share says nothing.
FEW_OFFERS = 20
# A version that was never switched to goes by itself; the one before stays for readers under way.
STAGED_S = 86_400
OLD_S = 7_200
FIELDS_PER_CALL = 100
PAGE_BYTES_PER_CALL = 4 * 1024 * 1024
# Versions kept in the blobs, for going back and for a reader that is late.
KEPT_VERSIONS = 5

Render = Callable[[Snapshot], Mapping[str, bytes]]


class PublishRefused(Exception):
    """Nothing was published; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Published:
    """`version` is current now. `changed` of `compared` offers differ from the one before."""

    version: str
    models: int
    offers: int
    priced: int
    changed: int
    compared: int
    fresh: bool


async def publish(
    stores: Stores, *, run_id: str = "", force: bool = False, render: Render | None = None
) -> Published:
    """Publish what Postgres has. PublishRefused; DependencyError when a store is away."""
    store = CatalogStore(stores.postgres)
    now_ms = clock.now_ms()
    entries = tuple([entry async for entry in store.visible()])
    aliases, redirects = await store.aliases()
    ids = {entry.model.id for entry in entries}
    aliases = {name: target for name, target in aliases.items() if target in ids}
    redirects = {name: target for name, target in redirects.items() if target in ids}
    digest = _digest(entries_text(entries, aliases, redirects))
    snapshot = Snapshot(f"{now_ms:013d}-{digest}", now_ms, "published", entries, aliases, redirects)
    offers = [offer for entry in entries for offer in entry.offers]
    priced = sum(offer.price is not None for offer in offers)
    if not priced:
        raise PublishRefused("there is nothing with a price to publish")
    shown = [[offer.id, offer.price.version if offer.price else None] for offer in offers]
    before = await store.call("catalog_compare", {"offers": shown})
    changed, compared = before["changed"], before["compared"]
    done = Published(
        snapshot.version, len(entries), len(offers), priced, changed, compared, fresh=True
    )
    current = await current_version(stores)
    if current.endswith("-" + digest):
        return Published(current, len(entries), len(offers), priced, 0, compared, fresh=False)
    if compared > FEW_OFFERS and changed * 100 > compared * MAX_CHANGED_PERCENT and not force:
        raise PublishRefused(
            f"{changed} of {compared} published offers changed or are gone: "
            "more than one in ten at once needs to be forced"
        )
    await write(stores, snapshot, {} if render is None else render(snapshot))
    await store.call(
        "catalog_shown",
        {
            "version": done.version, "run_id": run_id or None, "models": done.models,
            "offers": shown, "priced": priced, "changed": changed, "compared": compared,
            "forced": force,
        },
    )  # fmt: skip
    log.info("catalog_published", version=done.version, models=done.models, offers=done.offers)
    await _forget_old(stores, store)
    return done


async def write(stores: Stores, snapshot: Snapshot, pages: Mapping[str, bytes]) -> None:
    """Everything under the version's own name, then the pointer. Killed anywhere before, it was
    never there."""
    version = snapshot.version
    folder = f"{FOLDER}/{version}"
    pages = {**pages, WHOLE: pack_snapshot(snapshot)}
    for name, body in pages.items():
        if not PAGE_NAME.fullmatch(name):
            raise ValueError(f"no name of a page: {name!r}")
        await _keep(stores, f"{folder}/{name}", body)
    fields = list(_fields(snapshot))
    for start in range(0, len(fields), FIELDS_PER_CALL):
        flat = [text for pair in fields[start : start + FIELDS_PER_CALL] for text in pair]
        await stores.redis.script(SCRIPT, [POINTER], ["put", version, STAGED_S, *flat])
    for name, body in pages.items():
        if len(body) <= PAGE_BYTES_PER_CALL:
            text = base64.b64encode(body).decode()
            await stores.redis.script(
                SCRIPT, [POINTER], ["put_page", version, STAGED_S, name, text]
            )
    reply = await stores.redis.script(SCRIPT, [POINTER], ["switch", version, len(fields), OLD_S])
    if reply[0] == "incomplete":
        raise StoreUnavailable("Redis lost a part of the new catalog.")
    await _keep(stores, LATEST, orjson.dumps({"version": version}))


async def _keep(stores: Stores, key: str, data: bytes) -> None:
    """A deployment may be without a place for blobs: Redis has all of it too."""
    try:
        await stores.blobs.put(key, data)
    except GatewayError as error:
        log.warning("catalog_not_in_blobs", key=key, error=error.metric)


async def _forget_old(stores: Stores, store: CatalogStore) -> None:
    """Blobs of versions that nobody goes back to."""
    known = await store.call("catalog_publications", {"limit": KEPT_VERSIONS})
    kept = {row["version"] for row in known}
    try:
        for key in await stores.blobs.list_keys(f"{FOLDER}/"):
            version = key.split("/")[1]
            if key != LATEST and version not in kept:
                await stores.blobs.delete(key)
    except GatewayError as error:
        log.warning("old_catalogs_stay", error=error.metric)


def entries_text(
    entries: tuple[Entry, ...], aliases: Mapping[str, str], redirects: Mapping[str, str]
) -> Iterator[bytes]:
    yield from map(encode, entries)
    option = orjson.OPT_SORT_KEYS
    yield orjson.dumps([dict(aliases), dict(redirects)], option=option)


def _digest(texts: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text)
        digest.update(b"\n")
    return digest.hexdigest()[:12]


def _fields(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """What Redis holds of a version, one entry for each model and name."""
    for entry in snapshot.entries:
        yield f"m:{entry.model.id}", encode(entry).decode()
    for name, target in snapshot.aliases.items():
        yield f"a:{name}", target
    for name, target in snapshot.redirects.items():
        yield f"r:{name}", target
