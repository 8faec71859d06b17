"""Strict reading of TOML: every key is known, every value has its type, numbers stay exact.

Guarantees one-line errors that name file, table and key. Never drops or converts a value silently.
"""

import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from gatewayz.core.settings import SettingsError

T = TypeVar("T")

MAX_FILE_BYTES = 8 * 1024 * 1024


class TableError(SettingsError):
    """A configuration file is wrong; the message is one line for the operator."""


def read_toml(path: Path) -> dict[str, Any]:
    """The file's top table; floating-point numbers come as Decimal. TableError if unreadable."""
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_FILE_BYTES:
            raise TableError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
        return tomllib.loads(raw.decode(), parse_float=Decimal)
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: not valid TOML: {str(error).splitlines()[0]}") from None


class Table:
    """One TOML table. Each key is taken once; `finish` refuses what nobody took."""

    __slots__ = ("_data", "_known", "file", "name")

    def __init__(self, file: str, name: str, data: Any) -> None:
        self.file = file
        self.name = name
        if not isinstance(data, dict):
            raise TableError(f"{file}: '{name}' must be a table")
        self._data: dict[str, Any] = dict(data)
        self._known: list[str] = []

    def fail(self, key: str, problem: str) -> TableError:
        return TableError(f"{self.file}: [{self.name}] {key}: {problem}")

    def take(self, key: str, kind: type[T], what: str) -> T | None:
        """The value of `key` or None when absent; TableError unless it is exactly a `kind`."""
        self._known.append(key)
        value = self._data.pop(key, None)
        # bool is an int in Python, never in a configuration file.
        if value is None or (isinstance(value, kind) and isinstance(value, bool) == (kind is bool)):
            return value
        raise self.fail(key, f"must be {what}")

    def text(self, key: str, default: str | None = None, *, pattern: str = r"[^\x00-\x1f]+") -> str:
        """A string matching `pattern` as a whole; without default the key is required."""
        value = self.take(key, str, "a string")
        if value is None:
            if default is None:
                raise self.fail(key, "is missing")
            return default
        if not re.fullmatch(pattern, value):
            raise self.fail(key, f"{value[:60]!r} is not of the form {pattern}")
        return value

    def choice(self, key: str, options: tuple[str, ...], default: str | None = None) -> str:
        value = self.text(key, default)
        if value not in options:
            raise self.fail(key, f"{value[:60]!r} is not one of {', '.join(options)}")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.take(key, bool, "true or false")
        return default if value is None else value

    def count(self, key: str) -> int | None:
        """An integer > 0, None when absent."""
        value = self.take(key, int, "a whole number")
        if value is not None and value <= 0:
            raise self.fail(key, "must be above 0")
        return value

    def seconds(self, key: str, default: float | None) -> float | None:
        value = self.number(key)
        if value is not None and not 0 < value <= 3600:
            raise self.fail(key, "must be above 0 and at most 3600 seconds")
        return default if value is None else float(value)

    def number(self, key: str) -> Decimal | int | None:
        self._known.append(key)
        value = self._data.pop(key, None)
        if value is None or (isinstance(value, int | Decimal) and not isinstance(value, bool)):
            return value
        raise self.fail(key, "must be a number")

    def number_or_text(self, key: str) -> Decimal | int | str | None:
        """A number, exact as written, or its text."""
        if isinstance(self._data.get(key), str):
            return self.take(key, str, "a number")
        return self.number(key)

    def texts(self, key: str, *, pattern: str = r"[^\x00-\x1f]+") -> tuple[str, ...]:
        values = self.take(key, list, "a list of strings") or []
        for value in values:
            if not isinstance(value, str) or not re.fullmatch(pattern, value):
                raise self.fail(key, f"{str(value)[:60]!r} is not of the form {pattern}")
        return tuple(values)

    def sub(self, key: str) -> "Table":
        """The table under `key`, empty when absent."""
        data = self.take(key, dict, "a table") or {}
        return Table(self.file, f"{self.name}.{key}", data)

    def rest_keys(self) -> tuple[str, ...]:
        """Keys not taken yet, for tables whose keys are data."""
        return tuple(self._data)

    def rest(self) -> Mapping[str, Any]:
        """All keys not taken yet, for tables whose keys are data."""
        rest, self._data = self._data, {}
        return rest

    def finish(self) -> None:
        """TableError when a key is left that nobody knows."""
        for key in self._data:
            raise self.fail(key, f"unknown key; known are {', '.join(sorted(self._known))}")
