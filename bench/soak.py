"""A minute at a fixed rate while the queue of charges is watched, then the books (D48)."""

import http.client
import json
import threading
import time
from typing import Any

from harness import Shared, Stack

RATE_RPS = 500
POLL_S = 0.5
DRAIN_LIMIT_S = 120.0
NANOS_PER_USD = 10**9


class Gauge(threading.Thread):
    """Reads the depth of the queue until the load is over and the queue is empty."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self.waiting = 0
        self.oldest_ms = 0
        self.drain_s = 0.0
        self._stack = stack
        self._over_at_s: float | None = None

    def run(self) -> None:
        while True:
            depth = self._stack.ask("depth")
            left = depth["waiting"] + depth["inflight"]
            self.waiting = max(self.waiting, left)
            self.oldest_ms = max(self.oldest_ms, depth["oldest_ms"])
            if self._over_at_s is not None:
                self.drain_s = time.monotonic() - self._over_at_s
                if not left or self.drain_s > DRAIN_LIMIT_S:
                    return
            time.sleep(POLL_S if self._over_at_s is None else POLL_S / 10)

    def finish(self) -> None:
        self._over_at_s = time.monotonic()
        self.join()


def drain(stack: Stack) -> None:
    gauge = Gauge(stack)
    gauge.start()
    gauge.finish()


def run_soak(shared: Shared, stack: Stack, mock: Any, seconds: float) -> dict[str, Any]:
    """The figures of an open loop at `RATE_RPS`, and whether every answer was charged once."""
    bench = shared.bench
    target = stack.target("ours-soak")
    gateway, _ = bench.start(target, mock)
    try:
        bench.run_lg(target, "closed", "plain", 1, c=16)
        price_nanos = charge_of_one(shared, stack)
        drain(stack)
        before, stores_s = stack.ask("check"), stack.cpu_s()
        gauge = Gauge(stack)
        gauge.start()
        load = bench.measured(
            target,
            gateway,
            mock,
            lambda it: bench.run_lg(it, "rate", "plain", seconds, rate=RATE_RPS),
        )
        gauge.finish()
        used_s = {name: now_s - stores_s[name] for name, now_s in stack.cpu_s().items()}
    finally:
        gateway.stop()
    after = stack.ask("check")
    answers = load["requests"]
    charged = after["charged_nanos"] - before["charged_nanos"]
    cpu_s = {"gateway": load["cpu_s"], **used_s}
    return {
        "seconds": seconds,
        "requests": answers,
        "errors": load["errors"],
        "p50_ms": load["lat_us"]["p50"] / 1000,
        "p99_ms": load["lat_us"]["p99"] / 1000,
        "waiting": gauge.waiting,
        "oldest_s": gauge.oldest_ms / 1000,
        "drain_s": gauge.drain_s,
        "cpu_us": {name: seconds_ / answers * 1e6 for name, seconds_ in cpu_s.items()},
        "unexplained_nanos": abs(charged - answers * price_nanos),
        "violations": len(after["violations"]),
    }


def charge_of_one(shared: Shared, stack: Stack) -> int:
    """Nano-USD of one answer of the load: the mock always counts the same tokens."""
    body = shared.bench.body(shared.targets.MODELS["plain"])
    headers = {"authorization": "Bearer " + stack.key, "content-type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=10)
    connection.request("POST", "/v1/chat/completions", body, headers)
    answer = json.loads(connection.getresponse().read(), parse_float=str)
    connection.close()
    whole, _, part = str(answer["usage"]["cost"]).partition(".")
    return int(whole) * NANOS_PER_USD + int(part.ljust(9, "0")[:9])
