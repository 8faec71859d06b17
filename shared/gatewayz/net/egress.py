"""Fetches what a caller names from the public internet, without letting callers reach inward (F59).

Guarantees: every address a name stands for is public and the one that was checked is the one that
is called; redirects are checked anew; size, time and kind of what comes are bounded; no
credential, cookie or proxy is used. Never tells a caller what stands at an address that is refused.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin

from gatewayz.core.settings import SettingsError
from gatewayz.net.http import BodyTooLarge, HttpClient, NetError
from gatewayz.net.mime import sniff, text_type
from gatewayz.net.public import (
    PORTS,
    Address,
    Network,
    NotPublic,
    Place,
    is_allowed,
    is_public,
    read_place,
)

MAX_BYTES = 20 * 1024 * 1024
TIMEOUT_S = 10.0
CONNECT_S = 3.0
MAX_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class FetchRefused(Exception):
    """Nothing was fetched; the message says why, in words fit for a caller."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """`mime` is what the bytes are, not what their server says they are."""

    mime: str
    body: bytes


def read_networks(text: str) -> tuple[Network, ...]:
    """The networks of GATEWAYZ_FETCH_NETWORKS; SettingsError when one is none."""
    networks = []
    for name in text.replace(",", " ").split():
        try:
            networks.append(ipaddress.ip_network(name))
        except ValueError:
            raise SettingsError(f"GATEWAYZ_FETCH_NETWORKS: {name[:80]!r} is no network") from None
    return tuple(networks)


async def resolve(host: str, port: int) -> Sequence[str]:
    """Every address of a name, as this system resolves it."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Egress:
    """One per process. Addresses in the `allowed` networks are called though they are private."""

    def __init__(
        self,
        allowed: Iterable[Network] = (),
        *,
        resolve: Resolve = resolve,
        max_bytes: int = MAX_BYTES,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._allowed = tuple(allowed)
        self._resolve = resolve
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def check(self, url: str) -> str:
        """The address that `url` may be called at. FetchRefused when there is none."""
        return str(await self._pin(self._place(url)))

    async def fetch(self, url: str) -> Fetched:
        """What stands there, within 20 MB and 10 s. FetchRefused says why there is nothing."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._follow(url)
        except TimeoutError:
            raise FetchRefused(f"it did not come within {self._timeout_s:g} s") from None

    async def _follow(self, url: str) -> Fetched:
        for _ in range(MAX_REDIRECTS + 1):
            place = self._place(url)
            address = await self._pin(place)
            found = await self._get(place, address)
            if isinstance(found, Fetched):
                return found
            url = urljoin(place.url, found)
        raise FetchRefused(f"it redirects more than {MAX_REDIRECTS} times")

    def _place(self, url: str) -> Place:
        try:
            return read_place(url, self._allowed)
        except NotPublic as error:
            raise FetchRefused(str(error)) from None

    async def _pin(self, place: Place) -> Address:
        """One address of the place, all of which may be called."""
        if place.address is not None:
            return place.address
        try:
            found = await self._resolve(place.host, place.port)
            addresses = [ipaddress.ip_address(text) for text in found]
        except (OSError, ValueError, UnicodeError):
            raise FetchRefused("its host has no address") from None
        if not addresses:
            raise FetchRefused("its host has no address")
        for address in addresses:
            if is_allowed(address, self._allowed):
                continue
            if not is_public(address):
                raise FetchRefused("its address is not public")
            if place.port not in PORTS:
                raise FetchRefused("its port is not one of the web")
        return addresses[0]

    async def _get(self, place: Place, address: Address) -> Fetched | str:
        """What stands there, or where it says that it went."""
        # A client of its own: nothing of another fetch, and above all no other address, is used.
        pinned = None if place.address else (place.host, str(address), place.port)
        client = HttpClient(connect_timeout_s=CONNECT_S, pinned=pinned)
        try:
            stream = await client.open(
                "GET",
                place.url,
                headers={"accept": "*/*"},
                timeout_s=self._timeout_s,
                total_s=self._timeout_s,
            )
            try:
                headers = stream.headers
                if stream.status in REDIRECTS and "location" in headers:
                    return headers["location"]
                if stream.status != 200:
                    raise FetchRefused(f"its server answers {stream.status}")
                length = headers.get("content-length", "")
                if length.isdigit() and int(length) > self._max_bytes:
                    raise BodyTooLarge("")
                parts: list[bytes] = []
                size = 0
                while block := await stream.read():
                    size += len(block)
                    if size > self._max_bytes:
                        raise BodyTooLarge("")
                    parts.append(block)
            finally:
                await stream.aclose()
        except BodyTooLarge:
            raise FetchRefused(f"it is larger than {self._max_bytes} bytes") from None
        except NetError:
            raise FetchRefused("its server cannot be reached") from None
        finally:
            await client.aclose()
        return _known(b"".join(parts), headers.get("content-type", ""))


def _known(body: bytes, declared: str) -> Fetched:
    mime = sniff(body) or text_type(body, declared.partition(";")[0].strip().lower())
    if mime is None:
        raise FetchRefused("it is no picture, sound, film or document")
    return Fetched(mime, body)
