"""Which addresses anybody may be made to call: those of the public internet, nothing else (F59).

Pure. Everything that reaches a private network, this machine or a cloud's metadata by some detour
(mapped, translated or tunnelled addresses) is refused, as is what is no address that people write.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SCHEMES = ("http", "https")
PORTS = frozenset({80, 443, 8080, 8443})
MAX_URL_CHARS = 4096
_USUAL_PORT = {"http": 80, "https": 443}

# IANA's special-purpose registry, and one cloud's host that answers at a public address.
_CLOSED_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32",
        "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24",
        "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
    )
)  # fmt: skip
# Only this part of the new address space is given to the public, less what tunnels the old one
# (Teredo, 6to4) or stands in books. Mapped and translated addresses lie outside of it.
_OPEN_V6 = ipaddress.IPv6Network("2000::/3")
_CLOSED_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
# The lower half of an address that a private one tunnels through.
_ISATAP = (0x00005EFE, 0x02005EFE)
_CLOSED_NAMES = ("localhost", "localdomain", "local", "internal", "intranet", "lan", "home", "corp",
                 "home.arpa", "in-addr.arpa", "ip6.arpa", "onion", "test", "invalid")  # fmt: skip
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class NotPublic(ValueError):
    """Nobody may be made to call this; the message says why, in words fit for a caller."""


class Place(NamedTuple):
    """A URL that may be called, as every parser reads it; `address` when its host is one."""

    url: str
    host: str
    port: int
    address: Address | None


def read_place(url: str, allowed: Sequence[Network] = ()) -> Place:
    """Where `url` leads, by its text alone. NotPublic when that is nowhere for us. With `allowed`
    networks a name's port is left to be judged with its addresses."""
    if len(url) > MAX_URL_CHARS or any(c <= " " or c == "\\" or c == "\x7f" for c in url):
        raise NotPublic("it is no URL")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise NotPublic("it is no URL") from None
    if parts.scheme not in SCHEMES:
        raise NotPublic("only http and https are fetched")
    if parts.username is not None or parts.password is not None:
        raise NotPublic("it holds a user name")
    address = _read_address(host)
    inside = address is not None and is_allowed(address, allowed)
    if address is None:
        host = _read_name(host)
    port = _USUAL_PORT[parts.scheme] if port is None else port
    if not inside:
        if port not in PORTS and (address is not None or not allowed):
            raise NotPublic("its port is not one of the web")
        if address is not None and not is_public(address):
            raise NotPublic("its address is not public")
    # Written anew, so that whoever calls it reads the same host that was judged.
    shown = f"[{host}]" if ":" in host else host
    place = f"{shown}:{port}" if port != _USUAL_PORT[parts.scheme] else shown
    whole = urlunsplit((parts.scheme, place, parts.path or "/", parts.query, ""))
    return Place(whole, host, port, address)


def is_allowed(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def is_public(address: Address) -> bool:
    """Whether it belongs to somebody on the internet and to nobody else."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    if address.scope_id is not None or address not in _OPEN_V6:
        return False
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return False
    return not any(address in network for network in _CLOSED_V6)


def _read_address(host: str) -> Address | None:
    """An address as the standards write it; NotPublic for the other ways to write one."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    # Systems read "0x7f.1", "0177.0.0.1" and "2130706433" as addresses too; nobody else does.
    if ":" in host or _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2].lower()):
        raise NotPublic("its host is written oddly")
    return None


def _read_name(host: str) -> str:
    """A name of the public DNS in its ASCII form."""
    try:
        name = host.rstrip(".").encode("idna").decode().lower()
    except UnicodeError:
        raise NotPublic("its host is no name") from None
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise NotPublic("its host is no name")
    if _NUMBER.fullmatch(labels[-1]):
        raise NotPublic("its host is written oddly")
    if len(labels) < 2 or any(f".{name}".endswith(f".{closed}") for closed in _CLOSED_NAMES):
        raise NotPublic("its host is not public")
    return name
