"""Staff operations on the catalog: quarantine, audits, overrides, syncs. Control plane.

Another key than any customer's opens it, and nothing else does; every change names who made it.
"""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import Query, Response

from gatewayz.api.answers import json_answer
from gatewayz.api.app import CurrentPlane, Plane, create_app
from gatewayz.api.schemas.admin import (
    AliasChange,
    Decision,
    ModelChange,
    OfferChange,
    ProviderChange,
    PublishRequest,
)
from gatewayz.api.staff import Staff
from gatewayz.catalog.feeds import Feed
from gatewayz.catalog.listings import feeds_read
from gatewayz.catalog.load import load_own
from gatewayz.catalog.operators import Operator
from gatewayz.catalog.reports import price_drift, pricing_audit, provider_states
from gatewayz.catalog.snapshot import current_version, load_snapshot
from gatewayz.catalog.store import CatalogStore
from gatewayz.catalog.syncing import scheduled, sync_catalog
from gatewayz.catalog.views.reader import Reader
from gatewayz.core.errors import NotFound
from gatewayz.health import maintenance
from gatewayz.health.credit import credit_pages
from gatewayz.health.watch import probe_now, reset, watch_health
from gatewayz.runtime import entries

app = create_app("admin")
lambda_handler = entries.http(app)

# A buffered answer has to be there before the platform's 29 s: what is left over is taken up by
# the schedule, which goes on with the same run. A listing begun so late could not be read whole.
SYNC_S, BEGIN_UNTIL_S = 24.0, 14.0
PACKAGED_FEED = "genai_prices"
Json = dict[str, Any]
Limit = Annotated[int, Query(ge=1, le=1000)]
Days = Annotated[int, Query(ge=1, le=365)]
Name = Annotated[str | None, Query(max_length=128)]


def _store(plane: Plane) -> CatalogStore:
    return CatalogStore(plane.stores.postgres)


def _operator(plane: Plane, staff: Staff) -> Operator:
    from gatewayz.catalog.views.pages import render_pages

    own = load_own(plane.settings.catalog, plane.stores.secrets)
    return Operator(
        plane.stores, staff.name, render=lambda s: render_pages(s, own.providers, own.ready)
    )


# ---------------------------------------------------------------- quarantine and alerts


@app.get("/admin/catalog/quarantine")
async def list_quarantine(
    plane: CurrentPlane, staff: Staff, provider: str | None = None, limit: Limit = 100,
    decided: bool = False,
) -> Json:  # fmt: skip
    """Prices that were held back, newest first; `decided` shows those already decided too."""
    params: Json = {"limit": limit, "all": decided}
    if provider is not None:
        params["provider"] = provider
    return {"data": await _store(plane).call("catalog_list_quarantine", params)}


@app.post("/admin/catalog/quarantine/{number}")
async def decide_quarantine(
    number: int, asked: Decision, plane: CurrentPlane, staff: Staff
) -> Json:
    return await _operator(plane, staff).decide(number, asked.decision)


@app.get("/admin/catalog/alerts")
async def list_alerts(
    plane: CurrentPlane, staff: Staff, limit: Limit = 100, closed: bool = False
) -> Json:
    return {
        "data": await _store(plane).call("catalog_list_alerts", {"limit": limit, "all": closed})
    }


@app.post("/admin/catalog/alerts/{number}/close")
async def close_alert(number: int, plane: CurrentPlane, staff: Staff) -> Json:
    return await _operator(plane, staff).close_alert(number)


# ---------------------------------------------------------------- audits


@app.get("/admin/pricing-audit")
async def get_pricing_audit(plane: CurrentPlane, staff: Staff, days: Days = 30) -> Json:
    """Changes of 5 % and more, hosts that differ by 10 % and more, what is held, what it costs."""
    snapshot = await load_snapshot(plane.stores)
    return await pricing_audit(_store(plane), snapshot.entries, days)


@app.get("/admin/pricing-drift")
async def get_pricing_drift(plane: CurrentPlane, staff: Staff) -> Json:
    """Our costs against the price feed that is installed with this release."""
    snapshot = await load_snapshot(plane.stores)
    feed = Feed.of(PACKAGED_FEED, feeds_read(PACKAGED_FEED, None, "9999-12-31"), "")
    return {"feed": PACKAGED_FEED, "data": price_drift(snapshot.entries, [feed])}


@app.get("/admin/catalog/unpriced")
async def list_unpriced(plane: CurrentPlane, staff: Staff, limit: Limit = 1000) -> Json:
    """Offers that cannot be sold, because nobody knows their price."""
    return {"data": await _store(plane).call("catalog_unpriced", {"limit": limit})}


@app.get("/admin/catalog/trail")
async def list_trail(
    plane: CurrentPlane, staff: Staff, subject: str | None = None, limit: Limit = 100
) -> Json:
    """Who changed what, with what it was before."""
    params: Json = {"limit": limit} | ({"subject": subject} if subject is not None else {})
    return {"data": await _store(plane).call("catalog_trail", params)}


# ---------------------------------------------------------------- changes


def _stated(change: Any) -> Mapping[str, Any]:
    """What the caller wrote, null included."""
    stated: Mapping[str, Any] = change.model_dump(exclude_unset=True)
    return stated


@app.post("/admin/catalog/offers")
async def change_offer(asked: OfferChange, plane: CurrentPlane, staff: Staff) -> Json:
    return await _operator(plane, staff).set("offer", asked.offer, _stated(asked))


@app.post("/admin/catalog/models")
async def change_model(asked: ModelChange, plane: CurrentPlane, staff: Staff) -> Json:
    return await _operator(plane, staff).set("model", asked.model, _stated(asked))


@app.post("/admin/catalog/providers")
async def change_provider(asked: ProviderChange, plane: CurrentPlane, staff: Staff) -> Json:
    return await _operator(plane, staff).set("provider", asked.provider, _stated(asked))


@app.post("/admin/catalog/aliases")
async def change_alias(asked: AliasChange, plane: CurrentPlane, staff: Staff) -> Json:
    return await _operator(plane, staff).set_alias(asked.alias, asked.model, asked.kind)


@app.post("/admin/catalog/publish")
async def publish_catalog(asked: PublishRequest, plane: CurrentPlane, staff: Staff) -> Json:
    return await _operator(plane, staff).publish(force=asked.force)


# ---------------------------------------------------------------- syncs


@app.get("/admin/model-sync/providers")
@app.get("/admin/catalog/providers")
async def list_provider_states(plane: CurrentPlane, staff: Staff) -> Json:
    """What every provider lists, since when, and whether that is fewer than it should be."""
    return {"data": await provider_states(_store(plane))}


@app.get("/admin/model-sync/status")
async def get_sync_status(plane: CurrentPlane, staff: Staff, limit: Limit = 10) -> Json:
    """The last runs, what each provider gave, and which version is published."""
    store = _store(plane)
    return {
        "version": await current_version(plane.stores) or None,
        "publications": await store.call("catalog_publications", {"limit": min(limit, 100)}),
        "runs": await store.call("catalog_runs", {"limit": min(limit, 100)}),
    }


@app.get("/admin/model-sync/health")
async def get_sync_health(plane: CurrentPlane, staff: Staff) -> Json:
    """`ok` while nothing calls for a person."""
    store = _store(plane)
    states = await provider_states(store)
    alerts = await store.call("catalog_list_alerts", {"limit": 1000})
    serious = [alert for alert in alerts if alert["severity"] in ("major", "critical")]
    low = [row["provider"] for row in states if row["alarm"]]
    return {
        "status": "degraded" if serious or low else "ok",
        "alerts": len(alerts),
        "below_minimum": low,
        "providers": len(states),
    }


@app.post("/admin/model-sync/{what}")
async def start_sync(
    what: Literal["all", "full", "incremental", "trigger", "dry-run"],
    plane: CurrentPlane, staff: Staff, force: bool = False, dry_run: bool = False,
) -> Response:  # fmt: skip
    """Read all listings now. What does not fit into this answer's time, the schedule finishes."""
    return await _sync(plane, (), what, force=force, dry_run=dry_run or what == "dry-run")


@app.post("/admin/model-sync/provider/{slug}")
async def sync_provider(
    slug: str, plane: CurrentPlane, staff: Staff, force: bool = False,
    dry_run: bool = False,
) -> Response:  # fmt: skip
    """Read one provider's listing now."""
    if slug not in load_own(plane.settings.catalog, plane.stores.secrets).providers:
        raise NotFound(f"'{slug[:40]}' is no provider here.", code="provider_not_found")
    return await _sync(plane, (slug,), "provider", force=force, dry_run=dry_run)


async def _sync(
    plane: Plane, only: tuple[str, ...], kind: str, *, force: bool, dry_run: bool
) -> Response:
    """The run's result; 202 when it takes longer than an answer may, and the schedule goes on."""
    # Without a schedule nobody would go on with it, and without a platform nobody cuts it off.
    limited = scheduled(plane.settings)
    try:
        async with asyncio.timeout(SYNC_S if limited else None):
            result = await sync_catalog(
                plane.stores, plane.settings, only, kind=kind.replace("-", "_"), force=force,
                dry_run=dry_run, begin_until_s=BEGIN_UNTIL_S if limited else None,
            )  # fmt: skip
    except TimeoutError:
        return await _unfinished(plane, dry_run=dry_run)
    answer = result.as_json()
    if dry_run:
        answer["changes"] = {p.provider: p.changes for p in result.providers if p.changes}
        answer["held"] = {p.provider: p.held for p in result.providers if p.held}
    elif result.state == "running":
        return await _unfinished(plane, dry_run=False)
    return json_answer(answer)


async def _unfinished(plane: Plane, *, dry_run: bool) -> Response:
    """What became of a run that did not fit into an answer's time: its record says it."""
    if dry_run:
        detail = "Too many listings for one answer: name a provider, or use the command line."
        return json_answer({"state": "cut", "detail": detail}, status=504)
    (run,) = await _store(plane).call("catalog_runs", {"limit": 1})
    told = {
        "run_id": run["run_id"],
        "state": run["state"],
        "forced": run["forced"],
        "done": [row["provider"] for row in run["providers"]],
        "detail": "Begun; the schedule goes on with it, within the hour.",
        "status": "/admin/model-sync/status",
    }
    return json_answer(told, status=202)


# ---------------------------------------------------------------- health of offers


@app.post("/admin/circuit-breakers/reset-all")
async def reset_breakers(plane: CurrentPlane, staff: Staff) -> Json:
    """Close every breaker that is open."""
    return {"reset": await reset(plane.stores), "by": staff.name}


@app.post("/admin/circuit-breakers/{provider}/reset")
async def reset_breaker(provider: str, plane: CurrentPlane, staff: Staff) -> Json:
    """Close the breakers of a provider and of its offers; end their pauses."""
    done = await reset(plane.stores, provider=provider)
    if not done:
        raise NotFound("Nothing is known of this provider.", code="health_not_found")
    return {"reset": done, "by": staff.name}


@app.post("/admin/health/check/{provider}/{model:path}")
async def probe_offer(provider: str, model: str, plane: CurrentPlane, staff: Staff) -> Json:
    """One probe now, whatever the schedule says; within the day's budget."""
    done = await probe_now(plane.stores, plane.settings, provider=provider, model=model)
    if done is None:
        raise NotFound("No such offer can be probed from here.", code="health_not_found")
    return done


@app.post("/health/check")
@app.post("/health/check/now")
async def check_now(plane: CurrentPlane, staff: Staff) -> Json:
    """One round of the schedule now: what is due is probed, as far as an answer's time goes; the
    next round goes on."""
    try:
        async with asyncio.timeout(SYNC_S):
            done = await watch_health(plane.stores, plane.settings)
    except TimeoutError:
        return {"state": "running", "detail": "The schedule goes on with it, within a minute."}
    return {"state": "done", **done}


@app.post("/availability/maintenance/{model:path}")
async def begin_maintenance(
    model: str, plane: CurrentPlane, staff: Staff, provider: Name = None,
    hours: Annotated[float | None, Query(gt=0, le=8760)] = None,
    note: Annotated[str | None, Query(max_length=500)] = None,
) -> Json:  # fmt: skip
    """Take a model out of service, everywhere or at one provider; for `hours`, or until it is
    ended."""
    listed = await Reader(plane.settings, plane.stores).known(model)
    offers = [o.id for o in listed.offers if provider is None or o.provider == provider]
    if not offers:
        raise NotFound("No such offer is listed.", code="health_not_found")
    return await maintenance.begin(
        plane.stores, listed.model.id, offers, provider=provider, hours=hours, note=note,
        actor=staff.name,
    )  # fmt: skip


@app.delete("/availability/maintenance/{model:path}")
async def end_maintenance(
    model: str, plane: CurrentPlane, staff: Staff, provider: Name = None
) -> Json:
    """Put it back into service."""
    listed = await Reader(plane.settings, plane.stores).known(model)
    done = await maintenance.end(plane.stores, listed.model.id, provider=provider)
    if done is None:
        raise NotFound("It is not in maintenance.", code="health_not_found")
    return done


@app.get("/availability/maintenance")
async def list_maintenance(plane: CurrentPlane, staff: Staff) -> Json:
    rows = await maintenance.current(plane.stores)
    return {"total": len(rows), "maintenance": rows}


@app.post("/availability/monitoring/start")
@app.post("/health/monitoring/start")
async def start_probing(plane: CurrentPlane, staff: Staff) -> Json:
    """Let the schedule probe what nobody uses. Traffic is always measured."""
    await plane.stores.postgres.rpc("set_probing", {"on": True, "actor": staff.name})
    return await maintenance.probing(plane.stores)


@app.post("/availability/monitoring/stop")
@app.post("/health/monitoring/stop")
async def stop_probing(plane: CurrentPlane, staff: Staff) -> Json:
    await plane.stores.postgres.rpc("set_probing", {"on": False, "actor": staff.name})
    return await maintenance.probing(plane.stores)


@app.get("/api/provider-credits/balance")
async def list_credit(plane: CurrentPlane, staff: Staff) -> Response:
    """What providers have left of our credit, where they tell it, and refused payments."""
    rows = await credit_pages(plane.stores)
    return json_answer({"total": len(rows), "balances": rows})


@app.get("/api/provider-credits/balance/{provider}")
async def get_credit(provider: str, plane: CurrentPlane, staff: Staff) -> Response:
    for row in await credit_pages(plane.stores):
        if row["provider"] == provider:
            return json_answer(row)
    raise NotFound("Nothing is known of this provider.", code="health_not_found")
