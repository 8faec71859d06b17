"""Staff operations over HTTP and on the command line: nobody else, nothing without its trail."""

import asyncio
import importlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gatewayz.api.app import _Planes
from gatewayz.catalog.snapshot import load_snapshot
from gatewayz.core.errors import NotFound
from gatewayz.core.settings import Settings
from tests.catalog.conftest import SyncWorld, priced
from tests.catalog.test_f68_quarantine import _resolver

SECRET = "staff-secret-staff-secret-staff-secret"
STAFF = {"authorization": f"Bearer {SECRET}"}


@pytest.fixture
async def admin(settings: Settings, catalog: SyncWorld) -> AsyncIterator[httpx.AsyncClient]:
    app = importlib.import_module("functions.admin.app").app
    before = app.state.planes
    keys = replace(settings.keys, staff=f"alice:{SECRET}")
    app.state.planes = _Planes(replace(settings, keys=keys))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://admin", headers=STAFF
    ) as client:
        yield client
    await app.state.planes.close()
    app.state.planes = before


async def change(admin: httpx.AsyncClient, what: str, **body: Any) -> dict[str, Any]:
    answer = await admin.post(f"/admin/catalog/{what}", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def _paths() -> list[tuple[str, str]]:
    app = importlib.import_module("functions.admin.app").app
    return sorted(
        (method, route.path) for route in app.routes for method in route.methods - {"HEAD"}
    )


async def test_nobody_gets_in_without_a_staff_key(admin: httpx.AsyncClient) -> None:
    assert len(_paths()) >= 15
    for method, path in _paths():
        filled = re.sub(r"\{[^}]+\}", "1", path)
        for headers in ({"authorization": ""}, {"authorization": "Bearer gw_live_x"}):
            answer = await admin.request(method, filled, headers=headers, json={})
            assert answer.status_code == 401, (method, path, answer.text)


async def test_without_staff_in_the_settings_nobody_is_staff(
    settings: Settings, admin: httpx.AsyncClient
) -> None:
    app = importlib.import_module("functions.admin.app").app
    app.state.planes = _Planes(settings)
    assert (await admin.get("/admin/catalog/alerts")).status_code == 401
    await app.state.planes.close()


async def test_what_an_operator_hides_a_sync_does_not_bring_back(
    catalog: SyncWorld, admin: httpx.AsyncClient
) -> None:
    catalog.lists("alpha", priced("maker/one"), priced("maker/two"))
    catalog.lists("beta", priced("maker/one", "3", "4"))
    await catalog.run()
    told = await change(admin, "offers", offer="alpha/maker/one", enabled=False)
    assert (told["enabled"], told["published"]) == (False, True)
    await change(admin, "models", model="maker/two", hidden=True)
    for _ in range(2):
        snapshot = await load_snapshot(catalog.stores)
        offers = [offer.id for entry in snapshot.entries for offer in entry.offers]
        assert offers == ["beta/maker/one"]
        await catalog.run(force=True)
    resolver = _resolver(catalog, "alpha", "beta")
    assert [o.id for o in (await resolver.resolve("maker/one")).servable] == ["beta/maker/one"]
    with pytest.raises(NotFound):
        await resolver.resolve("maker/two")
    trail = (await admin.get("/admin/catalog/trail")).json()["data"]
    assert [(row["actor"], row["action"], row["subject"]) for row in trail] == [
        ("alice", "model.set", "maker/two"),
        ("alice", "offer.set", "alpha/maker/one"),
    ]
    assert trail[1]["before"]["enabled"] is True
    assert trail[1]["after"]["enabled"] is False


async def test_a_price_that_an_operator_sets_stands_against_every_source(
    catalog: SyncWorld, admin: httpx.AsyncClient
) -> None:
    catalog.lists("alpha", priced("maker/one", "1", "2"), priced("maker/two"))
    await catalog.run()
    await change(admin, "offers", offer="alpha/maker/one", price={"input": "0.7", "output": "1.4"})
    catalog.lists("alpha", priced("maker/one", "1.2", "2"), priced("maker/two"))
    await catalog.run(force=True)
    (offer,) = (await _resolver(catalog, "alpha").resolve("maker/one")).servable
    assert offer.price is not None
    assert offer.price.nanos_per_million == {"input": 700_000_000, "output": 1_400_000_000}
    assert offer.source == "operator"
    await change(admin, "offers", offer="alpha/maker/one", price=None)
    (offer,) = (await _resolver(catalog, "alpha").resolve("maker/one")).servable
    assert offer.price is not None and offer.price.of("input") == 1_200_000_000


UNSOUND: list[dict[str, Any]] = [
    {"input": "-1", "output": "1"}, {"input": "0", "output": "1"}, {"inptu": "1"}, {},
    {"input": "NaN", "output": "1"}, {"input": "20000", "output": "1"},
    {"input": "1", "output": "2", "free": True},
]  # fmt: skip


async def test_an_operator_cannot_set_an_unsound_price_or_markup(admin: httpx.AsyncClient) -> None:
    for price in UNSOUND:
        answer = await admin.post("/admin/catalog/offers", json={"offer": "a/x", "price": price})
        assert answer.status_code == 400, (price, answer.text)
    for markup in ("-1", "101", "a", "1.00000001", "NaN"):
        answer = await admin.post("/admin/catalog/models", json={"model": "a/x", "markup": markup})
        assert answer.status_code == 400, (markup, answer.text)


async def test_a_markup_is_shown_and_charged_and_the_narrowest_counts(
    catalog: SyncWorld, admin: httpx.AsyncClient
) -> None:
    catalog.lists("alpha", priced("maker/one", "1", "2"), priced("maker/two", "1", "2"))
    await catalog.run()
    await change(admin, "providers", provider="alpha", markup="1.25")
    await change(admin, "models", model="maker/one", markup="1.1")
    answer = await admin.post("/admin/catalog/publish", json={"force": True})
    assert answer.status_code == 200
    resolver = _resolver(catalog, "alpha")
    (one,) = (await resolver.resolve("maker/one")).servable
    (two,) = (await resolver.resolve("maker/two")).servable
    assert one.price and one.cost and two.price
    assert one.price.nanos_per_million == {"input": 1_100_000_000, "output": 2_200_000_000}
    assert one.cost.nanos_per_million == {"input": 1_000_000_000, "output": 2_000_000_000}
    assert two.price.nanos_per_million == {"input": 1_250_000_000, "output": 2_500_000_000}
    assert one.price.version != one.cost.version


async def test_an_alias_renames_a_redirect_leads_on_and_says_so(
    catalog: SyncWorld, admin: httpx.AsyncClient
) -> None:
    catalog.lists("alpha", priced("maker/one"), priced("maker/two"))
    await catalog.run()
    await change(admin, "aliases", alias="Uno", model="maker/one")
    await change(admin, "aliases", alias="maker/zero", model="maker/one", kind="redirect")
    resolver = _resolver(catalog, "alpha")
    known = await resolver.resolve("UNO")
    assert (known.model.id, known.redirected_from) == ("maker/one", "")
    known = await resolver.resolve("maker/zero")
    assert (known.model.id, known.redirected_from) == ("maker/one", "maker/zero")
    hides = await admin.post(
        "/admin/catalog/aliases", json={"alias": "maker/two", "model": "maker/one"}
    )
    assert hides.status_code == 409, "an alias never hides a model"
    hop = await admin.post("/admin/catalog/aliases", json={"alias": "x", "model": "uno"})
    assert hop.status_code == 404, "one hop: an alias names a model, no alias"
    await change(admin, "aliases", alias="uno", model=None)
    with pytest.raises(NotFound):
        await _resolver(catalog, "alpha").resolve("uno")


async def test_what_is_held_back_is_listed_and_decided(
    catalog: SyncWorld, admin: httpx.AsyncClient
) -> None:
    catalog.lists("alpha", priced("maker/one", "1", "2"), priced("maker/two"))
    await catalog.run()
    catalog.lists("alpha", priced("maker/one", "20", "40"), priced("maker/two"))
    await catalog.run()
    (held,) = (await admin.get("/admin/catalog/quarantine?provider=alpha")).json()["data"]
    assert held["reason"] == "changed"
    done = await change(admin, f"quarantine/{held['id']}", decision="accepted")
    assert done["published"] is True, "one offer of two, but fewer than a share is measured of"
    (offer,) = (await _resolver(catalog, "alpha").resolve("maker/one")).servable
    assert offer.price is not None and offer.price.of("input") == 20_000_000_000
    again = await admin.post(
        f"/admin/catalog/quarantine/{held['id']}", json={"decision": "rejected"}
    )
    assert again.status_code == 409
    missing = await admin.post("/admin/catalog/quarantine/999", json={"decision": "rejected"})
    assert missing.status_code == 404
    (row,) = (await admin.get("/admin/catalog/trail")).json()["data"]
    assert (row["action"], row["before"]["nanos"]["input"], row["after"]["nanos"]["input"]) == (
        "price.accepted", 1_000_000_000, 20_000_000_000,
    )  # fmt: skip


async def test_the_pricing_audit_names_changes_and_hosts_that_differ(
    catalog: SyncWorld, admin: httpx.AsyncClient
) -> None:
    catalog.lists("alpha", priced("maker/one", "1", "2"), priced("maker/two", "1", "2"))
    catalog.lists("beta", priced("maker/one", "4", "2.1"))
    await catalog.run()
    catalog.lists("alpha", priced("maker/one", "1.6", "2.02"), priced("maker/two", "1", "2"))
    await catalog.run(force=True)
    audit = (await admin.get("/admin/pricing-audit?days=30")).json()
    (changed,) = audit["changes"]
    assert (changed["offer"], changed["class"], changed["percent"], changed["severity"]) == (
        "alpha/maker/one", "input", 60.0, "moderate",
    )  # fmt: skip
    assert (changed["before_usd"], changed["after_usd"]) == ("1", "1.6")
    (differs,) = audit["variance"]
    assert (differs["model"], differs["class"], differs["percent"], differs["severity"]) == (
        "maker/one", "input", 150.0, "major",
    )  # fmt: skip
    assert audit["summary"] == {"minor": 0, "moderate": 1, "major": 1, "critical": 0}
    assert audit["cost_impact"] == [], "nobody used it"


async def test_status_health_and_providers_of_the_sync(
    catalog: SyncWorld, admin: httpx.AsyncClient
) -> None:
    catalog.lists("alpha", priced("maker/one"))
    result = await catalog.run()
    assert result.published is not None
    status = (await admin.get("/admin/model-sync/status")).json()
    assert status["version"] == result.published.version
    (run,) = status["runs"]
    assert (run["state"], run["providers"][0]["fetched"]) == ("done", 1)
    assert (await admin.get("/admin/model-sync/health")).json()["status"] == "ok"
    catalog.listings.answers["alpha"] = (500, b"")
    await catalog.run()
    health = (await admin.get("/admin/model-sync/health")).json()
    assert (health["status"], health["alerts"]) == ("degraded", 1)
    (row,) = (await admin.get("/admin/model-sync/providers")).json()["data"]
    assert (row["provider"], row["listed"], row["last_error"]) == ("alpha", 1, "status 500")
    (alert,) = (await admin.get("/admin/catalog/alerts")).json()["data"]
    closed = await admin.post(f"/admin/catalog/alerts/{alert['id']}/close")
    assert closed.status_code == 200
    assert (await admin.get("/admin/catalog/alerts")).json()["data"] == []


async def test_staff_can_have_listings_read(
    catalog: SyncWorld, admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    async def stand_in(stores: Any, settings: Any, only: Any = (), **more: Any) -> Any:
        asked.append((tuple(only), more["kind"], more["dry_run"], more["force"]))
        return await catalog.run(*only, dry_run=more["dry_run"])

    monkeypatch.setattr("functions.admin.app.sync_catalog", stand_in)
    catalog.lists("alpha", priced("maker/one"))
    dry = await admin.post("/admin/model-sync/dry-run")
    assert dry.json()["state"] == "dry"
    for path in ("all", "full?force=true", "incremental", "trigger", "provider/groq"):
        answer = await admin.post(f"/admin/model-sync/{path}")
        assert answer.json()["state"] in ("done", "dry"), path
    assert (await admin.post("/admin/model-sync/provider/nobody")).status_code == 404
    assert [one[:2] for one in asked] == [
        ((), "dry_run"), ((), "all"), ((), "full"), ((), "incremental"), ((), "trigger"),
        (("groq",), "provider"),
    ]  # fmt: skip
    assert asked[2][3] is True


async def test_a_sync_longer_than_an_answer_is_begun_and_gone_on_with_by_the_schedule(
    catalog: SyncWorld, admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Honest all the way: 202 with the run's id, its record says how far it is, the schedule's
    next run ends this very one, with the force that it was begun with."""
    for slug in ("alpha", "beta"):
        catalog.lists(slug, *[priced(f"{slug}/m{n}", "1", "1") for n in range(30)])
    await catalog.run()
    for slug in ("alpha", "beta"):
        # More than a tenth changes at once: without force nothing would be published.
        catalog.lists(slug, *[priced(f"{slug}/m{n}", "1.3", "1") for n in range(30)])

    async def cut_short(stores: Any, settings: Any, only: Any = (), **more: Any) -> Any:
        sync = catalog.sync(begin_until_s=more["begin_until_s"] or 1e9)
        reading = sync._fetcher.listing

        async def slow(provider: Any, progress: Any = None) -> Any:
            if provider.slug == "beta":
                await asyncio.sleep(30)
            return await reading(provider, progress)

        sync._fetcher.listing = slow  # type: ignore[method-assign]
        return await sync.run(only, force=more["force"], dry_run=more["dry_run"])

    monkeypatch.setattr("functions.admin.app.sync_catalog", cut_short)
    monkeypatch.setattr("functions.admin.app.SYNC_S", 0.6)
    monkeypatch.setattr("functions.admin.app.scheduled", lambda settings: True)
    answer = await admin.post("/admin/model-sync/full?force=true")
    told = answer.json()
    assert (answer.status_code, told["state"], told["done"]) == (202, "running", ["alpha"])
    assert told["forced"] is True and "schedule" in told["detail"]
    status = (await admin.get(told["status"])).json()
    assert (status["runs"][0]["run_id"], status["runs"][0]["state"]) == (told["run_id"], "running")
    dry = await admin.post("/admin/model-sync/dry-run")
    assert (dry.status_code, dry.json()["state"]) == (504, "cut"), "nobody goes on with that"
    catalog.listings.asked.clear()
    result = await catalog.run()
    assert (result.run_id, result.resumed, result.state) == (told["run_id"], True, "done")
    assert catalog.listings.asked == ["beta"], "alpha was done already"
    assert result.published is not None and result.published.fresh, "forced, as it was begun"
    status = (await admin.get(told["status"])).json()
    assert status["runs"][0]["state"] == "done"
    assert {p["provider"] for p in status["runs"][0]["providers"]} == {"alpha", "beta"}


async def test_without_a_schedule_a_sync_is_not_cut_off(
    catalog: SyncWorld, admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stand_in(stores: Any, settings: Any, only: Any = (), **more: Any) -> Any:
        await asyncio.sleep(0.05)
        assert more["begin_until_s"] is None
        return await catalog.run()

    monkeypatch.setattr("functions.admin.app.sync_catalog", stand_in)
    monkeypatch.setattr("functions.admin.app.SYNC_S", 0.001)
    catalog.lists("alpha", priced("maker/one"))
    answer = await admin.post("/admin/model-sync/all")
    assert (answer.status_code, answer.json()["state"]) == (200, "done")


async def test_the_trail_is_append_only(catalog: SyncWorld, database_url: str) -> None:
    import asyncpg

    catalog.lists("alpha", priced("maker/one"))
    await catalog.run()
    await catalog.rpc("catalog_set_offer", offer="alpha/maker/one", actor="bob", hidden=True)
    connection = await asyncpg.connect(database_url)
    for statement in (
        "delete from catalog.trail",
        "update catalog.trail set actor = 'nobody'",
        "delete from catalog.prices",
        "update catalog.prices set nanos = '{}'",
    ):
        with pytest.raises(asyncpg.PostgresError):
            await connection.execute(statement)
    await connection.close()


def test_the_command_line_reads_prices_as_people_write_them() -> None:
    from gatewayz.cli.catalog import read_price

    assert read_price("input=2.5, output=15") == {"input": "2.5", "output": "15"}
    assert read_price("none") is None
    assert read_price("free") == {"free": True}
    assert json.loads(json.dumps(read_price("free"))) == {"free": True}
