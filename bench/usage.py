"""What looking at usage costs: a day of requests through settlement, then millions in the log.

Makes a scratch Postgres in memory and takes it away. Checks on the way that the log, the sums, the
exports' lines and the ledger agree to the nano-dollar. Prints a table; nothing is kept.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg

from gatewayz.local.migrate import migrate
from gatewayz.local.postgres import start_postgres
from tests.conftest import MEMORY
from tests.contract.ledger.conftest import Ledger
from tests.usage.conftest import NOW
from tests.usage.day import DAY_END_MS, DAY_MS, day, open_day, settle_day

TRIES = 15
SPAN: dict[str, Any] = {"account": "ann", "from_ms": DAY_MS, "to_ms": DAY_END_MS}
SHARES = ["latency_p50", "latency_p95", "latency_p99", "first_token_p95"]
TOTAL: dict[str, Any] = {"metrics": ["usage"], "dimensions": []}
QUESTIONS: dict[str, dict[str, Any]] = {
    "spend by hour": {"metrics": ["usage"], "dimensions": [], "granularity": "hour"},
    "spend by model": {"metrics": ["usage", "request_count"], "dimensions": ["model"]},
    "spend by end user and day": {
        "metrics": ["usage"], "dimensions": ["end_user"], "granularity": "day"
    },
    "everything by model and key": {
        "metrics": ["usage", "error_rate", "cache_savings", "tokens_total", "throughput"],
        "dimensions": ["model", "api_key_id"],
    },
    "percentiles by model": {"metrics": SHARES, "dimensions": ["model"]},
    "percentiles by hour": {"metrics": SHARES, "dimensions": [], "granularity": "hour"},
    "errors by class and hour": {
        "metrics": ["error_count"], "dimensions": ["error_class"], "granularity": "hour"
    },
}  # fmt: skip
PAGES: dict[str, dict[str, Any]] = {
    "newest 50": {},
    "one model": {"model": "m/7"},
    "one end user": {"end_user": "u123450"},
    "failed": {"failed": True},
    "timeouts": {"error_class": "timeout"},
    "one provider": {"provider": "p2"},
    "a rare app": {"app": "rare"},
    "one key": {"api_key_id": "key_3"},
    "dear and slow": {"min_nanos": 990_000, "min_total_ms": 9_000},
}
# A month of them in one account; what is rare is rare here.
MILLIONS = """
insert into ledger.requests (request_id, account, key_id, end_user, model, offer, provider, lines,
    charge_nanos, outcome, estimated, finish, attempts, stream, admitted_at, first_token_ms,
    total_ms, app, posted_at)
select 'req_' || ledger.ulid_time(ms) || lpad(n::text, 16, '0'), 'big', 'key_' || n % 20,
       case when n % 50 = 0 then 'u' || n % 200000 end, 'm/' || n % 40, 'p' || n % 5 || '/m',
       'p' || n % 5,
       jsonb_build_array(jsonb_build_array('output', 1 + n % 1000000, 1000000)), 1 + n % 1000000,
       case when n % 97 = 0 then 'failed' else 'completed' end, false, 'stop',
       case when n % 97 = 0 then '[{"error": "UpstreamTimeout", "ms": 30000}]'::jsonb
            else '[{"error": null, "ms": 12}]' end,
       n % 2 = 0, to_timestamp(ms / 1000.0), 20 + n % 900, 100 + n % 9901,
       case when n % 99991 = 0 then 'rare' else 'editor' end, to_timestamp(ms / 1000.0)
  from (select g as n, $1::bigint + g * $3::bigint / $2::bigint as ms
          from generate_series($4::bigint, $5::bigint) as g) as made
"""
CHARGES = """
insert into ledger.charges (request_id, account, amount, from_held, from_wallet, lines, outcome,
                            digest, posted_at)
select r.request_id, r.account, r.charge_nanos, r.charge_nanos, 0, r.lines, r.outcome, 'd',
       r.posted_at
  from ledger.requests r where r.account = 'big' and r.request_id >= $1 order by r.request_id
"""
MONTH_MS = 29 * 86_400_000
CHUNK = 500_000


async def timed(ledger: Ledger, function: str, params: dict[str, Any]) -> list[float]:
    """Milliseconds of each try; last the server's CPU time, which no busy machine changes."""
    took = []
    pid = await ledger.connection.fetchval("select pg_backend_pid()")
    before = cpu_ms(pid)
    for _ in range(TRIES):
        started = time.perf_counter()
        await ledger.rpc(function, **params)
        took.append((time.perf_counter() - started) * 1000)
    return [*sorted(took), (cpu_ms(pid) - before) / TRIES]


def cpu_ms(pid: int) -> float:
    """CPU time that this process has used; 0 where /proc does not tell."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    user, system = stat.read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) * 1000 / os.sysconf("SC_CLK_TCK")


def show(name: str, measured: list[float]) -> None:
    *took, cpu = measured
    p95 = took[min(len(took) - 1, int(len(took) * 0.95))]
    print(
        f"  {name:<32} median {statistics.median(took):7.1f} ms   p95 {p95:7.1f} ms"
        f"   CPU {cpu:7.1f} ms",
        flush=True,
    )


async def prove_day(ledger: Ledger, size: int) -> None:
    """The day through settlement; every way to read it gives the same sum."""
    await open_day(ledger)
    started = time.perf_counter()
    messages = list(day(size))
    made_s = time.perf_counter() - started
    await ledger.connection.execute("set statement_timeout = 0")
    started = time.perf_counter()
    await settle_day(ledger, messages)
    settled_s = time.perf_counter() - started
    started = time.perf_counter()
    folded = await ledger.rpc("fold_usage", most=size)
    folded_s = time.perf_counter() - started
    print(
        f"{size:,} requests: made {made_s:.1f} s, settled {settled_s:.1f} s "
        f"({size / settled_s:,.0f}/s), folded {folded_s:.1f} s ({size / folded_s:,.0f}/s)"
    )
    assert folded["folded"] == size
    # what the server does by itself after such a day
    await ledger.connection.execute("analyze")
    total = sum(message["charge_nanos"] for message in messages)
    logged, cursor = 0, None
    while True:
        page = await ledger.rpc("search_requests", **SPAN, limit=10_000, cursor=cursor)
        logged += sum(row["charge_nanos"] for row in page["rows"])
        cursor = page["next"]
        if cursor is None:
            break
    sums = {
        "messages": total,
        "log": logged,
        "analytics": (await ledger.rpc("query_usage", **asking(TOTAL)))["rows"][0]["usage"],
    }
    for name, query in {
        "ledger": "select sum(amount)::bigint from ledger.charges where account = 'ann'",
        "revenue": "select sum(amount)::bigint from ledger.transfers"
        " where credit = 'revenue:usage'",
        "hours": "select sum(nanos)::bigint from ledger.usage_hours where account = 'ann'",
        "days": "select sum(nanos)::bigint from ledger.usage_days where account = 'ann'",
        "lines": "select sum(nanos)::bigint from ledger.usage_lines where account = 'ann'",
    }.items():
        sums[name] = await ledger.connection.fetchval(query)
    print("  " + ", ".join(f"{name} {nanos:,}" for name, nanos in sums.items()))
    assert len(set(sums.values())) == 1, "these must agree to the nano-dollar"
    assert await ledger.violations() == []
    rows = await ledger.connection.fetchval("select count(*) from ledger.usage_hours")
    print(f"  {rows:,} rows of hours")
    for name, question in QUESTIONS.items():
        show(name, await timed(ledger, "query_usage", asking(question)))


def asking(question: dict[str, Any]) -> dict[str, Any]:
    return SPAN | {"limit": 1000} | question


async def measure_log(ledger: Ledger, rows: int) -> None:
    """Pages of the log of an account with that many requests within a month."""
    await ledger.open("big")
    connection = ledger.connection
    first_ms = DAY_END_MS - MONTH_MS
    await connection.execute("set synchronous_commit = off; set maintenance_work_mem = '1GB'")
    await connection.execute("alter table ledger.requests disable trigger user")
    started = time.perf_counter()
    for start in range(1, rows + 1, CHUNK):
        end = min(rows, start + CHUNK - 1)
        await connection.execute(MILLIONS, first_ms, rows, MONTH_MS, start, end)
        first = await connection.fetchval(
            "select 'req_' || ledger.ulid_time($1::bigint + $2::bigint * $3::bigint / $4::bigint)",
            first_ms, start, MONTH_MS, rows,
        )  # fmt: skip
        await connection.execute(CHARGES, first)
        await connection.fetchval("select ledger.catch_up('big')")
        # added up: the log needs only the requests, and memory is short
        await connection.execute("truncate ledger.charges")
        print(f"  {end:,} rows after {time.perf_counter() - started:.0f} s", flush=True)
    await connection.execute("analyze ledger.requests; analyze ledger.usage_hours")
    await connection.execute("analyze ledger.usage_series; analyze ledger.charges")
    span: dict[str, Any] = {"account": "big", "from_ms": first_ms, "to_ms": DAY_END_MS, "limit": 50}
    everything: list[float] = []
    spent: list[float] = []
    for name, filters in PAGES.items():
        took = await timed(ledger, "search_requests", span | filters)
        everything += took[:-1]
        spent.append(took[-1])
        show(name, took)
    show("all of them", [*sorted(everything), statistics.mean(spent)])
    month = {"account": "big", "from_ms": first_ms, "to_ms": DAY_END_MS}
    for name in ("spend by model", "percentiles by model"):
        question = QUESTIONS[name] | month
        show(f"{name}, the month", await timed(ledger, "query_usage", asking(question)))


async def main(size: int, rows: int, url: str) -> None:
    await migrate(url)
    connection = await asyncpg.connect(url, command_timeout=3600)
    try:
        await connection.execute(f"select set_config('gatewayz.now', '{NOW}', false)")
        version = await connection.fetchval("show server_version")
        print(json.dumps({"postgres": version, "requests": size, "rows": rows}))
        ledger = Ledger(connection, url)
        if size:
            await prove_day(ledger, size)
        if rows:
            await measure_log(ledger, rows)
    finally:
        await connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="of the day; 0 for none")
    parser.add_argument("--rows", type=int, default=0, help="of the log, as 10000000")
    asked = parser.parse_args()
    home = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="gatewayz-usage-", dir=home) as folder:
        server = start_postgres(Path(folder) / "postgres", durable=False)
        try:
            asyncio.run(main(asked.requests, asked.rows, server.url))
        finally:
            server.stop()
