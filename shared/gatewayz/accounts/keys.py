"""API keys: their form, checksum and hash. A key is shown once and stored only as HMAC-SHA-256
under a pepper that the database does not have.
"""

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
