"""Stripe's request form: `a[b][0][c]=d` is an object with a list of objects."""

from typing import Any
from urllib.parse import parse_qsl

from tests.fakes.stripe.errors import wrong

# `metadata` is text to text; everything else that looks like a number or a truth is one.
TEXTS = {"metadata"}


def decode_form(text: str) -> dict[str, Any]:
    """The parameters of a query or a body, nested. Values stay text: the reader knows the type."""
    out: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        path = name.replace("]", "").split("[")
        place: dict[str, Any] = out
        for step in path[:-1]:
            inner = place.setdefault(step, {})
            if not isinstance(inner, dict):
                raise wrong(f"Invalid parameter: {name}", name)
            place = inner
        last = path[-1] or str(len(place))
        place[last] = value
    return {name: _listed(value) for name, value in out.items()}


def _listed(value: Any) -> Any:
    """Objects whose names are 0, 1, 2 … are lists."""
    if not isinstance(value, dict):
        return value
    inner = {name: _listed(held) for name, held in value.items()}
    if inner and all(name.isdigit() for name in inner):
        return [inner[name] for name in sorted(inner, key=int)]
    return inner


def whole(params: dict[str, Any], name: str, default: int | None = None) -> int:
    """An integer parameter; Stripe takes no fractions of a cent."""
    given = params.get(name)
    if given is None:
        if default is None:
            raise wrong(f"Missing required param: {name}.", name, "parameter_missing")
        return default
    try:
        return int(given)
    except (TypeError, ValueError):
        raise wrong(f"Invalid integer: {given}", name, "parameter_invalid_integer") from None


def truth(params: dict[str, Any], name: str, default: bool = False) -> bool:
    given = params.get(name)
    if given is None:
        return default
    if given not in ("true", "false", True, False):
        raise wrong(f"Invalid boolean: {given}", name)
    return given in ("true", True)


def needed(params: dict[str, Any], name: str) -> Any:
    if params.get(name) in (None, ""):
        raise wrong(f"Missing required param: {name}.", name, "parameter_missing")
    return params[name]


def merged_metadata(old: dict[str, str], params: dict[str, Any]) -> dict[str, str]:
    """New keys over old ones; an empty value takes its key away, an empty whole clears all."""
    given = params.get("metadata")
    if given is None:
        return old
    if given == "":
        return {}
    return {k: v for k, v in (old | given).items() if v != ""}
