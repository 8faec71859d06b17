"""One model as one provider lists it, and how a listed number becomes USD per 10^6 units.

Guarantees that a unit is declared by the listing's row, never guessed from a magnitude, and that
what cannot be read as a price is a problem with a name, never 0.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

Item = Mapping[str, Any]
Rates = Mapping[str, Decimal]

MILLION = Decimal(1_000_000)
# What one listed number is worth in USD per 10^6 units.
UNITS: Mapping[str, Decimal] = {
    "usd_per_token": MILLION,
    "usd_per_million": Decimal(1),
    "cents_per_token": Decimal(10_000),
    "usd_1e4_per_million": Decimal("0.0001"),
    # Every price says its own: what the reader of such a shape makes of it.
    "stated": Decimal(0),
    "none": Decimal(0),
}
# JSON numbers went through binary floats on their way; what is left beyond this is noise.
FLOAT_DIGITS = 12
# A price times a listed ratio is as exact as the ratio, which has eight digits at most.
RATIO_DIGITS = 6
MAX_ID_CHARS = 200
MAX_TEXT_CHARS = 2000
MAX_COUNT = 10**9
# A negative price says "it depends": the price of a router. It is none, and no mistake.
VARIABLE = "variable"


@dataclass(frozen=True, slots=True)
class Row:
    """`rates`: class → USD per 10^6 units; empty when the listing states none.

    `tiers`: (above so many input tokens, rates), rising. `problems` name what is stated and
    cannot be a price. `free`: the provider itself declares it to cost nothing. `canonical`: the
    vendor/name that the listing gives it, "" where ids are the provider's own.
    """

    native_id: str
    name: str = ""
    description: str = ""
    created_s: int = 0
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    max_prompt_tokens: int | None = None
    input_modalities: tuple[str, ...] = ()
    output_modalities: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    reasons: bool = False
    quantization: str | None = None
    region: str | None = None
    confidential: bool = False
    zdr: bool = False
    hugging_face_id: str | None = None
    tokenizer: str = ""
    knowledge_cutoff: str | None = None
    deprecated_at: str | None = None
    is_moderated: bool | None = None
    canonical: str = ""
    aliases: tuple[str, ...] = ()
    rates: Rates = field(default_factory=dict)
    tiers: tuple[tuple[int, Rates], ...] = ()
    free: bool = False
    problems: tuple[str, ...] = ()
    benchmarks: Mapping[str, float] = field(default_factory=dict)
    hf_downloads: int | None = None
    hf_likes: int | None = None


class RateReader:
    """Collects the rates of one row. `factor` turns a listed number into USD per 10^6 units."""

    def __init__(self, factor: Decimal) -> None:
        self.rates: dict[str, Decimal] = {}
        self.problems: list[str] = []
        self._factor = factor

    def add(self, name: str, value: Any, factor: Decimal | None = None) -> None:
        """Read `value` as the rate of class `name`; absent and empty values state nothing."""
        if value is None or value == "" or not (factor or self._factor):
            return
        number = number_of(value)
        if number is None or not number.is_finite():
            self.problems.append(f"{name}: {str(value)[:40]!r} is no number")
        elif number < 0:
            self.problems.append(VARIABLE if number == -1 else f"{name}: {number} is negative")
        else:
            self.rates[name] = (number * (factor or self._factor)).normalize()

    def scaled(self, name: str, of: str, ratio: Any) -> None:
        """Class `name` costs `ratio` times what class `of` does."""
        share = number_of(ratio)
        if share is not None and share > 0 and of in self.rates:
            self.rates[name] = significant(self.rates[of] * share, RATIO_DIGITS)

    def stated(self) -> Rates:
        """Rates without the zeros that listings write for "none" beside real prices."""
        return {name: rate for name, rate in self.rates.items() if rate}

    @property
    def all_zero(self) -> bool:
        """Prices are stated, and every one of them is 0."""
        return bool(self.rates) and not any(self.rates.values())


def number_of(value: Any) -> Decimal | None:
    """A listed number: exact when it is text, else rounded to what a float holds."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            return Decimal(value.strip().removeprefix("$").replace("_", "x"))
        except InvalidOperation:
            return None
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, Decimal | float):
        number = Decimal(repr(value)) if isinstance(value, float) else value
        return significant(number, FLOAT_DIGITS) if number.is_finite() else number
    return None


def significant(number: Decimal, digits: int) -> Decimal:
    """`number` rounded to so many significant digits."""
    if not number:
        return Decimal(0)
    return round(number, digits - 1 - number.adjusted()).normalize()


def text_of(value: Any, most: int = MAX_TEXT_CHARS) -> str:
    """One line of printable text; "" for anything else."""
    if not isinstance(value, str):
        return ""
    return re.sub(r"[\x00-\x1f\x7f\s]+", " ", value).strip()[:most]


def id_of(value: Any) -> str:
    """A native id: any text without blanks or control characters; "" for anything else."""
    plain = isinstance(value, str) and len(value) <= MAX_ID_CHARS
    return str(value) if plain and re.fullmatch(r"[!-~]+", value) else ""


def count_of(*values: Any) -> int | None:
    """The first whole number above 0, None when there is none."""
    for value in values:
        number = number_of(value)
        if number is not None and number.is_finite() and 0 < number <= MAX_COUNT:
            return int(number)
    return None


def words_of(value: Any) -> tuple[str, ...]:
    """A list of short words, or one text of them with commas; in lower case, each once."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list):
        return ()
    words = (part.strip().lower() for part in parts if isinstance(part, str))
    return tuple(dict.fromkeys(w for w in words if re.fullmatch(r"[a-z0-9_.+-]{1,40}", w)))


def at(item: Any, *path: str) -> Any:
    """The value at a path of keys, None when there is none."""
    for key in path:
        item = item.get(key) if isinstance(item, Mapping) else None
    return item


def table(value: Any) -> Item:
    return value if isinstance(value, Mapping) else {}


def day_of(value: Any) -> str | None:
    """YYYY-MM-DD (or YYYY-MM) of a date text or of Unix seconds, None when it is neither."""
    if isinstance(value, str) and (found := re.match(r"\d{4}-\d{2}(-\d{2})?", value)):
        return found[0]
    seconds = second_of(value)
    return datetime.fromtimestamp(seconds, tz=UTC).date().isoformat() if seconds else None


def second_of(value: Any) -> int:
    """Unix seconds of a number or an ISO date; 0 when unknown."""
    if isinstance(value, str):
        try:
            day = datetime.fromisoformat(value)
        except ValueError:
            return 0
        return max(0, int((day if day.tzinfo else day.replace(tzinfo=UTC)).timestamp()))
    number = count_of(value)
    # Past the year 2286: milliseconds, or nonsense.
    return number if number is not None and number < 10**10 else 0


# Modalities by all the words that listings have for them.
_MODALITIES = {"pdf": "file", "transcription": "text", "speech": "audio", "embedding": "embeddings"}


def modalities_of(value: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_MODALITIES.get(word, word) for word in words_of(value)))


# Names that only models of vectors have.
_VECTORS = re.compile(r"embed|(^|[/-])(bge|gte|voyage)-(?!reranker)")


def is_vectors(native_id: str) -> bool:
    """Whether the name alone says that the model gives vectors."""
    return _VECTORS.search(native_id.lower()) is not None


def tier_rows(tiers: Iterable[tuple[int | None, Rates]]) -> tuple[tuple[int, Rates], ...]:
    """Tiers in rising order, without those that say nothing."""
    known = {above: rates for above, rates in tiers if above and rates}
    return tuple(sorted(known.items()))
