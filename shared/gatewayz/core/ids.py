"""Ids of ours: prefix + ULID, so that they sort by time and carry their month (D1, D21).

Nothing a caller sends ever becomes a key of money.
"""

import os
import re

from gatewayz.core import clock

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_GENERATION_ID = re.compile(r"(?:req_|chatcmpl-|cmpl-|msg_|resp_|gen-)([0-9A-HJKMNP-TV-Z]{26})")

REQUEST_PREFIX = "req_"


def ulid(at_ms: int | None = None) -> str:
    """26 characters: 48 bits of milliseconds, 80 random bits, in Crockford's base 32."""
    milliseconds = clock.now_ms() if at_ms is None else at_ms
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10))
    return "".join([_PAIRS[(value >> shift) & 1023] for shift in range(120, -1, -10)])


def new_id(prefix: str) -> str:
    return prefix + ulid()


def new_request_id() -> str:
    return REQUEST_PREFIX + ulid()


def public_id(request_id: str, prefix: str) -> str:
    """The same ULID under a dialect's own prefix: `req_X` → `chatcmpl-X`."""
    return prefix + request_id[len(REQUEST_PREFIX) :]


def parse_request_id(text: str) -> str | None:
    """`req_…` for any id we ever handed out for a request, None for anything else."""
    found = _GENERATION_ID.fullmatch(text)
    return REQUEST_PREFIX + found[1] if found else None
