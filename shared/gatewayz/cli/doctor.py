"""Says what is wrong with a gateway and how to mend it: configuration, stores, credentials.

Reads only; no credential is ever shown. Providers are judged by roster.py.
"""

import asyncio
from collections.abc import Iterable

from gatewayz.accounts.sealing import RING
from gatewayz.billing.settlement import CHARGES
from gatewayz.catalog.load import credentials_here, load_catalog, providers_file
from gatewayz.catalog.model import Catalog
from gatewayz.cli.finding import SIGNS, Finding
from gatewayz.cli.roster import check_roster
from gatewayz.cli.target import Target, find_target
from gatewayz.cli.tools import load_tools
from gatewayz.core.checks import check_serving
from gatewayz.core.errors import GatewayError
from gatewayz.core.settings import SettingsError, describe_settings
from gatewayz.local.environment import names_like
from gatewayz.local.errors import LocalError
from gatewayz.local.migrate import pending_migrations
from gatewayz.net.http import HttpClient
from gatewayz.stores.eviction import unsafe_eviction
from gatewayz.stores.open import Stores, describe_stores, open_stores
from gatewayz.stores.secrets import Secrets

OLD_MESSAGE_MS = 60_000
OUR_VARIABLES = "GATEWAYZ_"


def examine() -> int:
    """Print every finding; 1 when something is wrong."""
    try:
        target = find_target()
    except (LocalError, SettingsError) as error:
        return _report("configuration", [Finding("bad", "settings", str(error))])
    worst = _report("configuration", _check_settings(target))
    if not worst:
        worst = asyncio.run(_examine(target))
    print("\nSomething needs mending." if worst else "\nAll is well.")
    return worst


async def _examine(target: Target) -> int:
    stores = open_stores(target.settings)
    try:
        worst = _report("stores", await _check_stores(target, stores))
        return max(worst, _report("providers", await _check_providers(target, stores.secrets)))
    finally:
        await stores.close()


def _report(title: str, findings: Iterable[Finding]) -> int:
    print(f"\n{title}")
    worst = 0
    for finding in findings:
        print(f"  {SIGNS[finding.mark]} {finding.subject}: {finding.state}")
        if finding.mend:
            print(f"      {finding.mend}")
        worst |= finding.mark == "bad"
    return worst


# ---------------------------------------------------------------- configuration


def _check_settings(target: Target) -> list[Finding]:
    where = target.url or "from the environment"
    findings = [Finding("ok", "gateway", f"{where}, stage {target.settings.stage}")]
    try:
        check_serving(target.settings)
        findings.append(Finding("ok", "settings", "complete"))
    except SettingsError as error:
        findings.append(Finding("bad", "settings", str(error)))
    known = {row.env for row in describe_settings()} | {RING}
    known |= {variable for tool in load_tools() for variable in tool.exports}
    for name in names_like(OUR_VARIABLES):
        if name not in known:
            findings.append(
                Finding(
                    "warn", name, "no such setting", "Is it misspelt? See docs/configuration.md."
                )
            )
    if not target.settings.cron_secret:
        findings.append(
            Finding("warn", "CRON_SECRET", "not set", "A platform's cron cannot call the jobs.")
        )
    return findings


# ---------------------------------------------------------------- stores


async def _check_stores(target: Target, stores: Stores) -> list[Finding]:
    kinds = describe_stores(target.settings)
    findings = [
        await _check_postgres(target, stores, kinds["postgres"]),
        await _check_redis(stores, kinds["redis"]),
    ]
    if findings[0].mark == "ok":
        findings += [await _check_queue(stores, kinds["queue"]), await _check_ledger(stores)]
    findings.append(Finding("ok", "blobs", kinds["blobs"]))
    findings.append(Finding("ok", "secrets", kinds["secrets"]))
    return findings


async def _check_postgres(target: Target, stores: Stores, kind: str) -> Finding:
    url = target.settings.stores.database_url
    mend = "Check DATABASE_URL or SUPABASE_URL, and the network to it."
    try:
        pending = await pending_migrations(url) if url else []
        if pending:
            names = ", ".join(pending)
            return Finding("bad", "postgres", f"lacks {names}", "Run `gatewayz migrate`.")
        await stores.postgres.rpc("ping", {})
    except (LocalError, GatewayError) as error:
        return Finding("bad", "postgres", f"{error} ({kind})", mend)
    state = "answers; the schema is the newest" if url else "answers"
    return Finding("ok", "postgres", f"{state} ({kind})")


async def _check_redis(stores: Stores, kind: str) -> Finding:
    try:
        await stores.redis.script("ping_v1", ["ping"], [])
    except GatewayError as error:
        mend = "Check REDIS_URL or UPSTASH_REDIS_REST_URL, and the network to it."
        return Finding("bad", "redis", f"{error.message} ({kind})", mend)
    if problem := await unsafe_eviction(stores.redis):
        return Finding("bad", "redis", problem, "Switch eviction off: what it evicts is money.")
    return Finding("ok", "redis", f"answers and runs scripts ({kind})")


async def _check_queue(stores: Stores, kind: str) -> Finding:
    try:
        depth = await stores.queue.depth(CHARGES)
    except GatewayError as error:
        return Finding("bad", "queue", f"{error.message} ({kind})")
    state = f"{depth.waiting} waiting, {depth.inflight} in work, {depth.dead} dead ({kind})"
    if depth.dead:
        return Finding("bad", "queue", state, "Read the worker's log, then send them again.")
    if (depth.oldest_ms or 0) > OLD_MESSAGE_MS:
        return Finding("bad", "queue", state, "Nobody settles: does `gatewayz work` run?")
    return Finding("ok", "queue", state)


async def _check_ledger(stores: Stores) -> Finding:
    try:
        violations = await stores.postgres.rpc("check_violations", {})
    except GatewayError as error:
        return Finding("bad", "ledger", error.message)
    if violations:
        rules = ", ".join(sorted({row["rule"] for row in violations}))
        return Finding("bad", "ledger", f"{len(violations)} violations ({rules})")
    return Finding("ok", "ledger", "adds up: no violations")


# ---------------------------------------------------------------- providers


async def _check_providers(target: Target, secrets: Secrets) -> list[Finding]:
    try:
        providers, catalog = load_catalog(target.settings.catalog, secrets)
    except SettingsError as error:
        return [Finding("bad", "providers", str(error), "Mend the file GATEWAYZ_PROVIDERS names.")]
    findings = [
        Finding("ok", "environment", "checked with this shell's environment and .env"),
        *_compare(target, secrets),
        _check_catalog(catalog),
    ]
    before = len(findings)
    http = HttpClient()
    try:
        findings += await check_roster(http, providers.values(), secrets)
    finally:
        await http.aclose()
    if not any(f.mark == "ok" for f in findings[before:]):
        findings.append(Finding("warn", "no provider", "nothing can be served yet"))
    return findings


def _compare(target: Target, secrets: Secrets) -> list[Finding]:
    """Where the running local stack was started with other providers than this shell has."""
    running, catalog = target.running, target.settings.catalog
    if running is None:
        return []
    here, there = set(credentials_here(catalog, secrets)), set(running.credentials)
    differences = [
        (f"has no {', '.join(sorted(here - there))}", here - there),
        (f"has {', '.join(sorted(there - here))}, which this shell has not", there - here),
        (
            f"reads {running.providers_file or 'no file'} for GATEWAYZ_PROVIDERS, not"
            f" {providers_file(catalog) or 'none'}",
            running.providers_file != providers_file(catalog),
        ),
    ]
    mend = "It keeps what it was started with: stop it and start it from this shell."
    return [
        Finding("warn", "running stack", said, mend) for said, differs in differences if differs
    ]


def _check_catalog(catalog: Catalog) -> Finding:
    models = catalog.models()
    served = [model for model in models if catalog.servable(model.id)]
    return Finding("ok", "catalog", f"{len(served)} of {len(models)} models can be served")
