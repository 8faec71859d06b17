"""Blobs: bytes by key, for what is too large for a row. The port, its keys, and the directory.

A key is a relative path of plain names; one that is not is refused before any store is asked, so
that a caller's text can never leave its place. Backends import their SDK at the first use.
"""

import asyncio
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from gatewayz.core.errors import InvalidRequest, NotFound, StoreUnavailable

T = TypeVar("T")

MAX_KEY_CHARS = 512
MAX_LISTED = 1000
CONTENT_TYPE = "application/octet-stream"
# No leading dot: "..", hidden files and our own unfinished ones are none of them keys.
_PART = r"[A-Za-z0-9_=-][A-Za-z0-9_.=-]*"
_KEY = re.compile(rf"{_PART}(?:/{_PART})*")
_PREFIX = re.compile(rf"(?:{_PART}/)*(?:{_PART})?")


class Blobs(Protocol):
    async def put(self, key: str, data: bytes, *, content_type: str = CONTENT_TYPE) -> None:
        """Store or replace; readers see the old bytes or the new ones, never a mixture."""
        ...

    async def get(self, key: str) -> bytes:
        """NotFound when there is none."""
        ...

    async def delete(self, key: str) -> None:
        """No error when there is none."""
        ...

    async def list_keys(self, prefix: str, *, limit: int = MAX_LISTED) -> list[str]:
        """Keys that begin with `prefix`, sorted; the first `limit` of them."""
        ...

    async def link(self, key: str, *, ttl_s: int) -> str | None:
        """An address that gives the blob to whoever has it, for so long; None where the store
        gives none."""
        ...

    async def close(self) -> None: ...


def checked_key(key: str) -> str:
    if len(key) > MAX_KEY_CHARS or not _KEY.fullmatch(key):
        raise InvalidRequest("This is not a key of a blob.", code="invalid_blob_key")
    return key


def checked_prefix(prefix: str) -> str:
    if len(prefix) > MAX_KEY_CHARS or not _PREFIX.fullmatch(prefix):
        raise InvalidRequest("This is not a prefix of keys.", code="invalid_blob_key")
    return prefix


def no_such_blob() -> NotFound:
    return NotFound("There is no such blob.", code="blob_not_found")


async def _in_thread(work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except FileNotFoundError:
        raise no_such_blob() from None
    except OSError as error:
        raise StoreUnavailable("The folder of blobs cannot be used.") from error


class DirectoryBlobs:
    """A folder of this machine. The sign + ends a subfolder's name and is in no key, so a blob
    and a folder may have the same name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, key: str, data: bytes, *, content_type: str = CONTENT_TYPE) -> None:
        path = self._path(key)
        await _in_thread(lambda: _replace(path, data))

    async def get(self, key: str) -> bytes:
        return await _in_thread(self._path(key).read_bytes)

    async def delete(self, key: str) -> None:
        path = self._path(key)
        await _in_thread(lambda: path.unlink(missing_ok=True))

    async def list_keys(self, prefix: str, *, limit: int = MAX_LISTED) -> list[str]:
        checked_prefix(prefix)
        return await _in_thread(lambda: self._list(prefix, limit))

    async def link(self, key: str, *, ttl_s: int) -> str | None:
        """A folder is nobody's to ask."""
        checked_key(key)
        return None

    async def close(self) -> None:
        """Nothing to close."""

    def _path(self, key: str) -> Path:
        *folders, name = checked_key(key).split("/")
        return self._folder.joinpath(*(folder + "+" for folder in folders), name)

    def _list(self, prefix: str, limit: int) -> list[str]:
        keys: list[str] = []
        for folder, _, names in os.walk(self._folder):
            place = Path(folder).relative_to(self._folder).as_posix().replace("+", "")
            start = "" if place == "." else place + "/"
            keys += [start + name for name in names if not name.startswith(".")]
        return sorted(key for key in keys if key.startswith(prefix))[:limit]


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
