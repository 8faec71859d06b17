"""Counts of what a request used, in disjoint billing classes (D16)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

CLASSES = (
    "input",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "output",
    "reasoning",
    "audio_in",
    "audio_out",
    "image_in",
    "image_out",
    "second",
    "request",
    "search",
)
INPUT_CLASSES = frozenset(
    ("input", "cache_read", "cache_write_5m", "cache_write_1h", "audio_in", "image_in")
)
OUTPUT_CLASSES = frozenset(("output", "reasoning", "audio_out", "image_out"))
_KNOWN = frozenset(CLASSES)
MAX_UNITS = 2**53 - 1


@dataclass(slots=True)
class Usage:
    """`units`: class → count ≥ 0. Classes are disjoint, so totals are sums. `calls`: of a request
    that was several calls of its provider, each one's own, since a rate may follow its length.
    Never changed."""

    units: Mapping[str, int] = field(default_factory=dict)
    calls: "tuple[Usage, ...]" = ()
    input_tokens: int = field(default=0, init=False, compare=False)
    output_tokens: int = field(default=0, init=False, compare=False)

    @classmethod
    def of_calls(cls, calls: "Iterable[Usage]") -> "Usage":
        """The usage of several calls together."""
        several = tuple(calls)
        units: dict[str, int] = {}
        for usage in several:
            for name, count in usage.units.items():
                units[name] = units.get(name, 0) + count
        return cls(units, several)

    def __post_init__(self) -> None:
        read = written = 0
        for name, count in self.units.items():
            if name not in _KNOWN or not 0 <= count <= MAX_UNITS:
                raise ValueError(f"bad usage {name}={count}")
            if name in INPUT_CLASSES:
                read += count
            elif name in OUTPUT_CLASSES:
                written += count
        self.input_tokens, self.output_tokens = read, written
