"""The address of a client, determined in one place by configuration.

`peer`: who opened the connection. `header:NAME`: what the platform itself writes there. `hop:N`:
the N-th entry of X-Forwarded-For from the right, where every proxy of ours adds one.
"""

from collections.abc import Iterable

FORWARDED = b"x-forwarded-for"


def client_ip(source: str, peer: str | None, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """An address without its port; None when it is not there."""
    kind, _, rest = source.partition(":")
    if kind == "peer":
        return _bare(peer or "")
    name = FORWARDED if kind == "hop" else rest.lower().encode()
    values = [value.decode("latin-1") for key, value in headers if key == name]
    entries = [entry.strip() for entry in ",".join(values).split(",") if entry.strip()]
    place = int(rest) if kind == "hop" else 1
    return _bare(entries[-place]) if place <= len(entries) else None


def _bare(text: str) -> str | None:
    """Without brackets and port."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return (text.partition(":")[0] if text.count(":") == 1 else text) or None
