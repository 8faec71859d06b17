"""The catalogue's metrics as Prometheus reads them: names, help, text. Pure.

Amounts are told in USD, exactly; times in seconds.
"""

from collections.abc import Iterable, Iterator

from gatewayz.core.metrics import PER_SECOND, Metric, catalogue
from gatewayz.core.money import NANOS_PER_USD
from gatewayz.telemetry.totals import Sample, Samples

PREFIX = "gatewayz_"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def full_name(name: str, known: Metric) -> str:
    """`requests` becomes gatewayz_requests_total, `duration` gatewayz_duration_seconds."""
    unit = ""
    if known.unit in PER_SECOND:
        unit = "_seconds"
    elif known.unit == "Nanodollars":
        unit = "_usd"
    return f"{PREFIX}{name}{unit}{'_total' if known.kind == 'counter' else ''}"


def series_names() -> set[str]:
    """Every name that a query may use."""
    names = set()
    for name, known in catalogue().items():
        full = full_name(name, known)
        if known.kind == "histogram":
            names |= {f"{full}_bucket", f"{full}_sum", f"{full}_count"}
        else:
            names.add(full)
    return names


def render(samples: Samples, *, openmetrics: bool = False) -> str:
    lines: list[str] = []
    for name, known in catalogue().items():
        found = samples.get(name)
        if not found:
            continue
        full = full_name(name, known)
        # OpenMetrics names the family, without the suffix that its samples have.
        family = full.removesuffix("_total") if openmetrics else full
        lines.append(f"# HELP {family} {known.help}")
        lines.append(f"# TYPE {family} {known.kind}")
        for sample in sorted(found):
            lines += _lines(full, known, sample)
    if openmetrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


def _lines(full: str, known: Metric, sample: Sample) -> Iterator[str]:
    labels = list(zip(known.labels, sample.labels, strict=True))
    if known.kind != "histogram":
        yield f"{full}{_labels(labels)} {_number(known, sample.number)}"
        return
    total = 0
    edges = [*(_number(known, bound) for bound in known.bounds), "+Inf"]
    for edge, count in zip(edges, sample.counts, strict=True):
        total += count
        yield f"{full}_bucket{_labels([*labels, ('le', edge)])} {total}"
    yield f"{full}_sum{_labels(labels)} {_number(known, sample.number)}"
    yield f"{full}_count{_labels(labels)} {total}"


def _labels(pairs: Iterable[tuple[str, str]]) -> str:
    text = ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in pairs)
    return "{" + text + "}" if text else ""


def _number(known: Metric, value: int) -> str:
    per = PER_SECOND.get(known.unit) or (NANOS_PER_USD if known.unit == "Nanodollars" else 1)
    if per == 1:
        return str(value)
    whole, rest = divmod(abs(value), per)
    digits = str(rest).rjust(len(str(per)) - 1, "0").rstrip("0")
    return f"{'-' if value < 0 else ''}{whole}{'.' + digits if digits else ''}"
