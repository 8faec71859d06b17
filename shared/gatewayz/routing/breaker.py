"""The breaker of one offer or provider: a pure transition function over a row of integers.

The same function stands in stores/lua/health_v2.lua, where all processes share it; a property test
runs both side by side. Here it carries a process over the time in which Redis is away.
"""

from collections.abc import Sequence

# The places of a row. Times are milliseconds of whoever keeps it; 0 means never.
FAILS = 0  # in a row
OPENED = 1  # how many times it opened without five quiet minutes in between
UNTIL = 2  # open until; past it half open; 0 closed
PROBE = 3  # a half-open one is being tried until
CLOSED_AT = 4
OUTAGE = 5  # the last outage
COOL = 6  # its provider asked us to wait until
HIDDEN = 7  # 1: it does not serve the model; 2: a person took it out of service
LOW = 8  # its provider has little credit until
SHAKY = 9  # demoted until
SHOOK = 10  # how many times it was demoted without a quiet time in between
SLOT = 11  # the ten seconds that the first places of the window count
REQUESTS = 12  # six counts of requests, newest first
ERRORS = 18  # six counts of failures
SIZE = 24
FOUND_MISSING, BY_HAND = 1, 2
SLOTS = 6
SLOT_MS = 10_000

MAX_FAILS = 5
OUTAGE_FAILS = 3
MIN_REQUESTS = 20
OPEN_MS = 30_000
MAX_OPEN_MS = 300_000
# An open time is this many thousandths of its length, and up to as many again as 1000 miss.
STEADY_PERMILLE = 900
QUIET_MS = 300_000
PROBE_MS = 30_000
SHAKY_MS = 60_000
MAX_SHAKY = 5
MAX_COOL_MS = 300_000

Row = list[int]


def new_row() -> Row:
    return [0] * SIZE


def apply(row: Sequence[int], event: str, now_ms: int, jitter: int) -> tuple[Row, bool]:
    """(the row after one event, whether a probe was granted). `jitter` is 0–999.

    Events: sN successes · y one that began while it was open · f a failure · o open at once ·
    cN throttled for N ms · p may I probe? · x a probe was not used · r it works again ·
    LN little credit for N ms · H1 hidden until it answers · H2 until H0 · H0 shown.
    """
    after = _advance(row, now_ms)
    kind, argument = event[0], int(event[1:] or 0)
    if kind == "s":
        _succeed(after, argument, now_ms)
    elif kind == "y":
        _succeed(after, 1, now_ms)
        _close(after, now_ms)
    elif kind == "r":
        _close(after, now_ms)
        after[COOL] = after[SHAKY] = 0
    elif kind == "f":
        _fail(after, now_ms, jitter)
    elif kind == "o":
        _open(after, now_ms, jitter)
    elif kind == "c":
        after[COOL] = max(after[COOL], now_ms + min(argument, MAX_COOL_MS))
    elif kind == "p":
        if 0 < after[UNTIL] <= now_ms and after[PROBE] <= now_ms:
            after[PROBE] = now_ms + PROBE_MS
            return after, True
    elif kind == "x":
        after[PROBE] = 0
    elif kind == "L":
        after[LOW] = now_ms + argument if argument else 0
    elif kind == "H" and (argument != FOUND_MISSING or after[HIDDEN] != BY_HAND):
        after[HIDDEN] = argument
    return after, False


def _advance(row: Sequence[int], now_ms: int) -> Row:
    """The row with its window moved on to now."""
    after = list(row)
    slot = now_ms // SLOT_MS
    steps = min(max(slot - after[SLOT], 0), SLOTS)
    if steps:
        for start in (REQUESTS, ERRORS):
            counts = [0] * steps + after[start : start + SLOTS - steps]
            after[start : start + SLOTS] = counts
        after[SLOT] = slot
    return after


def _succeed(row: Row, count: int, now_ms: int) -> None:
    row[REQUESTS] += count
    row[FAILS] = 0
    _show(row)
    if 0 < row[UNTIL] <= now_ms:
        _close(row, now_ms)


def _close(row: Row, now_ms: int) -> None:
    if row[UNTIL]:
        row[CLOSED_AT] = now_ms
    row[UNTIL] = row[PROBE] = row[FAILS] = 0
    _show(row)


def _show(row: Row) -> None:
    """An answer proves that the offer is there, and nothing about what people do with it."""
    if row[HIDDEN] == FOUND_MISSING:
        row[HIDDEN] = 0


def _fail(row: Row, now_ms: int, jitter: int) -> None:
    row[REQUESTS] += 1
    row[ERRORS] += 1
    if row[UNTIL] > now_ms:
        return
    row[FAILS] += 1
    if row[FAILS] >= OUTAGE_FAILS:
        row[OUTAGE] = now_ms
    requests = sum(row[REQUESTS : REQUESTS + SLOTS])
    errors = sum(row[ERRORS : ERRORS + SLOTS])
    enough = requests >= MIN_REQUESTS
    if row[UNTIL] or row[FAILS] >= MAX_FAILS or (enough and errors * 2 >= requests):
        _open(row, now_ms, jitter)
    elif enough and errors * 10 >= requests and row[SHAKY] <= now_ms:
        quiet = row[SHAKY] + QUIET_MS < now_ms
        row[SHOOK] = 1 if quiet else min(row[SHOOK] + 1, MAX_SHAKY)
        row[SHAKY] = now_ms + SHAKY_MS * row[SHOOK]


def _open(row: Row, now_ms: int, jitter: int) -> None:
    quiet = row[CLOSED_AT] > 0 and row[CLOSED_AT] + QUIET_MS <= now_ms
    row[OPENED] = 1 if quiet else row[OPENED] + 1
    length = min(OPEN_MS * row[OPENED], MAX_OPEN_MS)
    permille = STEADY_PERMILLE + jitter * (1000 - STEADY_PERMILLE) // 500
    row[UNTIL] = now_ms + min(length * permille // 1000, MAX_OPEN_MS)
    row[FAILS] = row[PROBE] = row[CLOSED_AT] = 0
    row[OUTAGE] = now_ms
    # What opened it must not open it again after it closed.
    row[REQUESTS : REQUESTS + 2 * SLOTS] = [0] * (2 * SLOTS)
