"""Ids of ours: prefix + ULID, so that they sort by time and carry their month (D1, D21).

Nothing a caller sends ever becomes a key of money.
"""

import os
import re
from functools import lru_cache

from gatewayz.core import clock

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_SHIFTS = range(70, -1, -10)
_GENERATION_ID = re.compile(
    r"(?:req_|chatcmpl-|cmpl-|msg_|resp_|modr-|gen-)([0-9A-HJKMNP-TV-Z]{26})"
)

REQUEST_PREFIX = "req_"
_RANDOM_BYTES = 10
_POOL_IDS = 64
# A process restored from a snapshot must not repeat what another one draws.
_POOL_LIFE_MS = 1000


class _Randomness:
    """Random bytes in stock for a moment: asking the system for each id hands the interpreter's
    lock to whoever waits for it, which costs more than the whole id."""

    __slots__ = ("_drawn_ms", "_stock")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._stock: list[int] = []
        self._drawn_ms = 0

    def take(self, now_ms: int) -> int:
        """80 bits that nobody had before."""
        while True:
            if 0 <= now_ms - self._drawn_ms < _POOL_LIFE_MS:
                try:
                    return self._stock.pop()
                except IndexError:
                    pass
            drawn = os.urandom(_RANDOM_BYTES * _POOL_IDS)
            starts = range(0, len(drawn), _RANDOM_BYTES)
            self._stock = [int.from_bytes(drawn[at : at + _RANDOM_BYTES]) for at in starts]
            self._drawn_ms = now_ms


_randomness = _Randomness()
os.register_at_fork(after_in_child=_randomness.forget)


def ulid(at_ms: int | None = None) -> str:
    """26 characters: 48 bits of milliseconds, 80 random bits, in Crockford's base 32."""
    now_ms = clock.now_ms()
    value = _randomness.take(now_ms)
    return _moment(now_ms if at_ms is None else at_ms) + "".join(
        [_PAIRS[(value >> shift) & 1023] for shift in _SHIFTS]
    )


@lru_cache(maxsize=64)
def _moment(at_ms: int) -> str:
    """The first ten characters: many ids are made in one millisecond."""
    return "".join([_PAIRS[(at_ms >> shift) & 1023] for shift in range(40, -1, -10)])


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
