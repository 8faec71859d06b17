"""What a caller is held to, as it travels with the principal: budgets, rates, the trial. Pure.

Owns the lines that the admission script reads (stores/lua/admit_v2.lua has their grammar) and the
meaning of the stored limits; an account without limits has no line, and costs nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

Row = Mapping[str, Any]
Numbers = Mapping[str, int]
# Stored name → how it is counted. What is of a minute or an hour is a bucket that refills evenly
# (GCRA) and holds the whole limit; what is of a day or a month counts in that UTC day or month.
RATES: Mapping[str, tuple[str, str, str]] = {
    "requests_per_minute": ("r", "m", ""),
    "requests_per_hour": ("r", "h", ""),
    "requests_per_day": ("r", "D", "day"),
    "requests_per_month": ("r", "M", "month"),
    "max_requests": ("r", "T", "total"),
    "tokens_per_minute": ("t", "m", ""),
    "tokens_per_hour": ("t", "h", ""),
    "tokens_per_day": ("t", "D", "day"),
    "tokens_per_month": ("t", "M", "month"),
}
CONCURRENT = "concurrent_requests"
KINDS = {"daily": "D", "weekly": "W", "monthly": "M", "total": "T"}
COUNTED = {"r": "requests:", "t": "tokens:"}
# Under velocity mode a tier keeps so much of its rates, in percent.
UNDER_STRAIN: Numbers = {"free": 50, "dev": 75, "team": 90, "enterprise": 100}
STRAINED = "mhc"
# A key nobody gave a rate has this one in a container without Redis.
DEFAULT_PER_MINUTE = 250


class Budget(NamedTuple):
    """`scope` names it with its kind (daily, weekly, monthly, total); nano-USD."""

    scope: str
    kind: str
    limit_nanos: int


@dataclass(frozen=True, slots=True)
class Trial:
    """`active`: its three limits hold; else only what costs nothing is served until a payment."""

    nanos: int
    tokens: int
    requests: int
    ends_at_ms: int
    active: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """`lines` for the admission script; `budgets` for a lease of one's own in Postgres.
    `end_user`, `session`: what each of them has, whoever it is; `end_users`: those with their own,
    by hash. `percent`: what velocity mode leaves of the rates. `seen` is filled by who uses them:
    what they left lately."""

    lines: str = ""
    budgets: tuple[Budget, ...] = ()
    end_user: tuple[str, int] | None = None
    session: int | None = None
    end_users: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    trial: Trial | None = None
    per_minute: int = DEFAULT_PER_MINUTE
    percent: int = 50
    seen: list[tuple[str, str, str, str]] = field(default_factory=list, compare=False, repr=False)

    def lines_of(self, end_user: str | None, session: str | None, *, strained: bool) -> str:
        """The lines of one request; hashes of whom it is made for."""
        lines = _strained(self.lines, self.percent) if strained else self.lines
        for budget in self._callers(end_user, session):
            lines += f"\nn{KINDS[budget.kind]} {budget.limit_nanos} - {budget.scope}"
        return lines.removeprefix("\n")

    def budgets_of(self, end_user: str | None, session: str | None) -> tuple[Budget, ...]:
        return self.budgets + self._callers(end_user, session)

    def _callers(self, end_user: str | None, session: str | None) -> tuple[Budget, ...]:
        if self.end_user is None and self.session is None and not self.end_users:
            return ()
        found: list[Budget] = []
        own = self.end_users.get(end_user, self.end_user) if end_user is not None else None
        if own is not None:
            found.append(Budget(f"user:{end_user}:{own[0]}", *own))
        if session is not None and self.session is not None:
            found.append(Budget(f"session:{session}:total", "total", self.session))
        return tuple(found)

    @property
    def free_only(self) -> bool:
        return self.trial is not None and not self.trial.active


NO_LIMITS = Limits()


def limits_of(row: Row, plans: Mapping[str, Numbers], default_plan: str | None = None) -> Limits:
    """From what find_principal says; `plans`: the limits of each plan of an account."""
    key, account = row.get("limits") or {}, row.get("account_limits") or {}
    team = row.get("team_limits") or {}
    plan = row.get("plan") or default_plan
    tier = plans.get(plan or "", {})
    trial = _trial(row.get("trial"))
    scopes: list[tuple[Row, str, Row]] = [
        (key, str(row.get("key_scope")), row.get("used") or {}),
        (team, str(row.get("team_scope")), {}),
        # What an account has of its own stands in place of its plan's.
        ({**tier, **account}, "account", row.get("account_used") or {}),
    ]
    lines: list[str] = []
    for stored, scope, used in scopes:
        lines += _rate_lines(stored, scope, used)
    budgets = [(Budget(*b[:3]), str(b[3])) for b in row.get("budgets") or ()]
    lines += [f"n{KINDS[b.kind]} {b.limit_nanos} {seed} {b.scope}" for b, seed in budgets]
    if trial is not None and trial.active:
        lines += [
            f"pT {trial.nanos} - trial:nanos",
            f"rT {trial.requests} - trial:requests",
            f"uT {trial.tokens} - trial:tokens",
        ]
    end_user = _template(key, "end_user") or _template(account, "end_user")
    session = _template(key, "session") or _template(account, "session")
    end_users = {k: t for k, v in (row.get("end_users") or {}).items() if (t := _money(v))}
    if not lines and not (end_user or session or end_users or trial):
        return NO_LIMITS
    return Limits(
        "\n".join(lines),
        tuple(budget for budget, _ in budgets),
        end_user,
        session[1] if session else None,
        end_users,
        trial,
        _number(key, "requests_per_minute") or DEFAULT_PER_MINUTE,
        UNDER_STRAIN.get(plan or "", 50),
    )


def _rate_lines(stored: Row, scope: str, used: Row) -> list[str]:
    lines = []
    for name, (unit, kind, period) in RATES.items():
        limit = _number(stored, name)
        if limit is None:
            continue
        seed = "-"
        if period in used:
            label, requests, tokens = used[period]
            seed = f"{label}={requests if unit == 'r' else tokens}"
        lines.append(f"{unit}{kind} {limit} {seed} {COUNTED[unit]}{scope}")
    slots = _number(stored, CONCURRENT)
    if slots is not None:
        lines.append(f"rc {slots} - {scope}")
    return lines


def _number(stored: Row, name: str) -> int | None:
    value = stored.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _money(stored: Any) -> tuple[str, int] | None:
    most = stored.get("usd_nanos") if isinstance(stored, Mapping) else None
    if not isinstance(most, int) or isinstance(most, bool) or most < 0:
        return None
    kind = stored.get("reset") or "total"
    return (kind if kind in KINDS else "total", most)


def _template(stored: Row, name: str) -> tuple[str, int] | None:
    return _money(stored.get(name))


def _trial(stored: Row | None) -> Trial | None:
    if not stored:
        return None
    return Trial(
        stored["nanos"], stored["tokens"], stored["requests"], stored["ends_at_ms"],
        bool(stored["active"]),
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _strained(lines: str, percent: int) -> str:
    """The same with what velocity mode leaves of its rates; quotas and budgets stay."""
    if percent >= 100 or not lines:
        return lines
    out = []
    for line in lines.split("\n"):
        what, limit, rest = line.split(" ", 2)
        if what[1] in STRAINED:
            limit = str(max(1, int(limit) * percent // 100))
        out.append(f"{what} {limit} {rest}")
    return "\n".join(out)
