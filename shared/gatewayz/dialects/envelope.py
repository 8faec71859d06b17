"""Thoughts of one provider in a field of another's dialect, so that they come back unchanged (§7).

A sealed text is base64 as every dialect's signature is, and no provider's own text begins like it.
Seals are a convenience, not a secret: what is inside goes only to the family that made it.
"""

import base64
import binascii
from typing import NamedTuple

import orjson

_MARK = b"gw1:"
# base64 of the mark up to its last whole character.
_BEGINNING = base64.b64encode(_MARK)[:5].decode()


class Sealed(NamedTuple):
    """`call_id`: the signature belongs to that tool call and not to a thought."""

    origin: str
    signature: str | None
    id: str | None = None
    call_id: str | None = None


def seal(sealed: Sealed) -> str:
    return base64.b64encode(_MARK + orjson.dumps(list(sealed))).decode()


def unseal(text: str) -> Sealed | None:
    """What seal() was given; None for every other text."""
    if not text.startswith(_BEGINNING):
        return None
    try:
        origin, *rest = orjson.loads(base64.b64decode(text, validate=True)[len(_MARK) :])
    except (binascii.Error, orjson.JSONDecodeError, ValueError, TypeError):
        return None
    fits = len(rest) == 3 and all(value is None or type(value) is str for value in rest)
    return Sealed(origin, *rest) if fits and type(origin) is str else None
