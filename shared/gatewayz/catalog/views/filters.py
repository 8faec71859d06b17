"""Choosing and ordering models: every filter and sort of the public lists. Pure.

Guarantees that what is unknown never passes a bound and comes last in every order.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import ceil, floor
from typing import Literal, NamedTuple, get_args

from gatewayz.catalog.views.rows import Row
from gatewayz.core.money import NANOS_PER_USD

Sort = Literal[
    "most-popular", "newest", "top-weekly", "pricing-low-to-high", "pricing-high-to-low",
    "context-high-to-low", "throughput-high-to-low", "latency-low-to-high",
    "intelligence-high-to-low", "coding-high-to-low", "agentic-high-to-low",
    "design-arena-elo-high-to-low",
]  # fmt: skip
SORTS: tuple[str, ...] = get_args(Sort)
# Orders that our own usage decides.
MEASURED = frozenset(
    {"most-popular", "top-weekly", "throughput-high-to-low", "latency-low-to-high"}
)
ALL = "all"
DAY_S = 86_400


class Measured(NamedTuple):
    """What our own traffic says of a model; None where there was none."""

    requests: int = 0
    tokens: int = 0
    tokens_week: int = 0
    latency_ms: float | None = None  # median time to the first token
    throughput: float | None = None  # median output tokens per second
    tool_success: float | None = None  # share of requests that ended in tool calls


Usage = Mapping[str, Measured]
NO_USAGE: Usage = {}


@dataclass(frozen=True, slots=True)
class Filters:
    """Prices are USD per 10^6 tokens unless named otherwise; lists are alternatives or demands
    as their field says. None and empty: no filter."""

    q: str = ""  # in id or name
    text: str = ""  # in id, name, description or host
    category: str = ""
    supported_parameters: tuple[str, ...] = ()  # all of them
    input_modalities: tuple[str, ...] = ()  # all of them
    output_modalities: tuple[str, ...] = ()  # any of them; "all": no filter
    modality: str = ""  # read or written
    arch: str = ""
    model_authors: tuple[str, ...] = ()  # any of them
    providers: tuple[str, ...] = ()  # any of them, by slug or name
    provider: str = ""  # an author or a host
    gateways: tuple[str, ...] = ()  # any of them, by slug
    distillable: bool | None = None
    zdr: bool | None = None
    region: str = ""
    is_private: bool | None = None
    context: int | None = None
    max_context: int | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    min_output_price: Decimal | None = None
    max_output_price: Decimal | None = None
    min_mean_price: Decimal | None = None  # of prompt and completion
    max_mean_price: Decimal | None = None
    min_age_days: int | None = None
    max_age_days: int | None = None
    scores: tuple[tuple[str, float | None, float | None], ...] = ()  # name, least, most
    min_tool_success_rate: float | None = None
    max_tool_success_rate: float | None = None


Test = Callable[[Row], bool]


def choose(
    rows: Iterable[Row], filters: Filters, *, now_s: int, usage: Usage = NO_USAGE
) -> list[Row]:
    """The rows that pass every filter, in their order."""
    chosen = list(rows)
    for test in (*_words(filters), *_bounds(filters, now_s), *_measures(filters, usage)):
        chosen = [row for row in chosen if test(row)]
    return chosen


def _words(f: Filters) -> Iterable[Test]:
    if f.q:
        needle = f.q.lower()
        yield lambda row: needle in row.names
    if f.text:
        sought = f.text.lower()
        yield lambda row: sought in row.text
    if f.category:
        yield lambda row: f.category in row.categories
    if f.supported_parameters:
        parameters = frozenset(f.supported_parameters)
        yield lambda row: parameters <= row.parameters
    if f.input_modalities:
        inputs = frozenset(f.input_modalities)
        yield lambda row: inputs <= row.inputs
    if f.output_modalities and ALL not in f.output_modalities:
        outputs = frozenset(f.output_modalities)
        yield lambda row: not outputs.isdisjoint(row.outputs)
    if f.modality:
        yield _has_modality(f.modality.lower())
    if f.arch:
        family = f.arch.lower()
        yield lambda row: row.tokenizer.startswith(family)
    if f.model_authors:
        authors = frozenset(f.model_authors)
        yield lambda row: row.author in authors
    if f.providers:
        hosts = frozenset(f.providers)
        yield lambda row: not hosts.isdisjoint(row.hosts)
    if f.provider:
        either = f.provider.lower()
        yield lambda row: row.author == either or either in row.hosts
    if f.gateways:
        gateways = frozenset(f.gateways)
        yield lambda row: not gateways.isdisjoint(row.gateways)
    if f.distillable:
        # No feed says which model's text may train another one, so none is known to be.
        yield lambda row: False
    if f.zdr:
        yield lambda row: row.zdr
    if f.region:
        start = f.region.lower() + "-"
        yield lambda row: any((r + "-").startswith(start) for r in row.regions)
    if f.is_private is not None:
        yield lambda row: row.private is f.is_private


def _has_modality(word: str) -> Test:
    if word == "multimodal":
        return lambda row: len(row.inputs | row.outputs) > 1
    return lambda row: word in row.inputs or word in row.outputs


def _bounds(f: Filters, now_s: int) -> Iterable[Test]:
    if f.context is not None or f.max_context is not None:
        yield _within(lambda row: row.model.context_tokens, f.context, f.max_context)
    for value, least, most in (
        (lambda row: row.prompt_nanos, f.min_price, f.max_price),
        (lambda row: row.output_nanos, f.min_output_price, f.max_output_price),
        (both_nanos, _twice(f.min_mean_price), _twice(f.max_mean_price)),
    ):
        if least is not None or most is not None:
            low_nanos = None if least is None else ceil(least * NANOS_PER_USD)
            high_nanos = None if most is None else floor(most * NANOS_PER_USD)
            yield _within(value, low_nanos, high_nanos)
    if f.min_age_days is not None or f.max_age_days is not None:
        latest = None if f.min_age_days is None else now_s - f.min_age_days * DAY_S
        earliest = None if f.max_age_days is None else now_s - f.max_age_days * DAY_S
        yield _within(lambda row: row.model.created_s or None, earliest, latest)
    for name, low, high in f.scores:
        yield _within(_score(name), low, high)


def _measures(f: Filters, usage: Usage) -> Iterable[Test]:
    low, high = f.min_tool_success_rate, f.max_tool_success_rate
    if low is not None or high is not None:
        none = Measured()
        yield _within(lambda row: usage.get(row.model.id, none).tool_success, low, high)


Value = Callable[[Row], "float | None"]


def _within(value: Value, least: float | None, most: float | None) -> Test:
    def test(row: Row) -> bool:
        known = value(row)
        if known is None:
            return False
        return (least is None or known >= least) and (most is None or known <= most)

    return test


def _twice(usd: Decimal | None) -> Decimal | None:
    return None if usd is None else 2 * usd


def _score(name: str) -> Value:
    return lambda row: row.model.benchmarks.get(name)


def both_nanos(row: Row) -> int | None:
    """Prompt and completion together, per 10^6 tokens of each: twice their mean."""
    if row.prompt_nanos is None or row.output_nanos is None:
        return None
    return row.prompt_nanos + row.output_nanos


# ---------------------------------------------------------------- orders


def order(rows: Sequence[Row], sort: str | None, usage: Usage = NO_USAGE) -> list[Row]:
    """`rows` in the order asked for, a tie and what has no value as it was, the latter last."""
    if sort is None:
        return list(rows)
    value, falling = _order_of(sort, usage)
    return sorted_by(rows, value, falling=falling)


def sorted_by(rows: Iterable[Row], value: Value, *, falling: bool) -> list[Row]:
    known: list[tuple[float, Row]] = []
    unknown: list[tuple[None, Row]] = []
    for row in rows:
        key = value(row)
        if key is None:
            unknown.append((None, row))
        else:
            known.append((key, row))
    known.sort(key=lambda pair: pair[0], reverse=falling)
    return [row for _, row in known] + [row for _, row in unknown]


def _order_of(sort: str, usage: Usage) -> tuple[Value, bool]:
    none = Measured()

    def of(row: Row) -> Measured:
        return usage.get(row.model.id, none)

    orders: Mapping[str, tuple[Value, bool]] = {
        "most-popular": (lambda row: of(row).requests or None, True),
        "top-weekly": (lambda row: of(row).tokens_week or None, True),
        "throughput-high-to-low": (lambda row: of(row).throughput, True),
        "latency-low-to-high": (lambda row: of(row).latency_ms, False),
        "newest": (lambda row: row.model.created_s or None, True),
        "pricing-low-to-high": (both_nanos, False),
        "pricing-high-to-low": (both_nanos, True),
        "context-high-to-low": (lambda row: row.model.context_tokens, True),
        "intelligence-high-to-low": (_score("intelligence_index"), True),
        "coding-high-to-low": (_score("coding_index"), True),
        "agentic-high-to-low": (_score("agentic_index"), True),
        "design-arena-elo-high-to-low": (_score("task:design_arena"), True),
    }
    return orders[sort]
