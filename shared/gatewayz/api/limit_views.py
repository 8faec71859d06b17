"""Limits between their stored form and the one people see; money is US dollars there."""

from typing import Any

from gatewayz.accounts.limits import CONCURRENT, RATES
from gatewayz.api.key_fields import nanos_of
from gatewayz.api.schemas.limits import LimitFields, Spending
from gatewayz.core.money import usd_number

Row = dict[str, Any]
COUNTS = (*RATES, CONCURRENT)
NAMES = {unit + kind: name for name, (unit, kind, _) in RATES.items()} | {"rc": CONCURRENT}


def limits_stored(asked: LimitFields) -> Row:
    """What `asked` names, under the stored names."""
    given = {name: getattr(asked, name) for name in asked.model_fields_set}
    stored = {name: given[name] for name in COUNTS if name in given}
    if "limit" in given:
        stored["usd_nanos"] = nanos_of(given["limit"])
    if "limit_reset" in given:
        stored["reset"] = given["limit_reset"]
    for name in ("end_user", "session"):
        if name in given:
            stored[name] = _spending(given[name])
    return stored


def _spending(asked: Spending | None) -> Row | None:
    if asked is None:
        return None
    stored: Row = {"usd_nanos": nanos_of(asked.limit)}
    if asked.limit_reset is not None:
        stored["reset"] = asked.limit_reset
    return stored


def limits_shown(row: Row) -> Row:
    """Whose limits, where that is known, and all of them; None is no limit of its own."""
    limits: Row = row["limits"]
    shown: Row = {name: row[name] for name in ("account", "scope", "id", "title") if name in row}
    shown |= {name: limits.get(name) for name in COUNTS}
    shown |= _money(limits)
    for name in ("end_user", "session"):
        shown[name] = _money(limits[name]) if name in limits else None
    return shown


def _money(limits: Row) -> Row:
    most = limits.get("usd_nanos")
    return {
        "limit": None if most is None else usd_number(most),
        "limit_reset": limits.get("reset"),
    }


def use_shown(lines: str, reply: list[str] | None) -> list[Row]:
    """Each limit that holds, whose it is, what is left of it and the seconds until it is whole;
    `reply` None: Redis, which counts, does not say."""
    shown = []
    for number, line in enumerate(lines.split("\n") if lines else ()):
        what, limit, _, scope = line.split(" ", 3)
        money = what[0] in "np"
        left = None if reply is None else int(reply[2 * number])
        reset_ms = None if reply is None else int(reply[2 * number + 1])
        shown.append(
            {
                "name": NAMES.get(what, "limit"),
                "scope": scope.removeprefix("requests:").removeprefix("tokens:"),
                "limit": usd_number(int(limit)) if money else int(limit),
                "remaining": usd_number(left) if money and left is not None else left,
                "reset_s": None if reset_ms is None else -(-reset_ms // 1000),
            }
        )
    return shown
