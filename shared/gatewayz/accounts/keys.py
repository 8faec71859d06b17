"""API keys: their form, checksum and hash. A key is shown once and stored only as HMAC-SHA-256
under a pepper that the database does not have.
"""

import hashlib
import hmac
import os
import re
import zlib
from dataclasses import dataclass

STAGE_PREFIXES = {"production": "live", "staging": "staging", "test": "test", "local": "dev"}
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SECRET_BYTES = 32
SECRET_CHARS = 43
CHECKSUM_CHARS = 6
SHOWN_CHARS = 6
_FORM = re.compile(
    rb"gw_(?:live|test|staging|dev)_[0-9A-Za-z]{%d}" % (SECRET_CHARS + CHECKSUM_CHARS)
)

# Keys of older systems have forms of their own.
_LEGACY = re.compile(rb"[!-~]{16,128}")


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def _checksum(text: bytes) -> bytes:
    return _base62(zlib.crc32(text), CHECKSUM_CHARS).encode()


@dataclass(frozen=True, slots=True)
class NewKey:
    """A fresh key: the only moment its text exists on our side."""

    text: str
    prefix: str

    def __repr__(self) -> str:
        return f"NewKey({self.prefix}…)"


def generate_key(stage: str) -> NewKey:
    """`gw_{live,test,staging,dev}_` + 32 random bytes in base 62 + CRC-32 in base 62."""
    head = f"gw_{STAGE_PREFIXES[stage]}_"
    body = head + _base62(int.from_bytes(os.urandom(SECRET_BYTES)), SECRET_CHARS)
    text = body + _checksum(body.encode()).decode()
    return NewKey(text, text[: len(head) + SHOWN_CHARS])


def well_formed(key: bytes) -> bool:
    """Format and checksum, before any I/O: random guesses never reach a store (F84)."""
    return _FORM.fullmatch(key) is not None and hmac.compare_digest(
        _checksum(key[:-CHECKSUM_CHARS]), key[-CHECKSUM_CHARS:]
    )


def hash_key(key: bytes, pepper: bytes) -> bytes:
    """32 bytes; the only form of a key in stores and caches."""
    return hmac.digest(pepper, key, "sha256")


def legacy_form(key: bytes) -> bool:
    """Could it be a key of an older system?"""
    return _LEGACY.fullmatch(key) is not None


def legacy_hash(key: bytes, salt: bytes) -> bytes:
    """As the older system kept it: SHA-256 of salt and key."""
    return hashlib.sha256(salt + key).digest()


def shown_part(key: bytes) -> str:
    """How a key of any form begins; at most a quarter of it."""
    return key[: min(14, len(key) // 4)].decode("ascii")
