"""What a key may be used for: from where, by which scope, for which models. Pure.

Owns the form of the rules that are stored with a key. Absent means unrestricted; a rule that
cannot be judged (no client address, no Referer) refuses.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from gatewayz.accounts.roles import KEY_PERMISSIONS, PERMISSIONS, permissions_of
from gatewayz.core.errors import Forbidden, InvalidRequest

SCOPES = KEY_PERMISSIONS
# Asked of a route that any valid key may call.
ANY_SCOPE = ""
# What a scope brings along.
IMPLIED: Mapping[str, frozenset[str]] = {"management": frozenset({"keys:read", "keys:write"})}
# What the holder of a scope may give to others without having it.
GIVEN: Mapping[str, frozenset[str]] = {"management": frozenset({"inference", "usage:read"})}
LISTS = (
    "ips", "referrers", "models", "blocked_models", "providers", "blocked_providers",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rules:
    """`scopes` None is every scope; `role` bounds them: that of the member who made the key, or
    who calls. Lists that are empty restrict nothing; `models` and `providers` hold patterns with
    `*`."""

    scopes: tuple[str, ...] | None = None
    ips: tuple[str, ...] = ()
    referrers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    blocked_models: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    blocked_providers: tuple[str, ...] = ()
    role: str | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Rules":
        """Rules as they are stored; FREE itself when there are none."""
        if not stored:
            return FREE
        scopes = stored.get("scopes")
        lists = {name: tuple(stored.get(name) or ()) for name in LISTS}
        return cls(None if scopes is None else tuple(scopes), **lists, role=stored.get("role"))

    def _in_role(self, scope: str) -> bool:
        return self.role is None or scope in permissions_of(self.role)

    def grants(self, scope: str) -> bool:
        if scope == ANY_SCOPE:
            return True
        if not self._in_role(scope):
            return False
        if self.scopes is None:
            return True
        return scope in self.scopes or any(scope in IMPLIED.get(s, ()) for s in self.scopes)

    def gives(self, scope: str) -> bool:
        """May a key with these rules make one that has the scope?"""
        given = any(scope in GIVEN.get(s, ()) for s in self.scopes or ())
        return self.grants(scope) or (given and self._in_role(scope))

    def bound(self, asked: Mapping[str, Any], *, new: bool) -> dict[str, Any]:
        """`asked` rules of a key that a holder of these rules makes or changes: what restricts
        the holder restricts that key too. Forbidden when more is asked for."""
        bounded = dict(asked)
        for name in LISTS:
            mine: tuple[str, ...] = getattr(self, name)
            if not mine or (name not in asked and not new):
                continue
            given = asked.get(name) or ()
            if name.startswith("blocked_"):
                bounded[name] = list(dict.fromkeys((*given, *mine)))
            elif not given:
                bounded[name] = list(mine)
            elif not set(given) <= set(mine):
                raise Forbidden(
                    "A key gives only what its holder may use itself.",
                    code="insufficient_scope",
                    param=name,
                )
        return bounded

    def covers(self, other: "Rules") -> bool:
        """May the holder have the secret of a key with these other rules? Only when it opens
        nothing that is shut to the holder."""
        held = PERMISSIONS if other.scopes is None else other.scopes
        given = all(self.gives(scope) for scope in held if other.grants(scope))
        return given and self._as_narrow(other)

    def _as_narrow(self, other: "Rules") -> bool:
        """Is every restriction of the holder one of the other's too?"""
        for name in LISTS:
            mine, theirs = set(getattr(self, name)), set(getattr(other, name))
            if name.startswith("blocked_"):
                if not mine <= theirs:
                    return False
            elif mine and not (theirs and theirs <= mine):
                return False
        return True

    def allows_model(self, model: str) -> bool:
        """By the id that the name stands for, so that an alias opens nothing."""
        return _allowed(model, self.models, self.blocked_models)

    def allows_provider(self, provider: str) -> bool:
        return _allowed(provider, self.providers, self.blocked_providers)


FREE = Rules()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from, as far as it is known."""

    ip: str | None
    referrer: str | None


def permit(rules: Rules, scope: str, origin: Origin) -> None:
    """Forbidden, with a code, for what the key may not."""
    if rules.role is not None and not rules.grants(scope):
        raise Forbidden(
            f"This needs the permission '{scope}', which role or key lacks.",
            code="insufficient_scope",
        )
    if not rules.grants(scope):
        raise Forbidden(f"This key lacks the scope '{scope}'.", code="insufficient_scope")
    if rules.ips and not ip_in(origin.ip, rules.ips):
        raise Forbidden("This key is not allowed from this address.", code="ip_not_allowed")
    if rules.referrers and not referrer_in(origin.referrer, rules.referrers):
        raise Forbidden("This key is not allowed from this site.", code="referrer_not_allowed")


def ip_in(ip: str | None, allowed: Iterable[str]) -> bool:
    """Is the address one of these, or in one of these networks? IPv4 in IPv6 counts as IPv4."""
    try:
        address = ipaddress.ip_address((ip or "").partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in _network(each) for each in allowed)


@lru_cache(maxsize=4096)
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text, strict=False)


def referrer_in(referrer: str | None, domains: Iterable[str]) -> bool:
    """Is the page's host one of these, or below one of these?"""
    try:
        host = (urlsplit(referrer or "").hostname or "").rstrip(".")
    except ValueError:
        return False
    return any(host == domain or host.endswith("." + domain) for domain in domains if host)


def _allowed(name: str, allowed: tuple[str, ...], blocked: tuple[str, ...]) -> bool:
    if blocked and any(fnmatchcase(name, pattern) for pattern in blocked):
        return False
    return not allowed or any(fnmatchcase(name, pattern) for pattern in allowed)


# ------------------------------------------------------------------ before they are stored


def checked_scopes(given: Iterable[str], holder: Rules) -> list[str]:
    """Known scopes, none that the key which gives them does not have itself."""
    found = dict.fromkeys(given)
    for scope in found:
        if scope not in SCOPES:
            known = ", ".join(SCOPES)
            raise InvalidRequest(f"A scope is one of {known}.", param="scopes")
        if not holder.gives(scope):
            raise Forbidden(
                f"This key cannot give the scope '{scope}', which it lacks.",
                code="insufficient_scope",
            )
    return list(found)


def checked_ips(given: Iterable[str]) -> list[str]:
    """Addresses and networks in one spelling each."""
    found = []
    for text in given:
        if not text.strip():
            continue
        try:
            found.append(str(ipaddress.ip_network(text.strip(), strict=False)))
        except ValueError:
            raise InvalidRequest(
                "An entry is an address or a network, as 192.0.2.0/24 or 2001:db8::/32.",
                param="ip_allowlist",
            ) from None
    return list(dict.fromkeys(found))


def checked_domains(given: Iterable[str]) -> list[str]:
    """Host names in lower case; an address of a page gives its host."""
    found = []
    for text in given:
        word = text.strip().lower()
        if not word:
            continue
        try:
            host = urlsplit(word if "://" in word else f"//{word}").hostname or ""
        except ValueError:
            host = ""
        host = host.removeprefix("*.").strip(".")
        if not host or not all(c.isalnum() or c in "-." for c in host):
            raise InvalidRequest("An entry is a host, as example.com.", param="domain_referrers")
        found.append(host)
    return list(dict.fromkeys(found))
