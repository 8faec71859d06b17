"""A day of synthetic requests, drawn from a seed: charge messages, and what they must add up to."""

import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any

from gatewayz.core.ids import ulid
from gatewayz.core.money import NANOS_PER_USD
from tests.contract.ledger.conftest import Ledger

# 2026-11-24T00:00:00Z
DAY_MS = 1_795_478_400_000
DAY_END_MS = DAY_MS + 86_400_000
PRICES = {"input": 150_000_000, "output": 600_000_000, "cache_read": 75_000_000}
PRICES |= {"reasoning": 600_000_000}
MODELS = {
    "maker/large": ("maker", 10),
    "maker/small": ("maker", 1),
    "other/model": ("host", 3),
    "open/weights": ("host", 2),
}
FAILURES = ("UpstreamTimeout", "UpstreamUnavailable", "UpstreamThrottled", "UpstreamRejected")
BATCH = 500


def lines_of(chance: random.Random, factor: int) -> list[list[Any]]:
    lines = [["input", chance.randrange(1, 8000), PRICES["input"] * factor]]
    if chance.random() < 0.4:
        lines.append(["cache_read", chance.randrange(1, 20000), PRICES["cache_read"] * factor])
    lines.append(["output", chance.randrange(1, 2000), PRICES["output"] * factor])
    if chance.random() < 0.2:
        lines.append(["reasoning", chance.randrange(1, 3000), PRICES["reasoning"] * factor])
    return lines


def amount_of(lines: list[list[Any]]) -> int:
    total: int = sum(units * price for _, units, price in lines)
    return -(-total // 1_000_000)


def message(chance: random.Random, account: str, at_ms: int) -> dict[str, Any]:
    model = chance.choice(sorted(MODELS))
    provider, factor = MODELS[model]
    outcome = chance.choices(
        ("completed", "failed", "cut", "left", "empty", "expired"), (90, 4, 2, 2, 1, 1)
    )[0]
    attempt: dict[str, Any] = {"offer": f"{provider}/{model}", "provider": provider, "error": None}
    attempts = [attempt | {"ms": 40}]
    lines: list[list[Any]] = []
    if outcome in ("completed", "cut", "left"):
        lines = lines_of(chance, factor)
    if outcome == "failed":
        attempts[-1]["error"] = chance.choice(FAILURES)
    if outcome == "cut":
        attempts[-1]["cut"] = "UpstreamBroken"
    charge = amount_of(lines)
    cap = charge - 1 if charge > 1 and chance.random() < 0.02 else None
    first_ms = chance.randrange(20, 4000) if lines else None
    made: dict[str, Any] = {
        "v": 1, "request_id": "req_" + ulid(at_ms), "account": account,
        "key_id": chance.choice(("key_a", "key_b", "key_c")),
        "team": chance.choice((None, "red", "blue")),
        "end_user": chance.choice((None, *(f"user{n}" for n in range(20)))),
        "session": None, "lease": None, "close": False, "scopes": [], "model": model,
        "offer": f"{provider}/{model}", "provider": provider, "price_version": "v1",
        "lines": lines, "charge_nanos": charge if cap is None else cap, "cap_nanos": cap,
        "cost_nanos": charge, "cost_stated_nanos": None, "outcome": outcome,
        "estimated": cap is not None, "finish": "stop" if outcome == "completed" else None,
        "attempts": attempts, "stream": chance.random() < 0.7, "admitted_at_ms": at_ms,
        "first_token_ms": first_ms,
        "total_ms": None if first_ms is None else first_ms + chance.randrange(1, 9000),
        "client_request_id": None, "app": chance.choice((None, "editor", "bot")),
        "reason": "cap" if cap is not None else None, "writeoff_nanos": 0,
    }  # fmt: skip
    money = [made[name] for name in ("request_id", "account", "lines", "charge_nanos")]
    return made | {"digest": hashlib.sha256(json.dumps(money).encode()).hexdigest()}


def day(size: int, *, seed: int = 1, account: str = "ann") -> Iterator[dict[str, Any]]:
    """`size` requests of one day, in the order of their time."""
    chance = random.Random(seed)
    for number in range(size):
        yield message(chance, account, DAY_MS + number * 86_400_000 // size)


async def open_day(ledger: Ledger, account: str = "ann") -> None:
    await ledger.open(account, 900_000 * NANOS_PER_USD)
    for number, key in enumerate(("key_a", "key_b", "key_c")):
        await ledger.rpc(
            "create_key", key_id=key, account=account, name=key, hash=f"{number:064x}",
            prefix="gw_x",
        )  # fmt: skip
    await ledger.connection.execute(
        'update tenancy.api_keys set creator = \'mem_1\', metadata = \'{"tags": ["beta", "eu"]}\''
        " where key_id = 'key_a'"
    )


async def settle_day(ledger: Ledger, messages: list[dict[str, Any]]) -> None:
    for start in range(0, len(messages), BATCH):
        statuses = await ledger.settle(*messages[start : start + BATCH])
        assert set(statuses) == {"posted"}
