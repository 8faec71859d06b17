"""Content encodings of answers: which one a caller takes, and packing bytes in it."""

import gzip
import re
from typing import Literal

Encoding = Literal["br", "gzip", "identity"]
# What packs best comes first where a caller likes several alike.
OFFERED: tuple[Encoding, ...] = ("br", "gzip", "identity")
# For bytes that are packed once and served often, and for those of a single answer.
_BROTLI_KEPT, _BROTLI_NOW = 6, 4
_GZIP_KEPT, _GZIP_NOW = 6, 5
_PART = re.compile(r"\s*([a-z*-]+)\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*)?", re.IGNORECASE)


def choose_encoding(accepted: str | None) -> Encoding:
    """The encoding that an Accept-Encoding header asks for; identity when it names none of ours."""
    if not accepted:
        return "identity"
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        if (found := _PART.fullmatch(part)) is not None:
            weights[found[1]] = float(found[2] or 1)
    rest = weights.get("*", 0.0)
    ranked = [(weights.get(name, rest), name) for name in OFFERED if name != "identity"]
    weight, name = max(ranked, key=lambda pair: pair[0])
    return name if weight > 0 and weight >= weights.get("identity", 0.0) else "identity"


def pack(body: bytes, encoding: Encoding, *, kept: bool = False) -> bytes:
    """`kept`: worth more work, it will be served many times."""
    if encoding == "br":
        import brotli

        quality = _BROTLI_KEPT if kept else _BROTLI_NOW
        packed: bytes = brotli.compress(body, quality=quality, mode=brotli.MODE_TEXT)
        return packed
    if encoding == "gzip":
        return gzip.compress(body, _GZIP_KEPT if kept else _GZIP_NOW, mtime=0)
    return body


def unpack(body: bytes, encoding: Encoding) -> bytes:
    if encoding == "br":
        import brotli

        plain: bytes = brotli.decompress(body)
        return plain
    return gzip.decompress(body) if encoding == "gzip" else body
