"""The catalog that ships with the code: a sorted text file, one line for each name.

A line is a model's id and its record, or an alias and `=` with the id it stands for. Finding a
name is a binary search in a mapped file: nothing is parsed but the line asked for. Made by
build.py; says of which day it is.
"""

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import orjson

from gatewayz.catalog.model import Entry
from gatewayz.catalog.record import decode

BUNDLED = Path(__file__).with_name("bundled.txt")
# The first line: it sorts before every name, and no name begins so.
HEAD = b"!"
ALIAS = b"="


@dataclass(frozen=True, slots=True)
class About:
    """`built` is the newest day (YYYY-MM-DD) of the facts in it, `oldest` the oldest one."""

    built: str
    oldest: str
    models: int
    offers: int
    priced: int


class Bundle:
    """Open once per process; the system shares its pages between processes."""

    def __init__(self, path: Path = BUNDLED) -> None:
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._start = self._data.find(b"\n") + 1

    @property
    def about(self) -> About:
        return About(**orjson.loads(self._data[len(HEAD) : self._start]))

    def find(self, model_id: str) -> Entry | None:
        """The model of exactly this id."""
        text = self._find(model_id)
        return None if text is None or text.startswith(ALIAS) else decode(text)

    def alias(self, name: str) -> str | None:
        """The id that `name`, in lower case, is an alias of."""
        text = self._find(name)
        return text[len(ALIAS) :].decode() if text and text.startswith(ALIAS) else None

    def names(self) -> list[str]:
        """Every model's id, sorted by bytes."""
        return [line.partition(b"\t")[0].decode() for line in self._lines() if b"\t=" not in line]

    def entries(self) -> Iterator[Entry]:
        """Every model, in the order of their ids."""
        for line in self._lines():
            text = line.partition(b"\t")[2]
            if not text.startswith(ALIAS):
                yield decode(text)

    def aliases(self) -> Mapping[str, str]:
        """Lower-case alias → id."""
        known = {}
        for line in self._lines():
            name, _, text = line.partition(b"\t")
            if text.startswith(ALIAS):
                known[name.decode()] = text[len(ALIAS) :].decode()
        return known

    def _lines(self) -> list[bytes]:
        return self._data[self._start :].splitlines()

    def _find(self, name: str) -> bytes | None:
        """What stands behind `name` and its tab."""
        data, key = self._data, name.encode("utf-8", "replace")
        low, high = self._start, len(data)
        while low < high:
            middle = (low + high) // 2
            start = data.rfind(b"\n", low, middle) + 1 or low
            end = data.find(b"\n", start)
            tab = data.find(b"\t", start, end)
            found = data[start:tab]
            if found == key:
                return data[tab + 1 : end]
            if found < key:
                low = end + 1
            else:
                high = start
        return None


@cache
def open_bundle() -> Bundle:
    """The process's own."""
    return Bundle()


def write_bundle(
    path: Path, entries: Mapping[str, bytes], aliases: Mapping[str, str], about: About
) -> None:
    """Records by id and aliases as one sorted file. ValueError when a name would not be found."""
    lines = {name.encode(): text for name, text in entries.items()}
    for alias, model_id in aliases.items():
        lines.setdefault(alias.encode(), ALIAS + model_id.encode())
    for name, text in lines.items():
        if b"\t" in name or b"\n" in name + text or name.startswith(HEAD):
            raise ValueError(f"{name!r} cannot be a line's name")
    head = HEAD + orjson.dumps(
        {
            "built": about.built,
            "oldest": about.oldest,
            "models": about.models,
            "offers": about.offers,
            "priced": about.priced,
        }
    )
    body = (name + b"\t" + lines[name] for name in sorted(lines))
    path.write_bytes(b"\n".join([head, *body]) + b"\n")
