"""What this process has of what a provider asks for: which secret signs in, where to call.

Reads secrets by name and never keeps, shows or logs one. Opens no connection.
"""

import re
from collections.abc import Callable

from gatewayz.providers.auth import KEY_ID, USUAL_PREFIX
from gatewayz.providers.provider import Param, Place, Provider, SignIn

FindSecret = Callable[[str], str | None]

# What may stand in an address: a name, or a host with its dots.
_PIECE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:-]{0,251}[A-Za-z0-9])?")
_PARAM = re.compile(r"\{([a-z0-9_]+)\}")


class Unreachable(Exception):
    """A piece of the provider's address is missing or cannot stand in one; says which variable."""


def sign_in(provider: Provider, find: FindSecret) -> SignIn | None:
    """The first way to sign in whose secret is here; the first of all when none is, None when the
    provider asks for none."""
    ways = provider.sign_ins
    if not ways:
        return None
    return next((way for way in ways if _has(provider, way, find)), ways[0])


def missing(provider: Provider, find: FindSecret) -> tuple[str, ...]:
    """What has to be set before the provider can be called: names of variables, "A or B" where
    one of several is enough. Empty when it can."""
    needed = []
    ways = provider.sign_ins
    if ways and not any(_has(provider, way, find) for way in ways):
        needed.append(" or ".join(way.credential for way in ways))
    for param in provider.params.values():
        if _read(param, find) is None:
            needed.append(" or ".join(param.names))
    return tuple(needed)


def base_url(
    provider: Provider, find: FindSecret, native_id: str = "", *, dialect: str = ""
) -> str:
    """Where the provider is called for this model, in this dialect. Unreachable names what is
    missing."""
    if not provider.params and not provider.places:
        return provider.also.get(dialect, provider.base_url)
    if dialect in provider.also:
        return fill(provider, provider.also[dialect], find)
    place = place_of(provider, find, native_id)
    return fill(provider, provider.base_url if place is None else place.base_url, find)


def place_of(provider: Provider, find: FindSecret, native_id: str) -> Place | None:
    """The place that the model or the operator's own values ask for; None is the row's own."""
    for place in provider.places:
        if native_id and place.has(native_id):
            return place
        for name, value in place.when.items():
            param = provider.params.get(name)
            if param is not None and _read(param, find) == value:
                return place
    return None


def fill(provider: Provider, template: str, find: FindSecret) -> str:
    """`template` with the operator's values in place of its {parameters}."""

    def value_of(found: re.Match[str]) -> str:
        param = provider.params[found[1]]
        value = _read(param, find)
        if value is None:
            raise Unreachable(f"{' or '.join(param.names)} is not set")
        if not _PIECE.fullmatch(value):
            raise Unreachable(f"{' or '.join(param.names)} cannot stand in an address")
        return value

    return _PARAM.sub(value_of, template) if "{" in template else template


def _has(provider: Provider, way: SignIn, find: FindSecret) -> bool:
    if not find(way.credential):
        return False
    if way.credential != USUAL_PREFIX + KEY_ID or not (provider.lent_in and find(provider.lent_in)):
        return True
    # A platform gives every function an identity of its own: nobody said that it may call models.
    # It counts only where the operator names what stands in this provider's address.
    return any(find(param.names[0]) for param in provider.params.values())


def _read(param: Param, find: FindSecret) -> str | None:
    """The operator's value; of one given as a URL, what stands between scheme and path."""
    for name in param.names:
        value = (find(name) or "").strip()
        if value:
            return value.split("://", 1)[-1].rstrip("/")
    return param.default
