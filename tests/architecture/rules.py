"""The rules that single files keep: who may import whom, and what may stand where.

Owns the table RULES. Each rule comes with samples that it must refuse and samples that it must
accept; tests/test_architecture.py tries them, then judges the tree. Reads sources, runs nothing.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from gatewayz.dialects.form import Style
from tests.architecture.source import Finding, Source, last_name, rule

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "shared" / "gatewayz"

# Decision D41. `functions` and `local` import all of these, `cli` local as well.
ARROWS = {
    "core": "",
    "pricing": "core",
    "net": "core",
    "dialects": "pricing core",
    "stores": "net core",
    "providers": "dialects net core",
    "catalog": "providers pricing stores net core",
    "accounts": "stores net core",
    "billing": "pricing stores core",
    "webhooks": "stores net core",
    "notify": "stores net core",
    "routing": "catalog providers dialects pricing stores core",
    "health": "routing catalog providers stores core",
    "inference": "routing catalog providers dialects pricing accounts billing stores core",
    "api": "accounts dialects stores core",
    "runtime": "stores core",
    "usage": "providers pricing stores net core",
    "telemetry": "stores net core",
}
# Arrows beyond D41, each with its reason.
ADDED = {
    ("providers", "stores"): "the client reads its credential from stores.secrets at the attempt",
    ("api", "usage"): "what is asked about usage is checked at the edge",
    ("usage", "api"): "files for spreadsheets are defused in one place (api.exports)",
    ("api", "net"): "both planes answer browsers alike (net.cors, net.asgi)",
    ("health", "net"): "probes and balances are calls of providers, made as all others are",
    ("health", "dialects"): "a probe is written in its provider's dialect, as traffic is",
    ("health", "pricing"): "a probe costs what its usage says",
    ("inference", "telemetry"): "a request is traced where a collector is set",
    ("runtime", "telemetry"): "workers and schedules tell what they did before they are frozen",
    ("api", "telemetry"): "the control plane is traced as the data plane is",
    ("inference", "net"): "the use-case relays bytes: net.http streams in, net.asgi calls out",
}
EVERYTHING = {*ARROWS}
ALLOWED = {
    **{name: set(targets.split()) for name, targets in ARROWS.items()},
    "functions": EVERYTHING,
    "local": EVERYTHING,
    "cli": {*EVERYTHING, "local"},
}
for (importer, imported), _reason in ADDED.items():
    ALLOWED[importer].add(imported)

# A library and the only places that may import it; a folder ends with a slash.
LIBRARIES = {
    "pyreqwest": ["net/http.py"],
    "boto3": ["stores/"],
    "botocore": ["stores/"],
    "stripe": ["billing/stripe/"],
    "asyncpg": ["stores/", "local/"],
    "hiredis": ["stores/"],
    "httpx": ["stores/"],
    "supabase": ["stores/"],
    "postgrest": ["stores/"],
    "upstash_redis": ["stores/"],
    "fastapi": ["api/", "functions/"],
    "pydantic": ["api/", "functions/"],
    "mangum": ["runtime/"],
    "typer": ["cli/"],
    "opentelemetry": ["telemetry/", "cli/"],
    "openfeature": ["telemetry/"],
}
READS = {"os.environ", "os.environb", "os.getenv"}
ENVIRONMENT_READERS = ["core/settings.py", "stores/secrets.py"]
# These start children: they may hand on a copy of the environment, and fill it from a file.
ENVIRONMENT_COPIERS = ["local/", "cli/"]
CLOCKS = {
    "time": "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns gmtime localtime",
    "datetime": "now utcnow today",
    "date": "today",
    "loop": "time",
}
CLOCK_READERS = {
    "core/clock.py": "the clock itself",
    "net/http.py": "arms the event loop's own timers, which are set in the loop's time",
}
BRAND_PLACES = ["dialects/", "catalog/listings/"]
# Plays the providers' own odd answers for the tests (D47).
BRAND_PLACES += ["local/sandbox_behaviour.py"]
# Sign-in protocols that only one company has: what `auth` in a row names, written once.
BRAND_PLACES += ["providers/auth.py"]
# Who vouches for a person is another part of a company than who serves its models.
BRAND_PLACES += ["accounts/identity.py"]
SQL_PLACES = {
    "stores/direct_postgres.py": r"select api\.",  # the one form in which a function is called
    "local/migrate.py": r".*gatewayz_migrations|select pg_advisory",  # runs before any migration
}
SQL = re.compile(
    r"\s*(select\s+(\*|\d|\$|api\.|\w+\s*\(|[\w\s.,*()]+\sfrom\s)|insert\s+into\s|delete\s+from\s"
    r"|update\s+\S+\s+set\s|with\s+\w+\s+as\s*\(|truncate\s+table\s|set\s+local\s"
    r"|(create|alter|drop)\s+(or\s+replace\s+)?(table|function|schema|view|index|type|role)\s)",
)
QUERY_CALLS = {"execute", "executemany", "fetch", "fetchval", "fetchrow", "cursor", "prepare"}
QUERY_CALLS |= {"rpc", "script"}
EMPTY_NAMES = {"util", "utils", "helper", "helpers", "common", "manager", "service", "base"}
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 70


@rule(
    bad="""
    core/ids.py             from gatewayz.stores.redis import RespRedis
    stores/open.py          from ..billing import credits
    runtime/entries.py      import gatewayz.api.app
    local/dev.py            from gatewayz.cli.main import app
    inference/run.py        def late(): from gatewayz.local import valkey
    routing/plan.py         from gatewayz import api
    unknown/place.py        from gatewayz.core import ids
    functions/chat/app.py   from functions.keys.app import app
    functions/chat/app.py   from gatewayz.local.sandbox import app
    """,
    good="""
    billing/sweep.py        from .credits import Credits
    core/log.py             from gatewayz import VERSION
    cli/main.py             from gatewayz.local import dev
    """,
)
def keeps_the_arrows(source: Source) -> Iterator[Finding]:
    for line, name in source.imports:
        parts = name.split(".")
        if parts[0] == "functions":
            yield line, f"{name}: nothing imports a function"
        elif parts[0] == "gatewayz" and (len(parts) > 2 or parts[-1] in ALLOWED):
            target, own = parts[1], source.package
            if target != own and target not in ALLOWED.get(own, set()):
                yield line, f"{own} may not import {target}"


@rule(
    bad="""
    providers/client.py     from pyreqwest.client import Client
    billing/credits.py      import stripe
    inference/run.py        import botocore.auth
    runtime/entries.py      def http(app): from fastapi import FastAPI
    """,
    good="""
    net/http.py             import pyreqwest
    billing/stripe/pay.py   import stripe
    """,
)
def imports_libraries_in_their_place(source: Source) -> Iterator[Finding]:
    for line, name in source.imports:
        places = LIBRARIES.get(name.split(".")[0])
        if places is not None and not source.within(places):
            yield line, f"{name} is imported only in {', '.join(places)}"


@rule(
    bad="""
    net/http.py             import os ; os.environ.get("A")
    core/log.py             from os import getenv
    local/dev.py            import os ; port = os.environ["PORT"]
    providers/client.py     import os ; child = dict(os.environ)
    """,
    good="""
    core/settings.py        import os ; os.environ
    local/dev.py            import os ; run(env={**os.environ, "A": "1"})
    cli/main.py             import os ; dict(os.environ), os.environ | {}, os.environ.copy()
    """,
)
def reads_the_environment_in_two_places(source: Source) -> Iterator[Finding]:
    if source.within(ENVIRONMENT_READERS):
        return
    copied: set[ast.AST] = set()
    if source.within(ENVIRONMENT_COPIERS):
        for node in ast.walk(source.tree):
            match node:
                case ast.Call(func=ast.Name("dict"), args=[value]):  # dict(os.environ)
                    copied.add(value)
                case ast.Call(func=ast.Attribute(value, "copy" | "setdefault" | "update")):
                    copied.add(value)
                case ast.BinOp(left=value, op=ast.BitOr()):  # os.environ | {…}
                    copied.add(value)
                case ast.Dict(keys=keys, values=values):  # {**os.environ, …}
                    copied |= {v for k, v in zip(keys, values, strict=True) if k is None}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and node not in copied:
            name = f"{last_name(node.value)}.{node.attr}"
            if name in READS:
                yield node.lineno, name
    for line, name in source.imports:
        if name in READS:
            yield line, name


@rule(
    bad="""
    core/log.py             import time ; time.time()
    billing/credits.py      from time import monotonic
    core/ids.py             from datetime import datetime ; datetime.now()
    routing/run.py          import asyncio ; asyncio.get_running_loop().time()
    api/app.py              import datetime ; read = datetime.datetime.utcnow
    """,
    good="""
    net/http.py             end_s = loop.time()
    local/process.py        from time import sleep
    """,
)
def reads_clocks_in_one_place(source: Source) -> Iterator[Finding]:
    if source.place in CLOCK_READERS:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute):
            owner = last_name(node.value).lstrip("_").removeprefix("get_running_")
            owner = owner.removeprefix("get_event_")
            if node.attr in CLOCKS.get(owner, "").split():
                yield node.lineno, f"{owner}.{node.attr}"
    for line, name in source.imports:
        owner, _, attribute = name.rpartition(".")
        if owner == "time" and attribute in CLOCKS["time"].split():
            yield line, name


def _brands() -> tuple[set[str], re.Pattern[str]]:
    rows = tomllib.loads((PACKAGE / "providers" / "providers.toml").read_text())
    rows = {slug: row for slug, row in rows.items() if not row.get("sandbox")}
    names = {row["name"].removesuffix(" (local)") for row in rows.values()}
    return set(rows), re.compile("|".join(rf"\b{re.escape(name)}\b" for name in sorted(names)))


SLUGS, BRAND_NAMES = _brands()
# The words of Style name the form of a mount's answers, and a dialect's name its wire protocol.
NOT_BRANDS = {*get_args(Style), *(p.name for p in (PACKAGE / "dialects").iterdir() if p.is_dir())}


@rule(
    bad="""
    routing/plan.py         special = "groq"
    catalog/load.py         credential = "MISTRAL_API_KEY"
    inference/run.py        fail("DeepSeek did not answer")
    net/http.py             url = f"https://api.together.xyz/{path}"
    """,
    good="""
    dialects/a/mend.py      old = "groq"
    api/app.py              style = "openrouter" ; log("all of them together")
    """,
)
def names_no_brand(source: Source) -> Iterator[Finding]:
    if source.within(BRAND_PLACES):
        return
    for line, text in source.strings:
        words = set() if re.search(r"\s", text) else set(re.split(r"[^a-z0-9]+", text.lower()))
        if text not in NOT_BRANDS and (words & SLUGS or BRAND_NAMES.search(text)):
            yield line, f"a brand: {text[:40]!r}"


def _holds_nanos(node: ast.AST) -> bool:
    return any(last_name(n).lower().endswith(("_nanos", "nanos_per_usd")) for n in ast.walk(node))


@rule(
    bad="""
    billing/credits.py      share = hold.charge_nanos / 4
    billing/credits.py      usd = float(row["balance_nanos"])
    pricing/price.py        price_nanos: float = 0
    pricing/charge.py       more = round(cost_nanos * 1.05)
    pricing/charge.py       cost_nanos /= 2
    pricing/charge.py       def post(cost_nanos: float): ...
    """,
    good="""
    pricing/charge.py       amount_nanos = -(-total_nanos // 10**6)
    """,
)
def keeps_money_exact(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        match node:
            case ast.BinOp(left, ast.Div(), right) if _holds_nanos(left) or _holds_nanos(right):
                yield node.lineno, "/ on nanos"
            case ast.AugAssign(target, ast.Div(), _) if _holds_nanos(target):
                yield node.lineno, "/= on nanos"
            case ast.BinOp(left, _, right) if _holds_nanos(node):
                if float in {type(getattr(side, "value", None)) for side in (left, right)}:
                    yield node.lineno, "a float constant meets nanos"
            case ast.Call(ast.Name("float"), args) if any(map(_holds_nanos, args)):
                yield node.lineno, "float() of nanos"
            case ast.AnnAssign(target, ast.Name("float")) if _holds_nanos(target):
                yield node.lineno, "nanos declared float"
            case ast.arg(name, ast.Name("float")) if name.endswith("_nanos"):
                yield node.lineno, "nanos declared float"


@rule(
    bad="""
    accounts/keys.py        rows = "select id, name from tenancy.keys where id = $1"
    stores/queue.py         query = f"insert into {table} values (1)"
    stores/direct_postgres.py  query = "select version()"
    billing/sweep.py        query = " update ledger.books set balance = 0"
    """,
    good="""
    stores/direct_postgres.py  query = "select api."
    cli/main.py             say("Select a model from the list.")
    """,
)
def holds_no_sql(source: Source) -> Iterator[Finding]:
    known = SQL_PLACES.get(source.place)
    for line, text in source.strings:
        own = known is not None and re.match(known, text, re.DOTALL | re.IGNORECASE)
        shouted = text.split(maxsplit=1)[:1] == text.upper().split(maxsplit=1)[:1]
        if SQL.match(text.lower() if shouted else text) and not own:
            yield line, f"SQL: {text.strip()[:40]!r}"


@rule(
    bad="""
    stores/postgres.py      connection.fetchval(f"select {name}")
    accounts/keys.py        postgres.rpc("find_" + kind, {})
    local/migrate.py        connection.execute("drop table %s" % name)
    stores/redis.py         client.script("{}_v1".format(name), [], [])
    """,
    good="""
    accounts/keys.py        postgres.rpc("find_principal", {"hash": f"{digest}"})
    """,
)
def builds_no_query_from_text(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            first = node.args[0] if node.func.attr in QUERY_CALLS and node.args else None
            match first:
                case ast.JoinedStr() | ast.BinOp() | ast.Call(func=ast.Attribute(attr="format")):
                    yield node.lineno, f"{node.func.attr}() of a text put together"


@rule(
    bad="""
    net/sse.py              try: go() ; except: pass
    inference/media.py      try: go() ; except* ValueError as errors: raise errors.exceptions[0]
    """,
    good="""
    net/sse.py              try: go() ; except ValueError: pass
    inference/media.py      try: go() ; except BaseExceptionGroup as errors: raise first_of(errors)
    """,
)
def catches_what_it_names(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "bare except"
        if isinstance(node, ast.TryStar):
            yield node.lineno, "what except* raises comes out in a group before Python 3.11.4"


@rule(
    bad="""
    inference/run.py        asyncio.create_task(work())
    net/http.py             loop.create_task(work())
    """,
    good="""
    net/http.py             task = asyncio.create_task(work())
    net/http.py             async def f(): ;  async with TaskGroup() as all: all.create_task(work())
    """,
)
def keeps_its_tasks(source: Source) -> Iterator[Finding]:
    groups = {
        last_name(item.optional_vars)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.AsyncWith)
        for item in node.items
        if item.optional_vars is not None and last_name(item.context_expr) == "TaskGroup"
    }
    for node in ast.walk(source.tree):
        match node:
            case ast.Expr(ast.Call(ast.Attribute(owner, "create_task" | "ensure_future"))):
                if last_name(owner) not in groups:
                    yield node.lineno, "a task nobody holds may be collected while it runs"


@rule(
    bad="net/sse.py "
    + "a = 1 ; " * (MAX_FILE_LINES + 1)
    + "\nnet/sse.py def f(): ; "
    + " a = 1 ; " * MAX_FUNCTION_LINES,
    good="net/sse.py def f(): ; " + " a = 1 ; " * (MAX_FUNCTION_LINES - 1),
)
def stays_small(source: Source) -> Iterator[Finding]:
    if (lines := source.text.count("\n")) > MAX_FILE_LINES:
        yield 1, f"{lines} lines; {MAX_FILE_LINES} are the limit"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield node.lineno, f"{node.name}: {lines} lines; {MAX_FUNCTION_LINES} are the limit"


@rule(
    bad="""
    net/utils.py            pass
    core/json_helpers.py    pass
    common/ids.py           pass
    """,
    good="""
    net/body.py             pass
    catalog/database.py     pass
    """,
)
def has_a_telling_name(source: Source) -> Iterator[Finding]:
    words = set(re.split(r"[/_]", source.place.removesuffix(".py")))
    if words & EMPTY_NAMES:
        yield 1, f"{source.place} says nothing about what it holds"
