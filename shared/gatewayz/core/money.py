"""Money is an integer of nano-USD, always. Owns its text and JSON forms; no float ever."""

import orjson

NANOS_PER_USD = 1_000_000_000
MAX_CHARGE_NANOS = 10_000 * NANOS_PER_USD
MAX_WALLET_NANOS = 1_000_000 * NANOS_PER_USD


def usd_text(nanos: int) -> str:
    """Exact plain decimal: 1_500_000_000 → "1.5", 120 → "0.00000012", 0 → "0"."""
    sign = "-" if nanos < 0 else ""
    whole, rest = divmod(abs(nanos), NANOS_PER_USD)
    digits = f"{rest:09d}".rstrip("0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def usd_number(nanos: int) -> orjson.Fragment:
    """The same as a JSON number for orjson, without passing through a float."""
    return orjson.Fragment(usd_text(nanos).encode())


def parse_usd(text: str) -> int:
    """Nanos of a plain decimal in USD; ValueError when it is not exact or not a number."""
    sign, body = (-1, text[1:]) if text.startswith("-") else (1, text)
    whole, _, digits = body.partition(".")
    digits = digits.rstrip("0")
    if not text.isascii() or not whole.isdigit() or not (digits + "0").isdigit() or len(digits) > 9:
        raise ValueError(f"not an exact amount in USD: {text[:40]!r}")
    return sign * (int(whole) * NANOS_PER_USD + int(digits.ljust(9, "0") or "0"))
