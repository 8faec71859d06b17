"""The older web client's routes: the same models and prices, in the envelopes that it reads."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatewayz.core.settings import Settings
from gatewayz.local.mount import Mount, load_modules, routes_of
from tests.world import World

FIELDS_READ = {
    "id", "name", "description", "created", "source_gateway", "source_gateways", "provider_slug",
    "context_length", "pricing", "supported_parameters", "categories", "architecture", "is_free",
    "is_private", "health_status", "average_response_time_ms", "canonical_slug",
    "model_logo_url", "provider_site_url",
}  # fmt: skip
OPERATOR = """
[acme-cloud]
name = "Acme"
dialect = "openai_chat"
base_url = "https://api.acme.example/v1"
credential = "ACME_API_KEY"

[zeta-cloud]
name = "Zeta"
dialect = "openai_chat"
base_url = "https://api.zeta.example/v1"
credential = "ACME_API_KEY"

[zeta-resale]
name = "Zeta Resale"
dialect = "openai_chat"
base_url = "https://api.resale.example/v1"
credential = "ACME_API_KEY"
aggregator = true
region = "eu"

[[models]]
id = "zeta/two"
[[models.offers]]
provider = "zeta-resale"
native_id = "two"
input = 1
output = 1
[[models.offers]]
provider = "zeta-cloud"
native_id = "two"
input = 2
output = 2

[[models]]
id = "acme/one"
name = "Acme One"
[[models.offers]]
provider = "acme-cloud"
native_id = "one-large"
context = 100000
input = 3
output = 15
[[models.offers]]
provider = "sandbox"
native_id = "echo"
context = 50000
input = 1
output = 3
"""


@pytest.fixture
def tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Settings], Settings]:
    monkeypatch.setenv("ACME_API_KEY", "secret")
    path = tmp_path / "operator.toml"
    path.write_text(OPERATOR)

    def with_operators_file(settings: Settings) -> Settings:
        return replace(settings, catalog=replace(settings.catalog, providers_file=str(path)))

    return with_operators_file


async def read(world: World, path: str, status: int = 200) -> Any:
    answer = await world.client.get(path)
    assert answer.status_code == status, (path, answer.text)
    return answer.json()


# ---------------------------------------------------------------- no route stands in another's way


def test_a_route_with_fixed_words_is_never_taken_by_one_with_names() -> None:
    """On every route of every function: who is asked by the path of a fixed route is that route."""
    for name, module in load_modules("app"):
        routes = getattr(module.app, "routes", None)
        for route in routes or ():
            if "{" in route.path:
                continue
            for method in route.methods:
                first = next(
                    r for r in routes if method in r.methods and r.path_regex.match(route.path)
                )
                assert first is route, f"{name}: {method} {route.path} goes to {first.path}"


def test_a_route_with_more_fixed_words_comes_first() -> None:
    """`…/compare` and `…/endpoints` end what a name would otherwise take whole."""
    routes = dict(load_modules("app"))["models"].app.routes
    for path, wanted in {
        "/v1/models/a/b/endpoints": "/v1/models/{author}/{slug:path}/endpoints",
        "/v1/models/a/b/c/compare": "/v1/models/{author}/{slug:path}/compare",
        "/v1/models/by-category/marketing/seo": "/v1/models/by-category/{category:path}",
        "/v1/models/search": "/v1/models/search",
        "/v1/models/searching": "/v1/models/{model_id:path}",
        "/v1/models/a/search": "/v1/models/{model_id:path}",
    }.items():
        first = next(r for r in routes if "GET" in r.methods and r.path_regex.match(path))
        assert first.path == wanted


def test_the_local_mount_sends_each_fixed_path_to_its_function() -> None:
    mount = Mount()
    modules = dict(load_modules("app"))
    for name, module in modules.items():
        mount.add(name, module.app, routes_of(name, module))
    for path in routes_of("models", modules["models"]):
        sample = (
            path.replace("{author}", "a")
            .replace("{slug:path}", "b")
            .replace("{model_id:path}", "a/b")
            .replace("{category:path}", "x")
        )
        assert mount._find(sample) is modules["models"].app, path


async def test_every_fixed_route_answers_with_its_own_answer(world: World) -> None:
    keys = {
        "/v1/models/search": "meta",
        "/v1/models/trending": "time_range",
        "/v1/models/low-latency": "provider_tiers",
        "/v1/models/unique": "next_offset",
        "/v1/models/count": "data",
        "/v1/models/by-category/programming": "total",
    }
    for path, key in keys.items():
        assert key in await read(world, path), path


# ---------------------------------------------------------------- lists


async def test_the_list_is_openais_and_has_every_field_that_is_read(world: World) -> None:
    body = await read(world, "/v1/models?gateway=all")
    assert body["object"] == "list"
    assert {"data", "total", "returned", "offset", "limit", "has_more", "next_offset", "gateway",
            "note", "timestamp"} <= body.keys()  # fmt: skip
    assert body["total"] == body["returned"] == len(body["data"])
    for item in body["data"]:
        assert item.keys() >= FIELDS_READ
        assert {"modality", "input_modalities", "output_modalities"} <= item["architecture"].keys()
        assert {"prompt", "completion"} <= item["pricing"].keys()


async def test_a_gateway_shows_its_own_models_at_its_own_price(world: World) -> None:
    for word in ("acme-cloud", "acme"):  # a maker's name means each of its clouds
        body = await read(world, f"/v1/models?gateway={word}&limit=1")
        assert [item["id"] for item in body["data"]] == ["acme/one"]
        assert body["data"][0]["source_gateway"] == "acme-cloud"
        assert body["data"][0]["pricing"]["prompt"] == "0.000003"
    sandbox = await read(world, "/v1/models?gateway=sandbox&search=acme")
    assert sandbox["data"][0]["pricing"]["prompt"] == "0.000001"
    assert sandbox["data"][0]["source_gateways"] == ["sandbox", "acme-cloud"]
    nobody = await read(world, "/v1/models?gateway=nobody")
    assert (nobody["data"], nobody["total"]) == ([], 0)


async def test_search_tells_what_it_understood(world: World) -> None:
    body = await read(world, "/v1/models/search?q=acme&sort_by=name&order=desc&min_context=1000")
    assert [item["id"] for item in body["data"]] == ["acme/one"]
    assert body["meta"]["total"] == body["meta"]["returned"] == 1
    assert body["meta"]["filters_applied"]["query"] == "acme"
    assert body["meta"]["filters_applied"]["min_context"] == 1000
    assert (await read(world, "/v1/models/search?limit=101", 400))["error"]["param"] == "limit"


async def test_unique_models_name_the_cheapest_host(world: World) -> None:
    body = await read(world, "/v1/models/unique?min_providers=2")
    (item,) = [item for item in body["data"] if item["id"] == "acme/one"]
    assert (item["provider_count"], item["cheapest_provider"]) == (2, "sandbox")
    assert item["cheapest_prompt_price"] == "0.000001"
    assert {host["slug"] for host in item["providers"]} == {"acme-cloud", "sandbox"}
    counts = [item["provider_count"] for item in body["data"]]
    assert counts == sorted(counts, reverse=True)
    assert min(counts) >= 2


# ---------------------------------------------------------------- single models


async def test_one_model_is_openais_object_and_the_older_clients(world: World) -> None:
    body = await read(world, "/v1/models/acme/one")
    assert (body["id"], body["object"], body["owned_by"]) == ("acme/one", "model", "acme")
    assert body["data"]["id"] == "acme/one"
    assert (body["provider"], body["model"], body["gateway"]) == ("acme", "one", "acme-cloud")
    at_sandbox = await read(world, "/v1/models/acme/one?gateway=sandbox")
    assert at_sandbox["pricing"]["prompt"] == "0.000001"
    missing = await read(world, "/v1/models/acme/one?gateway=groq", 404)
    assert missing["error"]["code"] == "model_not_found"


async def test_detail_is_asked_by_id_or_by_its_parts(world: World) -> None:
    whole = await read(world, "/api/models/detail?modelId=acme/one")
    assert whole == await read(world, "/api/models/detail?developer=acme&modelName=one")
    assert whole == await read(world, "/v1/models/acme/one")
    assert whole["providers"] == ["acme-cloud", "sandbox"]
    assert (await read(world, "/api/models/detail", 400))["error"]["param"] == "modelId"
    await read(world, "/api/models/detail?modelId=zeta/none", 404)


async def test_an_organisations_word_lists_its_models_and_a_models_word_is_the_model(
    world: World,
) -> None:
    body = await read(world, "/v1/models/sandbox?limit=2")
    assert {item["provider_slug"] for item in body["data"]} == {"sandbox"}
    assert (body["returned"], body["limit"]) == (2, 2)
    assert (await read(world, "/v1/models/nobody-at-all", 404))["error"]["code"] == (
        "model_not_found"
    )


async def test_hosts_of_a_model_are_compared_by_exact_price(world: World) -> None:
    body = await read(world, "/v1/models/acme/one/compare")
    assert [c["gateway"] for c in body["comparisons"]] == ["acme-cloud", "sandbox"]
    assert body["comparisons"][0]["pricing"]["prompt_cost_per_1m"] == "3"
    assert body["recommendation"]["gateway"] == "sandbox"
    assert body["savings"] == {
        "potential_savings": "14", "potential_savings_per_1m_tokens": "14",
        "savings_percentage": 77.78, "cheapest_gateway": "sandbox", "cheapest_cost": "4",
        "most_expensive_gateway": "acme-cloud", "most_expensive_cost": "18",
    }  # fmt: skip
    one = await read(world, "/v1/models/acme/one/compare?gateways=acme-cloud")
    assert [c["gateway"] for c in one["comparisons"]] == ["acme-cloud"]
    assert one["savings"]["potential_savings"] == "0"


@pytest.mark.parametrize("how", ["query", "array", "object"])
async def test_several_models_are_compared_at_once(world: World, how: str) -> None:
    names = ["acme/one", "nobody/nothing"]
    path, sent = "/v1/models/batch-compare?criteria=context", {}
    if how == "query":
        path += "".join(f"&model_ids={name}" for name in names)
    else:
        sent = {"json": names if how == "array" else {"model_ids": names}}
    answer = await world.client.post(path, **sent)  # type: ignore[arg-type]
    known, unknown = answer.json()["results"]
    assert known["comparison"] == {"acme-cloud": 100_000, "sandbox": 50_000}
    assert known["gateways_available"] == 2
    assert "does not exist" in unknown["error"]


async def test_a_comparison_of_nothing_is_refused(world: World) -> None:
    for body in (b"", b"[]", b"[1]", b"{}", b'{"model_ids": "x"}'):
        answer = await world.client.post("/v1/models/batch-compare", content=body)
        assert answer.status_code == 400, body


# ---------------------------------------------------------------- hosts, our own traffic


async def test_hosts_and_back_ends_are_listed_with_what_is_stated_of_them(world: World) -> None:
    hosts = {h["slug"]: h for h in (await read(world, "/v1/provider"))["data"]}
    assert hosts["acme-cloud"]["model_count"] == 1
    assert hosts["groq"]["site_url"] == "https://groq.com"
    assert hosts["groq"]["privacy_policy_url"].startswith("https://")
    one = await read(world, "/v1/provider?gateway=groq")
    assert [h["slug"] for h in one["data"]] == ["groq"]
    page = await read(world, "/v1/provider?limit=2&offset=1")
    assert (page["returned"], page["total"]) == (2, len(hosts))
    badges = {g["id"]: g for g in (await read(world, "/v1/gateways"))["data"]}
    assert badges.keys() == hosts.keys()
    assert badges["groq"]["logo_url"].endswith("domain=groq.com&sz=128")
    assert badges["sandbox"]["priority"] == "fast"
    routers = {r["id"] for r in (await read(world, "/v1/routers"))["data"]}
    assert {":free", ":nitro", ":floor", ":thinking", ":extended", ":online"} <= routers


async def test_without_traffic_every_ranking_is_empty(world: World) -> None:
    for path, key in (
        ("/v1/models/trending", "data"),
        ("/ranking/models", "data"),
        ("/ranking/apps", "data"),
        ("/v1/models/low-latency", "models"),
    ):
        assert (await read(world, path))[key] == [], path


async def test_rankings_and_trends_count_our_own_settled_requests(world: World) -> None:
    first, second = await world.account(), await world.account()
    for account in (first, second, second):
        assert (await world.stream(account, "sandbox/story"))[0] == 200
    await world.post(first, "sandbox/echo", headers={"x-title": "Acme App"})
    assert (await world.post(first, "sandbox/mock-err500")).status_code == 503
    await world.settle()

    trends = (await read(world, "/v1/models/trending?sort_by=requests"))["data"]
    assert [(t["rank"], t["id"], t["requests"]) for t in trends] == [
        (1, "sandbox/story", 3), (2, "sandbox/echo", 1),
    ]  # fmt: skip
    assert trends[0]["unique_users"] == 2
    settled = [r for a in (first, second) for r in await world.requests(a)]
    tokens = sum(line[1] for r in settled if r["model"] == "sandbox/story" for line in r["lines"])
    assert trends[0]["total_tokens"] == tokens > 0

    models = (await read(world, "/ranking/models?limit=1"))["data"]
    assert [(m["rank"], m["model_id"], m["tokens"]) for m in models] == [
        (1, "sandbox/story", str(tokens))
    ]
    assert models[0]["trend_percentage"] == "--"
    (app,) = (await read(world, "/ranking/apps"))["data"]
    assert (app["app_name"], app["requests"], app["app_url"]) == ("Acme App", 1, None)

    fast = await read(world, "/v1/models/low-latency")
    assert {m["id"] for m in fast["models"]} <= {"sandbox/story"}  # only streams have a first token
    popular = await read(world, "/v1/models?sort=most-popular&limit=2")
    assert [m["id"] for m in popular["data"]] == ["sandbox/story", "sandbox/echo"]
    hour = {"window_s": 3600}
    assert len(await world.stores.postgres.rpc("usage_by_model", hour)) == 2
    for name in ("usage_by_model", "usage_by_app"):
        assert await world.stores.postgres.rpc(name, {**hour, "ago_s": 3600}) == []
    elsewhere = await read(world, "/v1/models/trending?gateway=groq")
    assert elsewhere["data"] == []


async def test_what_a_host_did_for_us_is_counted_and_nothing_else(world: World) -> None:
    ranges = ("1h", "24h", "7d", "30d", "all")
    nothing = (await read(world, "/v1/provider/sandbox/stats"))["data"]
    assert (nothing["total_requests"], nothing["success_rate"]) == (0, None)
    assert (nothing["average_response_time_ms"], nothing["top_model"]) == (None, None)
    assert (await read(world, "/v1/gateways/summary"))["data"] == []
    account = await world.account()
    for model in ("sandbox/echo", "sandbox/echo", "sandbox/story"):
        assert (await world.post(account, model)).status_code == 200
    await world.settle()
    rows = await world.requests(account)
    for reader in importlib.import_module("functions.models.app").app.state.readers.values():
        reader.popularity._kept.clear()  # it would be a minute
    tokens = sum(line[1] for row in rows for line in row["lines"])
    for time_range in ranges:
        for path in ("provider", "gateway"):
            stats = (await read(world, f"/v1/{path}/sandbox/stats?time_range={time_range}"))["data"]
            assert (stats["total_requests"], stats["total_tokens"]) == (3, tokens), time_range
            assert (stats["success_rate"], stats["top_model"]) == (100.0, "sandbox/echo")
    top = await read(world, "/v1/provider/sandbox/top-models?limit=1")
    assert (top["total"], [m["model"] for m in top["data"]]) == (2, ["sandbox/echo"])
    assert top["data"][0]["total_requests"] == 2
    summary = await read(world, "/v1/gateways/summary?time_range=7d")
    assert [host["provider"] for host in summary["data"]] == ["sandbox"]
    assert summary["totals"]["total_requests"] == 3
    status = await read(world, "/v1/gateways/status")
    configured = {host["id"]: host["configured"] for host in status["data"]}
    assert configured["sandbox"] and not configured["groq"]
    assert status["configured"] == sum(configured.values())
    for path in ("provider/nobody/stats", "gateway/nobody/stats", "provider/nobody/top-models"):
        assert (await read(world, f"/v1/{path}", 404))["error"]["code"] == "provider_not_found"
    await read(world, "/v1/provider/sandbox/stats?time_range=2d", 400)


async def test_an_operators_offer_is_what_its_providers_row_says(world: World) -> None:
    """The row of the operator's own file says that it sells others' servers, and where."""
    shown = (await read(world, "/v1/models/zeta/two/endpoints"))["data"]["endpoints"]
    (resold,) = [e for e in shown if e["tag"] == "zeta-resale"]
    assert resold["data_policy"]["region"] == "eu"
    gateways = (await read(world, "/v1/gateways"))["data"]
    assert {g["id"]: g["aggregator"] for g in gateways}["zeta-resale"] is True
    account = await world.account()
    body = {"model": "zeta/two", "messages": [{"role": "user", "content": "hi"}]}
    made = await world.client.post("/v1/quote", json=body, headers=account.headers)
    first, second = sorted(made.json()["candidates"], key=lambda each: each["attempt"])
    assert (first["provider"], second["provider"]) == ("zeta-cloud", "zeta-resale"), (
        "although dearer"
    )


async def test_past_prices_are_told_and_what_ships_has_the_day_it_was_checked(
    world: World,
) -> None:
    body = await read(world, "/v1/prices/history?model=sandbox/echo")
    (price,) = body["data"]
    assert (price["state"], price["valid_to"]) == ("current", None)
    assert price["pricing"]["prompt"] == "0.0000005"
    assert price["checked_at"].endswith("+00:00")
    assert body["next_before_ms"] is None
    assert (await read(world, "/v1/prices/history", 400))["error"]["param"] == "model"
    await read(world, "/v1/prices/history?model=nobody/nothing", 404)
