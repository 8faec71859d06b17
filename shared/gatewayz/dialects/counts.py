"""Counts in a provider's usage: read strictly, since they become a bill (F36). Pure."""

from collections.abc import Callable, Mapping
from typing import Any

from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.pricing.usage import MAX_UNITS, Usage

ALWAYS = ("input", "output")


def count(raw: Mapping[str, Any], name: str, other: str = "") -> int:
    """What is stated by the first of these names, 0 by none; InvalidUsage when it is no count."""
    value = raw.get(name)
    if value is None and other:
        value = raw.get(other)
    if value is None:
        return 0
    # Some servers write 12.0; anything else that is no whole number is a broken count.
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_UNITS:
        raise InvalidUsage(f"{name} is no count")
    return value


def table(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object within; empty when there is none."""
    value = raw.get(name)
    return value if type(value) is dict else {}


def usage_of(units: Mapping[str, int]) -> Usage:
    """What was used, without the classes that were not."""
    return Usage({name: n for name, n in units.items() if n or name in ALWAYS})


def stated(
    value: Any, read: Callable[[JsonObject | None], Usage | None]
) -> tuple[Usage | None, JsonObject | None]:
    """What is billed and what was written; no usage with something written: it cannot be true."""
    raw = value if type(value) is dict and value else None
    try:
        return read(raw), raw
    except InvalidUsage:
        return None, raw
