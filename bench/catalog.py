"""The catalog at 10,000 models: CPU of a list, of a 304, of a filtered page and of a quote.

    .venv/bin/python bench/catalog.py [--models 10000]

Calls functions/models in this process, over real Valkey and Postgres; CPU is the process's own,
median of many calls. Bars are those of the catalog issue; exits 1 when one is missed.
"""

import argparse
import asyncio
import importlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

TREE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TREE / "shared"), str(TREE)]

import orjson  # noqa: E402

from gatewayz.accounts.keys import generate_key, hash_key  # noqa: E402
from gatewayz.catalog.load import load_own  # noqa: E402
from gatewayz.catalog.model import Entry, Model, Offer  # noqa: E402
from gatewayz.catalog.publish import write  # noqa: E402
from gatewayz.catalog.snapshot import Snapshot  # noqa: E402
from gatewayz.catalog.views.pages import render_pages  # noqa: E402
from gatewayz.core.settings import Settings, load_settings  # noqa: E402
from gatewayz.local.migrate import migrate  # noqa: E402
from gatewayz.local.postgres import start_postgres  # noqa: E402
from gatewayz.local.valkey import start_valkey  # noqa: E402
from gatewayz.pricing.price import Price  # noqa: E402
from gatewayz.stores.open import Stores, open_stores  # noqa: E402

PEPPER = "bench-pepper-bench-pepper-bench-pepper"
HOSTS = ("openai", "groq", "together", "deepinfra", "fireworks", "novita")
ROUNDS = 200
WORDS = "a large model that writes, reads pictures, calls tools and reasons about code. " * 4
# What is asked, and the bar in milliseconds of CPU.
LISTS: dict[str, tuple[str, dict[str, str], float]] = {
    "/v1/models, br": ("/v1/models", {"accept-encoding": "br"}, 5),
    "/v1/models, gzip": ("/v1/models", {"accept-encoding": "gzip"}, 5),
    "/api/v1/models, br": ("/api/v1/models", {"accept-encoding": "br"}, 5),
    "304": ("/v1/models", {"if-none-match": "*"}, 1),
    "filtered page of 50, new each time": (
        "/v1/models?q={n}&limit=50&max_price=3&sort=newest", {"accept-encoding": "br"}, 25,
    ),
    "one model": ("/v1/models/lab2/model-42", {}, 5),
}  # fmt: skip


def entries(models: int) -> tuple[Entry, ...]:
    """Models of forty makers at two hosts each, as rich as real ones."""
    made = []
    for number in range(models):
        model_id = f"lab{number % 40}/model-{number}"
        model = Model(
            model_id, f"Model {number}", WORDS, 1_700_000_000 + number, 131_072, 16_384,
            ("text", "image"), ("text",),
            ("temperature", "top_p", "max_tokens", "tools", "tool_choice", "response_format"),
            author=f"lab{number % 40}", tokenizer="GPT", categories=("programming",),
            capabilities=("tools", "vision", "streaming"),
            benchmarks={"intelligence_index": float(number % 70)},
        )  # fmt: skip
        offers = tuple(
            Offer(
                f"{slug}/{model_id}", model_id, slug, model_id,
                Price(f"p-{number % 97}-{slug}", {
                    "input": 10**8 * (1 + number % 97), "output": 10**8 * (4 + number % 97),
                    "cache_read": 10**7 * (1 + number % 97),
                }),
                context_tokens=131_072, max_output_tokens=16_384, checked="2026-11-25",
                source="listing",
            )
            for slug in (HOSTS[number % 6], HOSTS[(number + 1) % 6])
        )  # fmt: skip
        made.append(Entry(model, offers))
    return tuple(sorted(made, key=lambda entry: entry.model.id))


async def open_account(stores: Stores) -> str:
    key = generate_key("test")
    await stores.postgres.rpc(
        "open_account", {"account": "acct_bench", "name": "bench", "stage": "test"}
    )
    await stores.postgres.rpc(
        "create_key",
        {
            "key_id": "key_bench", "account": "acct_bench", "name": "bench",
            "hash": hash_key(key.text.encode(), PEPPER.encode()).hex(), "prefix": key.prefix,
        },
    )  # fmt: skip
    return key.text


async def cpu_ms(call: Callable[[int], Awaitable[Any]], rounds: int = ROUNDS) -> float:
    """Median CPU of a call, after a warm one."""
    await call(0)
    spent = []
    for number in range(1, rounds + 1):
        before = time.process_time_ns()
        await call(number)
        spent.append((time.process_time_ns() - before) / 1e6)
    return statistics.median(spent)


def report(name: str, ms: float, bar: float | None, note: str = "") -> bool:
    missed = bar is not None and ms > bar
    limit = "" if bar is None else f"bar {bar:g}"
    print(f"{name:42} {ms:9.2f} ms  {limit:8} {'MISSED' if missed else ''} {note}")
    return missed


async def ask(app: Any, address: str, headers: dict[str, str], body: bytes | None = None) -> int:
    """One request straight to the application, as a server hands it over; the answer's bytes."""
    path, _, query = address.partition("?")
    scope = {
        "type": "http", "method": "GET" if body is None else "POST", "path": path,
        "raw_path": path.encode(), "query_string": query.encode(), "scheme": "http",
        "root_path": "", "server": ("bench", 80),
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
    }  # fmt: skip
    status, size = 0, 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body or b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status, size
        status = message.get("status", status)
        size += len(message.get("body", b""))

    await app(scope, receive, send)
    if status not in (200, 304):
        raise RuntimeError(f"{address}: {status}")
    return size


async def measure(settings: Settings, models: int) -> int:
    from gatewayz.api.app import _Planes

    stores = open_stores(settings)
    key = await open_account(stores)
    own = load_own(settings.catalog, stores.secrets)
    snapshot = Snapshot("bench", 1_800_000_000_000, "published", entries(models), {}, {})
    began = time.process_time_ns()
    pages = render_pages(snapshot, own.providers, own.ready)
    rendered_ms = (time.process_time_ns() - began) / 1e6
    sizes = ", ".join(f"{len(body) / 1e6:.2f} MB" for body in pages.values())
    await write(stores, snapshot, pages)
    report("publication: eight pages made", rendered_ms, None, sizes)

    app = importlib.import_module("functions.models.app").app
    app.state.planes = _Planes(settings)
    missed = 0
    began = time.process_time_ns()
    size = await ask(app, "/v1/models", {"accept-encoding": "br"})
    cold = (time.process_time_ns() - began) / 1e6
    report("first /v1/models of a process", cold, None, f"{size / 1e6:.2f} MB")
    began = time.process_time_ns()
    await ask(app, "/v1/models?q=model-1&limit=50", {})
    report("first filtered list of a process", (time.process_time_ns() - began) / 1e6, None)
    for name, (path, headers, bar) in LISTS.items():

        async def call(number: int, p: str = path, h: Any = headers) -> None:
            await ask(app, p.replace("{n}", str(number + 100)), h)

        missed += report(name, await cpu_ms(call, 30 if "{n}" in path else ROUNDS), bar)

    messages = [{"role": "user", "content": WORDS * 3}]
    sent = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    async def quote(number: int) -> None:
        body = {"model": f"lab{number % 40}/model-{number}", "messages": messages}
        await ask(app, "/v1/quote", sent, orjson.dumps(body))

    missed += report("quote", await cpu_ms(quote), 10)
    await app.state.planes.close()
    await stores.close()
    return 1 if missed else 0


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--models", type=int, default=10_000)
    given = options.parse_args()
    for host in HOSTS:
        os.environ.setdefault(f"{host.upper()}_API_KEY", "bench")
    with tempfile.TemporaryDirectory() as home:
        postgres = start_postgres(Path(home) / "postgres", durable=False)
        valkey = start_valkey(Path(home) / "valkey", durable=False)
        try:
            asyncio.run(migrate(postgres.url))
            settings = load_settings(
                {
                    "DATABASE_URL": postgres.url,
                    # The list is asked for as by many callers, not by one address.
                    "GATEWAYZ_ADDRESS_PER_MINUTE": "0",
                    "REDIS_URL": valkey.url,
                    "GATEWAYZ_KEY_PEPPER": PEPPER,
                    "GATEWAYZ_STAGE": "test",
                    "GATEWAYZ_HOME": home,
                    "GATEWAYZ_LOG_LEVEL": "ERROR",
                }
            )
            return asyncio.run(measure(settings, given.models))
        finally:
            valkey.stop()
            postgres.stop()


if __name__ == "__main__":
    raise SystemExit(main())
