"""Checks of request fields, shared by the readers: a value fits or InvalidRequest names it.

Nothing is coerced: true is no integer, "1" no number (F52). Null means absent.
"""

from collections.abc import Mapping
from typing import Any

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.form import JsonObject

MAX_TOKENS_LIMIT = 2**31 - 1


def wrong(param: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"'{param}' {problem}.", param=param)


def text(holder: Mapping[str, Any], name: str, where: str = "", *, most: int = 0) -> str | None:
    value = holder.get(name)
    if value is None:
        return None
    if type(value) is not str:
        raise wrong(where + name, "must be a string")
    if most and len(value) > most:
        raise wrong(where + name, f"must have at most {most} characters")
    return value


def needed_text(holder: Mapping[str, Any], name: str, where: str = "") -> str:
    value = text(holder, name, where)
    if value is None:
        raise wrong(where + name, "must be a string")
    return value


def flag(holder: Mapping[str, Any], name: str, where: str = "") -> bool | None:
    value = holder.get(name)
    if value is not None and type(value) is not bool:
        raise wrong(where + name, "must be a boolean")
    return value


def integer(
    holder: Mapping[str, Any], name: str, where: str = "", *, low: int = 0, high: int = 2**31 - 1
) -> int | None:
    value = holder.get(name)
    if value is None:
        return None
    if type(value) is not int:
        raise wrong(where + name, "must be an integer")
    if not low <= value <= high:
        raise wrong(where + name, f"must be between {low} and {high}")
    return value


def number(
    holder: Mapping[str, Any], name: str, where: str = "", *, low: float, high: float
) -> float | None:
    value = holder.get(name)
    if value is None:
        return None
    if type(value) is not int and type(value) is not float:
        raise wrong(where + name, "must be a number")
    if not low <= value <= high:
        raise wrong(where + name, f"must be between {low:g} and {high:g}")
    return value


def table(holder: Mapping[str, Any], name: str, where: str = "") -> JsonObject | None:
    value = holder.get(name)
    if value is not None and type(value) is not dict:
        raise wrong(where + name, "must be an object")
    return value


def needed_table(value: Any, where: str) -> JsonObject:
    if type(value) is not dict:
        raise wrong(where, "must be an object")
    return value


def array(holder: Mapping[str, Any], name: str, where: str = "") -> list[Any] | None:
    value = holder.get(name)
    if value is not None and type(value) is not list:
        raise wrong(where + name, "must be an array")
    return value


def texts(
    holder: Mapping[str, Any], name: str, where: str = "", *, most: int = 16
) -> tuple[str, ...]:
    value = array(holder, name, where) or []
    if any(type(item) is not str for item in value):
        raise wrong(where + name, "must be an array of strings")
    if len(value) > most:
        raise wrong(where + name, f"must have at most {most} entries")
    return tuple(value)


def rest(holder: Mapping[str, Any], known: frozenset[str]) -> JsonObject:
    """The fields nobody knows here, without those that say nothing."""
    return {k: v for k, v in holder.items() if k not in known and v is not None}
