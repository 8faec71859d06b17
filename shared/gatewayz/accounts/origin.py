"""Where a request comes from, for its key's rules: address by configuration, page by header."""

from collections.abc import Iterable

from gatewayz.accounts.rules import Origin
from gatewayz.net.origin import client_ip

PAGES = (b"referer", b"origin")


def origin_of(
    source: str, client: tuple[str, int] | None, headers: Iterable[tuple[bytes, bytes]]
) -> Origin:
    """`source` is GATEWAYZ_CLIENT_IP; `client` the peer of the connection."""
    headers = list(headers)
    pages = {name: value for name, value in headers if name in PAGES}
    page = next((pages[name] for name in PAGES if name in pages), None)
    return Origin(
        client_ip(source, client[0] if client else None, headers),
        page.decode("latin-1") if page is not None else None,
    )
