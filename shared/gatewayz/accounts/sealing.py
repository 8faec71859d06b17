"""Seals secrets that must be read again: each under a key of its own, that key under a ring.

AES-256-GCM twice. The ring's keys have numbers; the first seals, all open, so that a new one is
put in front and what is sealed is wrapped anew without ever being read. Bound to what it belongs
to: moved elsewhere it opens for nobody. Loads cryptography at the first use.
"""

import base64
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from gatewayz.core.errors import SealingNotConfigured

# A secret of this name holds the ring: `2:BASE64 1:BASE64`, 32 bytes each, the newest first.
RING = "GATEWAYZ_KEY_RING"
FORM = "s1"
KEY_BYTES, NONCE_BYTES = 32, 12
_PART = re.compile(r"([1-9][0-9]{0,5}):([A-Za-z0-9+/_=-]{43,44})")


class NotSealed(Exception):
    """It cannot be opened here: another ring, another place, or damage. Says nothing of it."""


@dataclass(frozen=True, slots=True)
class Ring:
    """Keys by number; `current` seals."""

    current: int
    keys: dict[int, bytes] = field(repr=False)

    def seal(self, secret: str, place: str) -> str:
        """`secret` as text that only this ring opens, and only for `place`."""
        own = os.urandom(KEY_BYTES)
        wrapped = _lock(self.keys[self.current], own, _bound(place, self.current))
        return self._written(wrapped, _lock(own, secret.encode(), place.encode()))

    def open(self, sealed: str, place: str) -> str:
        """What was sealed for `place`; NotSealed."""
        number, wrapped, locked = _read(sealed)
        own = self._unwrap(number, wrapped, place)
        return _unlock(own, locked, place.encode()).decode()

    def rewrap(self, sealed: str, place: str) -> str:
        """The same under the current key; the secret itself is not opened."""
        number, wrapped, locked = _read(sealed)
        own = self._unwrap(number, wrapped, place)
        anew = _lock(self.keys[self.current], own, _bound(place, self.current))
        return self._written(anew, locked)

    def _unwrap(self, number: int, wrapped: bytes, place: str) -> bytes:
        key = self.keys.get(number)
        if key is None:
            raise NotSealed
        return _unlock(key, wrapped, _bound(place, number))

    def _written(self, wrapped: bytes, locked: bytes) -> str:
        return f"{FORM}.{self.current}.{_text(wrapped)}.{_text(locked)}"


def read_ring(text: str) -> Ring:
    """The ring of its secret's text; ValueError, which repeats nothing of it."""
    keys: dict[int, bytes] = {}
    for part in text.replace(",", " ").split():
        found = _PART.fullmatch(part)
        key = _bytes(found[2]) if found else b""
        if found is None or len(key) != KEY_BYTES or int(found[1]) in keys:
            raise ValueError(f"{RING} is not a list of NUMBER:BASE64 with 32 bytes each")
        keys[int(found[1])] = key
    if not keys:
        raise ValueError(f"{RING} is empty")
    return Ring(next(iter(keys)), keys)


def new_ring(before: str = "") -> str:
    """The text of a ring with a new key in front of those of `before`."""
    number = max(read_ring(before).keys, default=0) + 1 if before.strip() else 1
    return f"{number}:{base64.b64encode(os.urandom(KEY_BYTES)).decode()} {before}".strip()


_ring_of = lru_cache(maxsize=4)(read_ring)


def find_ring(find_secret: Callable[[str], str | None]) -> Ring:
    """The ring of this deployment; SealingNotConfigured without one, or when it is damaged."""
    text = find_secret(RING)
    if not text:
        raise SealingNotConfigured
    try:
        return _ring_of(text)
    except ValueError:
        raise SealingNotConfigured from None


def _bound(place: str, number: int) -> bytes:
    return f"{FORM}|{number}|{place}".encode()


def _lock(key: bytes, plain: bytes, bound: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound)


def _unlock(key: bytes, locked: bytes, bound: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(locked[:NONCE_BYTES], locked[NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):
        raise NotSealed from None


def _read(sealed: str) -> tuple[int, bytes, bytes]:
    parts = sealed.split(".")
    if len(parts) != 4 or parts[0] != FORM or not parts[1].isdecimal():
        raise NotSealed
    wrapped, locked = _bytes(parts[2]), _bytes(parts[3])
    if len(wrapped) <= NONCE_BYTES or len(locked) <= NONCE_BYTES:
        raise NotSealed
    return int(parts[1]), wrapped, locked


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    try:
        plain = text.replace("-", "+").replace("_", "/")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:
        return b""
