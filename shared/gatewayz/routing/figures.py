"""Rolling percentiles of real traffic: counts in logarithmic buckets, added up over processes.

A bucket is a quarter of an octave wide, so a percentile is right within 9 %.
"""

import math
from collections.abc import Mapping

PER_OCTAVE = 4
MAX_BUCKET = 79
QUANTILES: Mapping[str, float] = {"p50": 0.50, "p75": 0.75, "p90": 0.90, "p99": 0.99}
Counts = Mapping[int, int]


def bucket_of(value: float) -> int:
    """The bucket of a value ≥ 0: milliseconds, or tokens per second."""
    if value <= 1:
        return 0
    return min(round(math.log2(value) * PER_OCTAVE), MAX_BUCKET)


def value_of(bucket: int) -> float:
    return float(2 ** (bucket / PER_OCTAVE))


def quantile(counts: Counts, share: float) -> float | None:
    """The value that `share` of what was counted does not exceed; None when nothing was."""
    total = sum(counts.values())
    if not total:
        return None
    wanted = share * total
    for bucket in sorted(counts):
        wanted -= counts[bucket]
        if wanted <= 0:
            return value_of(bucket)
    return value_of(max(counts))


def percentiles(
    counts: Counts, *, scale: float = 1.0, descending: bool = False
) -> dict[str, float]:
    """p50 to p99 in units of `scale`; empty without data. `descending`: larger is better, so
    that p99 is what 99 of 100 reach."""
    found = {}
    for name, share in QUANTILES.items():
        value = quantile(counts, 1 - share if descending else share)
        if value is not None:
            found[name] = value / scale
    return found
