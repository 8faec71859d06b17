"""Counts of what a request used, in disjoint billing classes (D16)."""

from collections.abc import Mapping
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
INPUT_CLASSES = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "audio_in", "image_in")
OUTPUT_CLASSES = ("output", "reasoning", "audio_out", "image_out")
MAX_UNITS = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Usage:
    """`units`: class → count ≥ 0. Classes are disjoint, so totals are sums."""

    units: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, count in self.units.items():
            if name not in CLASSES or not 0 <= count <= MAX_UNITS:
                raise ValueError(f"bad usage {name}={count}")

    @property
    def input_tokens(self) -> int:
        return sum([count for name, count in self.units.items() if name in INPUT_CLASSES])

    @property
    def output_tokens(self) -> int:
        return sum([count for name, count in self.units.items() if name in OUTPUT_CLASSES])
