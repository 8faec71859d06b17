"""Which web pages may call, and what they may read of an answer (CORS).

One owner for both planes. Guarantees that credentials are allowed only to origins named in the
settings, never by a wildcard. What protects an account is its key, which no browser adds itself.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gatewayz.net.asgi import RawHeaders

ANY = "*"
NONE = "none"
# Everything of ours that a page may want to read besides the body.
EXPOSED = (
    b"x-request-id, x-generation-id, x-provider, x-gatewayz-dropped-params, x-gatewayz-version,"
    b" retry-after"
)
KEEP_PREFLIGHT = b"86400"
_VARY = (b"vary", b"origin")
_EXPOSE = (b"access-control-expose-headers", EXPOSED)
# A list of header names, as a browser asks for them; anything else is not repeated.
_NAMES = re.compile(rb"[0-9A-Za-z!#$%&'*+.^_`|~-]+(?:[ \t]*,[ \t]*[0-9A-Za-z!#$%&'*+.^_`|~-]+)*")
_USUAL_NAMES = b"authorization, content-type, x-api-key"
MAX_NAMES_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Cors:
    """`origins`: what may call, as browsers write it; None for every page."""

    origins: frozenset[bytes] | None
    credentials: bool = False

    @classmethod
    def of(cls, origins: str, *, credentials: bool) -> "Cors":
        """From the settings' text: `*`, `none`, or origins separated by spaces or commas."""
        names = origins.replace(",", " ").split()
        if ANY in names:
            # A wildcard and credentials together would let every page act for its visitor.
            return cls(None)
        return cls(frozenset(n.encode() for n in names if n != NONE), credentials)

    def answer_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
        """What an answer to a request with these headers carries."""
        if self.origins is None:
            return [(b"access-control-allow-origin", b"*"), _EXPOSE]
        origin = _header(headers, b"origin")
        if origin is None or origin not in self.origins:
            return [_VARY]
        allowed = [(b"access-control-allow-origin", origin), _VARY, _EXPOSE]
        if self.credentials:
            allowed.append((b"access-control-allow-credentials", b"true"))
        return allowed

    def preflight(self, headers: RawHeaders, methods: bytes) -> RawHeaders:
        """What the answer to OPTIONS carries. Every header may be sent: unknown ones do nothing."""
        answer = self.answer_headers(headers)
        if answer == [_VARY]:
            return answer
        names = _header(headers, b"access-control-request-headers") or b""
        if len(names) > MAX_NAMES_BYTES or not _NAMES.fullmatch(names):
            names = _USUAL_NAMES
        return [
            *answer,
            (b"access-control-allow-methods", methods),
            # Named, for `*` covers neither Authorization nor anything once credentials are on.
            (b"access-control-allow-headers", names),
            (b"access-control-max-age", KEEP_PREFLIGHT),
        ]


def is_preflight(method: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a browser asks before it calls."""
    return method == "OPTIONS" and _header(headers, b"access-control-request-method") is not None


def _header(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes | None:
    for name, value in headers:
        if name == wanted:
            return value
    return None
