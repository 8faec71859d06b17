"""Reads a JSON listing piece by piece: one model in memory at a time, numbers exact.

Guarantees bounds on a model's size, on the number of models and on the whole; never holds a
listing of 50 MB, and never looks deeper than the path it was told.
"""

import codecs
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Literal

MAX_ITEM_CHARS = 1024 * 1024
MAX_ITEMS = 60_000
_BLANK = " \t\r\n"
_NUMBER_GOES_ON = re.compile(r"[-+.eE0-9]*")
_decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=Decimal)


class UnreadableListing(ValueError):
    """The bytes are no listing of the expected shape."""


class Items:
    """Feed bytes; `items` come out as they are complete.

    The models are the elements of the array, or the members of the object, that stands at `path`;
    at the top when the whole document is an array. Members come as (key, value). What else the
    objects on the way hold is kept in `rest`, for paging.
    """

    def __init__(self, path: tuple[str, ...], *, members: bool = False) -> None:
        self._path = path
        self._members = members
        self._decode = codecs.getincrementaldecoder("utf-8")("strict").decode
        self._text = ""
        self._at = 0
        # Objects that are open around the cursor, the models' own apart.
        self._depth = 0
        self._place: Literal["start", "outside", "list", "object", "end"] = "start"
        self._found = False
        self.count = 0
        self.rest: dict[str, Any] = {}

    def feed(self, data: bytes, *, last: bool = False) -> Iterator[Any]:
        """The items that became whole. UnreadableListing on anything that is no such JSON."""
        try:
            self._text = self._text[self._at :] + self._decode(data, last)
        except UnicodeDecodeError as error:
            raise UnreadableListing("not UTF-8") from error
        self._at = 0
        while (item := self._next(last)) is not _MORE:
            if item is not _SKIP:
                self.count += 1
                if self.count > MAX_ITEMS:
                    raise UnreadableListing(f"more than {MAX_ITEMS} models")
                yield item
        if len(self._text) - self._at > MAX_ITEM_CHARS:
            raise UnreadableListing(f"a model of more than {MAX_ITEM_CHARS} characters")
        if last and self._place != "end":
            raise UnreadableListing("it ends in the middle")
        if last and not self._found:
            raise UnreadableListing(f"no models at {'.'.join(self._path) or 'its top'}")

    def _next(self, last: bool) -> Any:
        """An item, _SKIP after a step without one, _MORE when bytes are missing."""
        char = self._peek()
        if char == "":
            return _MORE
        match self._place:
            case "start":
                return self._start(char)
            case "outside":
                return self._step_outside(char, last)
            case "end":
                raise UnreadableListing("text after the end")
        return self._step_inside(char, last)

    def _start(self, char: str) -> Any:
        self._at += 1
        if char == "[" and not self._members:
            self._enter("list")
        elif char == "{":
            self._depth = 1
            self._place = "outside"
            if self._members and not self._path:
                self._enter("object")
        else:
            raise UnreadableListing("neither a list nor an object")
        return _SKIP

    def _enter(self, place: Literal["list", "object"]) -> None:
        self._place, self._found = place, True

    def _step_inside(self, char: str, last: bool) -> Any:
        if char == ",":
            self._at += 1
            return _SKIP
        if char == ("]" if self._place == "list" else "}"):
            self._at += 1
            self._depth -= self._place == "object"
            self._place = "outside" if self._depth else "end"
            return _SKIP
        if self._place == "list":
            return self._value(self._at, last)
        start = self._at
        key = self._key(last)
        value = _MORE if key is _MORE else self._value(self._at, last)
        if value is _MORE:
            self._at = start
            return _MORE
        return key, value

    def _step_outside(self, char: str, last: bool) -> Any:
        """Within an object on the way to the models, or behind them."""
        if char == ",":
            self._at += 1
            return _SKIP
        if char == "}":
            self._at += 1
            self._depth -= 1
            if not self._depth:
                self._place = "end"
            return _SKIP
        start = self._at
        key = self._key(last)
        opening = "" if key is _MORE else self._peek()
        if opening == "":
            self._at = start
            return _MORE
        if self._opens(str(key), opening):
            return _SKIP
        value = self._value(self._at, last)
        if value is _MORE:
            self._at = start
            return _MORE
        self.rest[str(key)] = value
        return _SKIP

    def _opens(self, key: str, opening: str) -> bool:
        """Step into the value when it is on the path."""
        on_path = not self._found and self._depth <= len(self._path)
        if not on_path or key != self._path[self._depth - 1]:
            return False
        deepest = self._depth == len(self._path)
        if opening == "[" and deepest and not self._members:
            self._enter("list")
        elif opening == "{" and not (deepest and not self._members):
            self._depth += 1
            if deepest:
                self._enter("object")
        else:
            return False
        self._at += 1
        return True

    def _key(self, last: bool) -> Any:
        start = self._at
        key = self._value(start, last)
        if key is _MORE:
            return _MORE
        if not isinstance(key, str):
            raise UnreadableListing("an object without keys")
        colon = self._peek()
        if colon == "":
            self._at = start
            return _MORE
        if colon != ":":
            raise UnreadableListing("a key without a value")
        self._at += 1
        return key

    def _value(self, start: int, last: bool) -> Any:
        """The JSON value at the cursor, which moves behind it."""
        self._peek()
        try:
            value, end = _decoder.raw_decode(self._text, self._at)
        except (ValueError, ArithmeticError) as error:
            broken = last or len(self._text) - start > MAX_ITEM_CHARS
            if broken:
                raise UnreadableListing("broken JSON") from error
            self._at = start
            return _MORE
        except RecursionError as error:
            raise UnreadableListing("nested too deeply") from error
        # A number may go on in the next bytes.
        number = isinstance(value, int | Decimal) and not isinstance(value, bool)
        if number and not last and _NUMBER_GOES_ON.fullmatch(self._text, end):
            self._at = start
            return _MORE
        self._at = end
        return value

    def _peek(self) -> str:
        text, at = self._text, self._at
        while at < len(text) and text[at] in _BLANK:
            at += 1
        self._at = at
        return text[at] if at < len(text) else ""


_MORE: Any = object()
_SKIP: Any = object()


def read_whole(data: bytes, path: tuple[str, ...], *, members: bool = False) -> list[Any]:
    """All items of a listing that is in memory already."""
    return list(Items(path, members=members).feed(data, last=True))
