"""W3C trace context and the rule that says which requests are traced.

Guarantees that a header of any form makes no request fail: what cannot be read is as if it were
not there. Pure.
"""

import re
from typing import NamedTuple

from gatewayz.core.settings import SettingsError

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
# The list's own limits: 32 members, 512 characters are enough for anybody.
_STATE = re.compile(r"[\x21-\x7e \t]{1,512}")
NO_TRACE, NO_SPAN = bytes(16), bytes(8)
SAMPLED = 1
WHOLE = 1 << 64


class Context(NamedTuple):
    """Where a span belongs: its trace, the span above it, and whether the trace is kept."""

    trace_id: bytes
    span_id: bytes
    sampled: bool
    state: str = ""

    def header(self) -> str:
        flags = "01" if self.sampled else "00"
        return f"00-{self.trace_id.hex()}-{self.span_id.hex()}-{flags}"


def read_context(parent: bytes | str | None, state: bytes | None = None) -> Context | None:
    """The context of a `traceparent`; None when there is none that holds."""
    if not parent:
        return None
    text = parent.decode("latin-1") if isinstance(parent, bytes) else parent
    found = _PARENT.fullmatch(text.strip())
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    trace_id, span_id = bytes.fromhex(found[2]), bytes.fromhex(found[3])
    if trace_id == NO_TRACE or span_id == NO_SPAN:
        return None
    told = state.decode("latin-1").strip() if state else ""
    return Context(
        trace_id,
        span_id,
        bool(int(found[4], 16) & SAMPLED),
        told if _STATE.fullmatch(told) else "",
    )


class Sampler:
    """`0.1 /v1/embeddings=0.01 client=1`: a share of all, of routes by their beginning, and of
    requests whose client keeps its trace. The same trace is kept or dropped everywhere."""

    def __init__(self, rule: str) -> None:
        self._all = WHOLE
        self._client: int | None = None
        self._routes: list[tuple[str, int]] = []
        for word in rule.split():
            name, given, share = word.rpartition("=")
            bound = _bound(share, word)
            if not given:
                self._all = bound
            elif name == "client":
                self._client = bound
            elif name.startswith("/"):
                self._routes.append((name, bound))
            else:
                raise SettingsError(f"GATEWAYZ_TRACE_SAMPLE: {word[:40]!r} names no route")
        self._routes.sort(key=lambda pair: len(pair[0]), reverse=True)

    def keeps(self, trace_id: bytes, route: str, *, client: bool = False) -> bool:
        """`client`: who calls keeps this trace. Errors are kept besides, once they are known."""
        bound = next((b for name, b in self._routes if route.startswith(name)), self._all)
        if client and self._client is not None:
            bound = max(bound, self._client)
        return bound >= WHOLE or int.from_bytes(trace_id[8:], "big") < bound


def _bound(share: str, word: str) -> int:
    try:
        number = float(share)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise SettingsError(f"GATEWAYZ_TRACE_SAMPLE: {word[:40]!r} is no share from 0 to 1")
    return int(number * WHOLE)
