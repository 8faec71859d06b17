"""docs/cost.md: what a million answers cost, from measurements.json and prices.json. Pure: the same
files give the same page, and a test holds the page to them.

    python bench/cost.py            # writes docs/cost.md
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TREE = Path(__file__).resolve().parents[1]
PAGE = TREE / "docs" / "cost.md"

MILLION = 1_000_000
HOUR_S = 3600
ANSWERS_S = (1, 10, 60)
# Assumptions; the page states each of them.
CHUNKS_PER_S = 50
STORES_WAIT_S = 0.02
STREAMS = 64
FILLED = 0.6
CORE_FILLED = 0.6
COLD_SHARE = 1 / 200
LAMBDA_MB_PER_CORE = 1769
SETTLE_GB, SETTLE_BATCH = 0.5, 10
FLUID_GB = 2
CHECKPOINT_S, CHECKPOINT_CHUNKS = 5, 64
FLAT_REQUESTS_A_MONTH = 10 * MILLION
FEE = 0.05
PROMPT_TOKENS = 1000
MODELS = {"$0.25 in, $1.25 out": (0.25, 1.25), "$3 in, $15 out": (3.0, 15.0)}
TARGET_USD = 10.0


def _load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((TREE / "bench" / name).read_text())
    return loaded


MEASURED = _load("measurements.json")
PRICE = {name: row["usd"] for name, row in _load("prices.json").items()}


@dataclass(frozen=True, slots=True)
class Product:
    """What runs: its CPU and memory, and whether it has books to keep."""

    title: str
    base_cpu_s: float
    chunk_cpu_s: float
    cold_cpu_s: float
    lambda_mb: int
    books: bool

    def cpu_s(self, answer_s: float) -> float:
        return self.base_cpu_s + self.chunk_cpu_s * CHUNKS_PER_S * answer_s


OURS = Product(
    "Gatewayz",
    base_cpu_s=MEASURED["ours"]["cpu_per_stream_us"] / 1e6,
    chunk_cpu_s=MEASURED["ours"]["cpu_per_chunk_of_64_us"] / 1e6,
    cold_cpu_s=MEASURED["ours"]["cold_start_cpu_ms"] / 1e3,
    lambda_mb=256,
    books=True,
)
LITELLM = Product(
    "LiteLLM",
    base_cpu_s=MEASURED["litellm"]["cpu_per_whole_us"] / 1e6,
    chunk_cpu_s=MEASURED["litellm"]["cpu_per_chunk_us"] / 1e6,
    cold_cpu_s=MEASURED["litellm"]["cold_start_s"],
    lambda_mb=512,
    books=False,
)
Parts = dict[str, float]


def redis_commands(answer_s: float) -> int:
    """Hold and free, as measured, and the checkpoints by the default settings."""
    by_chunks = int(answer_s * CHUNKS_PER_S / CHECKPOINT_CHUNKS)
    return round(MEASURED["ours"]["redis_per_request"]) + max(
        by_chunks, int(answer_s / CHECKPOINT_S)
    )


def queue_on_aws() -> Parts:
    """One send; a tenth of a receive and of a delete; a tenth of a settling invocation."""
    requests = 1 + 2 / SETTLE_BATCH
    batch_s = MEASURED["ours"]["settle_batch_ms"] / 1e3
    settling = PRICE["lambda_request"] / SETTLE_BATCH
    settling += SETTLE_GB * batch_s / SETTLE_BATCH * PRICE["lambda_gb_s"] * MILLION
    return {"queue": requests * PRICE["sqs"], "settling": settling}


def on_lambda(product: Product, answer_s: float) -> Parts:
    """One request an environment: its memory is paid for the whole answer."""
    core = product.lambda_mb / LAMBDA_MB_PER_CORE
    busy_s = answer_s + product.base_cpu_s / core + COLD_SHARE * product.cold_cpu_s / core
    gb_s = product.lambda_mb / 1024 * (busy_s + STORES_WAIT_S * product.books)
    parts = {
        "requests": PRICE["lambda_request"],
        "compute": gb_s * PRICE["lambda_gb_s"] * MILLION,
    }
    return parts | (queue_on_aws() if product.books else {})


def streams_at_once(product: Product, answer_s: float) -> float:
    """On one core: as many as the process takes, or as its CPU allows."""
    by_cpu = CORE_FILLED * answer_s / product.cpu_s(answer_s)
    return min(STREAMS * FILLED, by_cpu)


def on_managed(product: Product, answer_s: float) -> Parts:
    """A core of an instance is paid by the hour, whatever it does."""
    core_s = PRICE["m7g_large_hour"] / 2 * (1 + PRICE["managed_fee"]) / HOUR_S
    compute = core_s * answer_s / streams_at_once(product, answer_s) * MILLION
    parts = {"requests": PRICE["managed_request"], "compute": compute}
    return parts | (queue_on_aws() if product.books else {})


def on_fluid(product: Product, answer_s: float) -> Parts:
    """CPU as used, memory as long as the instance lives, shared by its streams."""
    memory_s = FLUID_GB * PRICE["fluid_gb_hour"] / HOUR_S
    memory = memory_s * answer_s / streams_at_once(product, answer_s) * MILLION
    core_s = PRICE["fluid_cpu_hour"] / HOUR_S
    parts = {
        "requests": PRICE["fluid_invocation"],
        "compute": core_s * product.cpu_s(answer_s) * MILLION + memory,
    }
    if product.books:
        settle_s = MEASURED["ours"]["settle_cpu_per_message_us"] / 1e6
        parts |= {"queue": 0.0, "settling": core_s * settle_s * MILLION}
    return parts


PLATFORMS: dict[str, Callable[[Product, float], Parts]] = {
    "Lambda": on_lambda,
    "Lambda Managed Instances": on_managed,
    "Vercel Fluid": on_fluid,
}


def redis_flat() -> float:
    return float(PRICE["upstash_fixed_month"] / FLAT_REQUESTS_A_MONTH * MILLION)


def redis_by_command(answer_s: float) -> float:
    return float(redis_commands(answer_s) * PRICE["upstash_command"])


def redis_of_the_hold() -> float:
    """By the command, were nothing recorded in between."""
    return float(redis_commands(0) * PRICE["upstash_command"])


def total(platform: str, product: Product, answer_s: float, redis: float) -> float:
    return sum(PLATFORMS[platform](product, answer_s).values()) + redis


# ---------------------------------------------------------------- the page


def usd(value: float) -> str:
    return f"${value:,.2f}" if value < 100 else f"${value:,.0f}"


def unit_price(value: float) -> str:
    """With at least two decimals, and as many as it has."""
    whole, _, part = f"{value:.10f}".rstrip("0").partition(".")
    return f"${whole}.{part.ljust(2, '0')}"


def rows_of(heads: list[str], rows: list[list[str]], *, texts: int = 1) -> str:
    """A table; the columns after the first `texts` are numbers."""
    lines = [heads, [*["---"] * texts, *["---:"] * (len(heads) - texts)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def totals() -> str:
    rows = []
    for platform in PLATFORMS:
        for title, product, redis in (
            ("Gatewayz, Redis by the month", OURS, lambda _: redis_flat()),
            ("Gatewayz, Redis by the command", OURS, redis_by_command),
            ("LiteLLM, which keeps no books here", LITELLM, lambda _: 0.0),
        ):
            cells = [usd(total(platform, product, s, redis(s))) for s in ANSWERS_S]
            rows.append([f"{platform}: {title}", *cells])
    return rows_of(["dollars per million answers", *[f"{s} s" for s in ANSWERS_S]], rows)


def breakdown() -> str:
    names = ["requests", "compute", "queue", "settling"]
    rows = []
    for platform, cost in PLATFORMS.items():
        for product in (OURS, LITELLM):
            parts = cost(product, 10)
            cells = [usd(parts[name]) if name in parts else "–" for name in names]
            redis = [usd(redis_flat()), usd(redis_by_command(10))] if product.books else ["–"] * 2
            rows.append([f"{platform}: {product.title}", *cells, *redis])
    heads = ["a million 10 s answers", *names, "Redis by the month", "… by the command"]
    return rows_of(heads, rows)


def verdicts() -> str:
    lines = []
    for platform in ("Lambda Managed Instances", "Vercel Fluid"):
        for name, redis in (
            ("month", redis_flat()),
            ("command", redis_by_command(10)),
            ("command, were no progress recorded", redis_of_the_hold()),
        ):
            cost = total(platform, OURS, 10, redis)
            word = "reached" if cost <= TARGET_USD else "**missed**"
            lines.append(f"- {platform}, Redis by the {name}: {usd(cost)}, {word}.")
    return "\n".join(lines)


def fees() -> str:
    rows = []
    for answer_s in ANSWERS_S:
        cost = total("Lambda", OURS, answer_s, redis_flat())
        takes = []
        for price_in, price_out in MODELS.values():
            tokens_usd = PROMPT_TOKENS * price_in + CHUNKS_PER_S * answer_s * price_out
            takes.append(FEE * tokens_usd)
        rows.append([f"{answer_s} s", usd(cost), *map(usd, takes)])
    heads = ["answer", "classic Lambda", *[f"5 % of a model at {name}" for name in MODELS]]
    return rows_of(heads, rows)


def measured() -> str:
    ours, heavy, rival = (MEASURED[name] for name in ("ours", "heavy", "litellm"))
    titles = {
        "cold start to the first answer at 0.15 of a core, s": "cold_start_s",
        "… CPU of it, ms": "cold_start_cpu_ms",
        "… of that until it listens, ms": "cold_imports_cpu_ms",
        "added time to first token p50 at 0.15 of a core, ms": "added_first_token_ms",
        "memory, one request at a time, MB": "rss_one_mb",
        "memory, 64 streams, MB": "rss_64_mb",
        "CPU per whole answer, µs": "cpu_per_whole_us",
        "… at 0.15 of a core, ms": "whole_at_share_ms",
        "CPU per stream, µs": "cpu_per_stream_us",
        "CPU per chunk, one stream, µs": "cpu_per_chunk_us",
        "CPU per chunk, 64 streams, µs": "cpu_per_chunk_of_64_us",
        "Redis commands per request": "redis_per_request",
        "queue requests per request": "sqs_per_request",
        "settling a batch of ten, ms": "settle_batch_ms",
    }
    rows = [
        [title, *[f"{e[name]:,.4g}" if e.get(name) is not None else "–" for e in (ours, heavy)]]
        for title, name in titles.items()
    ]
    table = rows_of(["measured", "Gatewayz", "FastAPI, httpx, SDKs"], rows)
    return (
        f"{table}\n\n{ours['date']}: {ours['conditions']}.\n\n"
        f"LiteLLM: {rival['cpu_per_whole_us'] / 1000:.1f} ms CPU per answer,"
        f" {rival['cpu_per_chunk_us']:.0f} µs per chunk, {rival['rss_mb']:.0f} MB,"
        f" {rival['cold_start_s']:.1f} s to start. {rival['date']}: {rival['conditions']}."
    )


def bars() -> str:
    """What the small instance is held to, and whether it is reached."""
    said = []
    for what, name, bar, unit in (
        ("start", "cold_start_s", 2, "s"),
        ("added time to first token", "added_first_token_ms", 15, "ms"),
        ("memory", "rss_one_mb", 120, "MB"),
    ):
        value = MEASURED["ours"][name]
        word = "reached" if value is not None and value <= bar else "**missed**"
        said.append(f"{what} at most {bar} {unit}: {word}")
    return (
        f"Held to, on the small instance: {'; '.join(said)}.\n"
        "It has no more than its share of a core while it starts; platforms may lend more then."
    )


def prices() -> str:
    rows = [
        [row["per"], row["source"], unit_price(row["usd"])] for row in _load("prices.json").values()
    ]
    dates = sorted({row["date"] for row in _load("prices.json").values()})
    return (
        rows_of(["unit", "source", "price"], rows, texts=2) + f"\n\nLooked up {', '.join(dates)}."
    )


def assumptions() -> str:
    rival = MEASURED["litellm"]
    return f"""\
- {CHUNKS_PER_S} chunks a second, one token each; answers of one length. A 10 s answer then takes
  {OURS.cpu_s(10) * 1e3:.0f} ms of CPU, LiteLLM's {LITELLM.cpu_s(10) * 1e3:.0f} ms.
- A process carries {STREAMS} streams, {FILLED:.0%} of them in use, and fills a core to
  {CORE_FILLED:.0%}. On Managed Instances it has one core of an m7g.large, on Fluid {FLUID_GB} GB.
  How many streams share an instance of Fluid, Fluid decides. The least number of instances that
  a capacity provider keeps is a fixed sum and not counted.
- A core of a platform is as fast as that of the machine that measured (x86; m7g is Arm).
- On Lambda {LAMBDA_MB_PER_CORE:,} MB are a core. Gatewayz gets {OURS.lambda_mb} MB; LiteLLM, which
  takes {rival["rss_mb"]:.0f} MB, gets {LITELLM.lambda_mb} MB. One request in {1 / COLD_SHARE:.0f}
  is a cold start, whose CPU is paid; for LiteLLM its time to start is taken for that.
- Stores keep an answer of ours waiting for {STORES_WAIT_S * 1e3:.0f} ms in all.
- One send to the queue for each answer (streams that end together share one). SQS hands batches of
  {SETTLE_BATCH} to a function of {SETTLE_GB * 1024:.0f} MB. On Vercel the queue is a table.
- Upstash counts a script as one command. By the month means {FLAT_REQUESTS_A_MONTH // MILLION}
  million answers a month on one plan.
- LiteLLM is counted in its favour: measured without a database, without stores and queue, its
  chunk at full throughput where ours is at the pace of {STREAMS} slow streams.
- Left out on all sides: Postgres (by the month), traffic, logs, idle pollers, the providers."""


def render() -> str:
    return f"""# What a million answers cost

Written by `bench/cost.py` from `bench/measurements.json` and `bench/prices.json`; a test holds it
to them. `bench/serverless.py` measures. Prices are before free tiers, discounts and taxes.

## In short

{totals()}

Target: at most {usd(TARGET_USD)} for a million 10 s answers on the runtimes that carry many
streams a process.

{verdicts()}

- Classic Lambda pays its memory while it waits for the provider; no gateway changes that. The
  template's 1,024 MB costs four times the compute of the {OURS.lambda_mb} MB counted here.
- By the command, Redis is most of the bill: a 10 s answer is {redis_commands(10)} commands, a 60 s
  answer {redis_commands(60)}, for a stream's progress is recorded after {CHECKPOINT_CHUNKS} chunks
  or {CHECKPOINT_S} s (`GATEWAYZ_CHECKPOINT_CHUNKS`, `GATEWAYZ_CHECKPOINT_S`); the hold is
  {redis_commands(0)} of them. Take a plan by the month or a Redis of your own, or record less
  often: a killed process then loses more of what it had served.
- API Gateway in front adds {usd(PRICE["api_gateway"])}; a function URL adds nothing.

## Where it goes

{breakdown()}

## Beside a fee of 5 %

A million answers, {PROMPT_TOKENS:,} tokens in and {CHUNKS_PER_S} a second out; Redis by the month.

{fees()}

## Measured

{measured()}

{bars()}

## Prices

{prices()}

## Assumed, not measured

{assumptions()}
"""


def main() -> int:
    PAGE.write_text(render())
    sys.stdout.write(f"{PAGE.relative_to(TREE)} written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
