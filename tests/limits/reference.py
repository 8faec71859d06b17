"""What limits mean, written down a second time: integers, one call after the other, no store."""

import datetime
from dataclasses import dataclass, field

SPAN_US = {"m": 60_000_000, "h": 3_600_000_000}


def label(kind: str, now_ms: int) -> str:
    moment = datetime.datetime.fromtimestamp(now_ms / 1000, tz=datetime.UTC)
    match kind:
        case "D":
            return moment.strftime("%Y-%m-%d")
        case "W":
            return (moment.date() - datetime.timedelta(days=moment.weekday())).isoformat()
        case "M":
            return moment.strftime("%Y-%m")
    return "total"


@dataclass
class Limit:
    """`unit` r, t, u, n or p; `kind` m, h (a bucket), D, W, M, T (a period), c (at once)."""

    unit: str
    kind: str
    limit: int
    scope: str
    tat_us: int = 0
    used: dict[str, int] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)

    @property
    def line(self) -> str:
        return f"{self.unit}{self.kind} {self.limit} - {self.scope}"

    def cost(self, amount: int, tokens: int, most: int) -> int:
        return {"n": amount, "p": amount, "r": 1, "t": tokens, "u": most}[self.unit]

    def has_room(self, now_ms: int, cost: int) -> bool:
        if self.kind == "c":
            return sum(1 for until in self.running.values() if until > now_ms) < self.limit
        if self.kind in SPAN_US:
            # A bucket of `limit` that refills evenly. What is in it now, in millionths of a limit:
            span, now_us = SPAN_US[self.kind], now_ms * 1000
            behind = max(0, self.tat_us - now_us)
            whole = behind == 0 and self.unit == "t"
            return whole or behind + cost * span // self.limit <= span
        used = self.used.get(label(self.kind, now_ms), 0)
        return used + cost <= self.limit or (self.unit == "t" and used == 0)

    def take(self, now_ms: int, cost: int, request: str, live_ms: int) -> None:
        if self.kind == "c":
            self.running[request] = now_ms + live_ms
        elif self.kind in SPAN_US:
            now_us = now_ms * 1000
            self.tat_us = max(self.tat_us, now_us) + cost * SPAN_US[self.kind] // self.limit
        else:
            name = label(self.kind, now_ms)
            self.used[name] = self.used.get(name, 0) + cost

    def end(self, now_ms: int, taken_at_ms: int, request: str, *, cost: int, more: int) -> None:
        """`more`: used beyond the estimate; below zero: less."""
        if self.kind == "c":
            self.running.pop(request, None)
        elif self.unit == "r":
            return
        elif self.kind in SPAN_US:
            moved = more * SPAN_US[self.kind] // self.limit
            base = max(self.tat_us, now_ms * 1000) if moved > 0 else self.tat_us
            self.tat_us = max(0, base + moved)
        else:
            self.used[label(self.kind, taken_at_ms)] += more
