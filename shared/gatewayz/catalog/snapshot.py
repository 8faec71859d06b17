"""The whole published catalog, for those who show all of it; never loaded by the data plane.

Guarantees the newest version that can be read whole: the store's pointer says which, the blobs
hold it, the bundled file stands in when neither has one (F21).
"""

import base64
import binascii
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import orjson

from gatewayz.catalog.bundle import open_bundle
from gatewayz.catalog.model import Entry
from gatewayz.catalog.record import DamagedRecord, decode, encode
from gatewayz.catalog.resolver import POINTER, SCRIPT
from gatewayz.core.errors import DependencyError, GatewayError
from gatewayz.core.log import get_log
from gatewayz.stores.open import Stores

log = get_log(__name__)

FOLDER = "catalog"
WHOLE = "snapshot.z"
# The last version published, where the store that says so is empty.
LATEST = f"{FOLDER}/latest.json"
PAGE_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,79}")
VERSION = 1
MAX_SNAPSHOT_BYTES = 256 * 1024 * 1024

Source = Literal["published", "blob", "bundled"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`entries` by id in order; aliases and redirects by lower-case name. `version` names it."""

    version: str
    built_at_ms: int
    source: Source
    entries: tuple[Entry, ...]
    aliases: Mapping[str, str]
    redirects: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """A finished answer that the publication of `version` prepared."""

    version: str
    body: bytes


def bundled_snapshot() -> Snapshot:
    """What ships with the code; its age is that of its newest fact."""
    bundle = open_bundle()
    day = bundle.about.built
    version = f"bundled-{day}"
    return Snapshot(version, _day_ms(day), "bundled", tuple(bundle.entries()), bundle.aliases(), {})


async def current_version(stores: Stores) -> str:
    """The published version; "" when there is none or the store is away."""
    try:
        reply = await stores.redis.script(SCRIPT, [POINTER], ["state"])
    except DependencyError:
        return ""
    current, _, whole = reply
    return str(current) if int(whole) else ""


async def load_snapshot(stores: Stores) -> Snapshot:
    """The published catalog whole; the bundled one when there is none. Never raises for stores."""
    version = await current_version(stores)
    if version:
        page = await load_page(stores, WHOLE)
        snapshot = _read(page.body, "published") if page is not None else None
        if snapshot is None:
            snapshot = await read_snapshot(stores, version, "published")
        if snapshot is not None:
            return snapshot
    latest = await _latest(stores)
    if latest and latest != version and (snapshot := await read_snapshot(stores, latest, "blob")):
        return snapshot
    return bundled_snapshot()


async def load_page(stores: Stores, name: str) -> Page | None:
    """A finished answer of the current version; None when it was not prepared or cannot be had."""
    try:
        current, text = await stores.redis.script(SCRIPT, [POINTER], ["page", name])
    except DependencyError:
        return None
    if not current:
        return None
    if text:
        try:
            return Page(current, base64.b64decode(text, validate=True))
        except binascii.Error:
            log.error("catalog_damaged", page=name, version=current)
    try:
        return Page(current, await stores.blobs.get(f"{FOLDER}/{current}/{name}"))
    except GatewayError:
        return None


async def read_snapshot(stores: Stores, version: str, source: Source) -> Snapshot | None:
    """One version from the blobs; None when it is not there or damaged."""
    try:
        return _read(await stores.blobs.get(f"{FOLDER}/{version}/{WHOLE}"), source)
    except GatewayError as error:
        log.warning("catalog_unreadable", version=version, detail=error.metric)
        return None


def _read(packed: bytes, source: Source) -> Snapshot | None:
    try:
        return unpack(packed, source)
    except ValueError as problem:
        log.error("catalog_damaged", source=source, detail=str(problem)[:200])
        return None


def pack_snapshot(snapshot: Snapshot) -> bytes:
    """Compressed: a line about it, a line for each model."""
    about = {
        "v": VERSION,
        "version": snapshot.version,
        "built_at_ms": snapshot.built_at_ms,
        "models": len(snapshot.entries),
        "aliases": dict(snapshot.aliases),
        "redirects": dict(snapshot.redirects),
    }
    lines: Iterable[bytes] = (orjson.dumps(about), *map(encode, snapshot.entries))
    return zlib.compress(b"\n".join(lines), 6)


def unpack(packed: bytes, source: Source) -> Snapshot:
    """ValueError when it is not whole."""
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(packed, MAX_SNAPSHOT_BYTES)
    except zlib.error as error:
        raise ValueError(f"not compressed: {error}") from error
    if not stream.eof:
        raise ValueError("cut off, or too large")
    first, *lines = text.split(b"\n")
    about = orjson.loads(first)
    if not isinstance(about, dict) or about.get("v") != VERSION or about["models"] != len(lines):
        raise ValueError("of another version, or not whole")
    try:
        entries = tuple(map(decode, lines))
    except DamagedRecord as error:
        raise ValueError(str(error)) from error
    return Snapshot(
        about["version"], about["built_at_ms"], source, entries, about["aliases"],
        about["redirects"],
    )  # fmt: skip


async def _latest(stores: Stores) -> str:
    try:
        known = orjson.loads(await stores.blobs.get(LATEST))
    except (GatewayError, ValueError):
        return ""
    version = known.get("version") if isinstance(known, dict) else None
    return version if isinstance(version, str) else ""


def _day_ms(day: str) -> int:
    from datetime import UTC, datetime

    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)
