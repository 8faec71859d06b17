"""Posts to an address that a customer has named, without letting them reach inward (F59).

Each address is resolved, judged and pinned anew for every batch; nothing is followed, and what
comes back is read only as a status.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from gatewayz.net.egress import CONNECT_S, Egress, FetchRefused
from gatewayz.net.http import HttpClient, NetError

TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 64 * 1024
PORTS = {"http": 80, "https": 443}


class NotSent(Exception):
    """The message says why in words fit for the customer; `again`: it may be tried once more."""

    def __init__(self, why: str, *, again: bool) -> None:
        super().__init__(why)
        self.again = again


async def post_outward(egress: Egress, url: str, headers: Mapping[str, str], body: bytes) -> None:
    """Returns when it was taken; NotSent otherwise."""
    try:
        address = await egress.check(url)
    except FetchRefused as error:
        raise NotSent(str(error), again=False) from None
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or PORTS[parts.scheme]
    pinned = None if host == address else (host, address, port)
    client = HttpClient(connect_timeout_s=CONNECT_S, pinned=pinned)
    try:
        answer = await client.request(
            "POST", url, headers=headers, body=body, timeout_s=TIMEOUT_S, max_bytes=MAX_ANSWER_BYTES
        )
    except NetError as error:
        raise NotSent(f"it could not be reached: {type(error).__name__}", again=True) from None
    finally:
        await client.aclose()
    if answer.status >= 300:
        again = answer.status >= 500 or answer.status in (408, 429)
        raise NotSent(f"it answers {answer.status}", again=again)
