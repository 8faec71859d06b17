"""POST /v1/quote: what a request would cost everywhere, with nothing executed; and the minute for
which its prices hold.
"""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gatewayz.catalog.model import Offer
from gatewayz.core.settings import Settings
from gatewayz.inference.pinned import new_quote_id, pin_prices
from gatewayz.pricing.price import Price
from tests.world import Account, World

OPERATOR = """
[acme]
name = "Acme"
dialect = "openai_chat"
base_url = "https://api.acme.example/v1"
credential = "ACME_API_KEY"
data = { trains = true }

[idle]
name = "Idle"
dialect = "openai_chat"
base_url = "https://api.idle.example/v1"
credential = "IDLE_API_KEY"

[[models]]
id = "acme/one"
parameters = ["max_tokens", "temperature"]
[[models.offers]]
provider = "sandbox"
native_id = "mock-in10-out5"
context = 20000
max_output = 1000
input = 2
output = 8
[[models.offers]]
provider = "sandbox"
native_id = "mock-in11-out5"
context = 50
input = 1
output = 4
[[models.offers]]
provider = "acme"
native_id = "one"
context = 20000
max_output = 500
input = 3
output = 12
[[models.offers]]
provider = "idle"
native_id = "one"
input = 1
output = 1
[[models.offers]]
provider = "acme"
native_id = "unpriced"

[[models]]
id = "acme/two"
[[models.offers]]
provider = "sandbox"
native_id = "mock-in12-out5"
input = 5
output = 5
"""
MESSAGES = [{"role": "user", "content": "hello " * 40}]
REQUEST = {"model": "acme/one", "max_tokens": 200, "messages": MESSAGES}


@pytest.fixture
def tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Settings], Settings]:
    monkeypatch.setenv("ACME_API_KEY", "secret")
    monkeypatch.delenv("IDLE_API_KEY", raising=False)
    path = tmp_path / "operator.toml"
    path.write_text(OPERATOR)

    def with_operators_file(settings: Settings) -> Settings:
        return replace(settings, catalog=replace(settings.catalog, providers_file=str(path)))

    return with_operators_file


async def quote(
    world: World, account: Account, body: dict[str, Any], query: str = "", **headers: str
) -> dict[str, Any]:
    answer = await world.client.post(
        f"/v1/quote{query}", json=body, headers={**account.headers, **headers}
    )
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def reasons(made: dict[str, Any]) -> dict[str, str]:
    return {each["offer"]: each["reason"] for each in made["excluded"]}


async def test_every_offer_is_a_candidate_or_excluded_for_a_reason(world: World) -> None:
    account = await world.account()
    made = await quote(world, account, REQUEST)
    offers = {each["offer"]: each for each in made["candidates"]}
    assert offers.keys() == {"sandbox/mock-in10-out5", "acme/one"}
    assert sorted(each["attempt"] for each in offers.values()) == [1, 2]
    assert reasons(made) == {
        "sandbox/mock-in11-out5": "context_length",
        "idle/one": "not_configured",
        "acme/unpriced": "no_price",
    }
    mine = offers["sandbox/mock-in10-out5"]
    assert mine["pricing"] == {"prompt": "0.000002", "completion": "0.000008"}
    assert mine["context"]["fits"] is True
    assert mine["data_policy"]["training"] is None
    assert offers["acme/one"]["data_policy"]["training"] is True
    absent = next(e for e in made["excluded"] if e["offer"] == "idle/one")
    assert absent["expected_usd"] > 0
    assert all(e["detail"] for e in made["excluded"])
    # The account paid nothing, and nobody was asked.
    assert (await world.balance(account))["available_nanos"] == 10 * 10**9
    await world.settle()
    assert await world.requests(account) == []


async def test_expected_is_the_charge_of_the_usage_it_assumes(world: World) -> None:
    account = await world.account()
    made = await quote(world, account, REQUEST, "?expected_output_tokens=7")
    tokens = made["assumptions"]["prompt_tokens_likely"]
    for each in made["candidates"]:
        price = each["pricing"]
        exact = tokens * Decimal(price["prompt"]) + 7 * Decimal(price["completion"])
        assert each["expected_nanos"] == exact * 10**9
        assert each["max_nanos"] > each["expected_nanos"]
    longest = await quote(world, account, {**REQUEST, "max_tokens": 900})
    limits = {e["offer"]: e["context"]["max_output_tokens"] for e in longest["candidates"]}
    assert limits == {"sandbox/mock-in10-out5": 1000}
    assert reasons(longest)["acme/one"] == "output_length"


async def test_maximum_is_what_admission_holds(world: World) -> None:
    poor = await world.account(usd="0.000001")
    body = {**REQUEST, "provider": {"only": ["sandbox"]}}
    made = await quote(world, poor, body)
    (only,) = made["candidates"]
    refused = await world.client.post("/v1/chat/completions", json=body, headers=poor.headers)
    assert refused.status_code == 402
    needed = Decimal(str(only["max_nanos"])) / 10**9
    assert f"${needed.normalize():f}" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("provider", "offer", "reason"),
    [
        ({"only": ["acme"]}, "sandbox/mock-in10-out5", "only"),
        ({"ignore": ["acme"]}, "acme/one", "ignore"),
        ({"data_collection": "deny"}, "acme/one", "data_policy:training"),
        ({"zdr": True}, "acme/one", "data_policy:zdr"),
        ({"max_price": {"prompt": 2}}, "acme/one", "max_price"),
        ({"quantizations": ["fp8"]}, "acme/one", "quantization"),
    ],
)
async def test_a_preference_is_named_as_the_reason(
    world: World, provider: dict[str, Any], offer: str, reason: str
) -> None:
    account = await world.account()
    made = await quote(world, account, {**REQUEST, "provider": provider})
    assert reasons(made)[offer] == reason
    assert offer not in {each["offer"] for each in made["candidates"]}


async def test_variants_fallback_models_and_cheapest_first_are_understood(world: World) -> None:
    account = await world.account()
    floor = await quote(world, account, {**REQUEST, "model": "acme/one:floor"})
    assert [each["offer"] for each in floor["candidates"]] == ["sandbox/mock-in10-out5", "acme/one"]
    free = await quote(world, account, {**REQUEST, "model": "acme/one:free"})
    assert free["candidates"] == []
    assert set(reasons(free).values()) >= {"not_free"}
    short = {"max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    plain = await quote(world, account, {**short, "model": "acme/one"})
    longest = await quote(world, account, {**short, "model": "acme/one:extended"})
    assert {each["offer"] for each in plain["candidates"]} - {
        each["offer"] for each in longest["candidates"]
    } == {"sandbox/mock-in11-out5"}
    assert reasons(longest)["sandbox/mock-in11-out5"] == "unfit"
    both = await quote(world, account, {**REQUEST, "models": ["acme/two"]})
    assert both["models"] == ["acme/one", "acme/two"]
    assert "sandbox/mock-in12-out5" in {each["offer"] for each in both["candidates"]}


DIALECTS: dict[str, dict[str, Any]] = {
    "openai_chat": REQUEST,
    "openai_completions": {"model": "acme/one", "max_tokens": 200, "prompt": "hello " * 40},
    "openai_responses": {"model": "acme/one", "max_output_tokens": 200, "input": "hello " * 40},
    "anthropic": {**REQUEST, "system": "Be kind."},
    "google": {
        "model": "acme/one",
        "contents": [{"role": "user", "parts": [{"text": "hello " * 40}]}],
        "generationConfig": {"maxOutputTokens": 200},
    },
}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_body_of_any_dialect_is_told_apart_and_quoted(world: World, dialect: str) -> None:
    account = await world.account()
    made = await quote(world, account, DIALECTS[dialect])
    assert (made["dialect"], made["model"]) == (dialect, "acme/one")
    assert made["assumptions"]["output_tokens_limit"] == 200
    likely = made["assumptions"]["prompt_tokens_likely"]
    assert 40 <= likely <= 120
    assert made["candidates"]


async def test_a_dialect_may_be_named_and_so_may_the_model(world: World) -> None:
    account = await world.account()
    named = await quote(world, account, REQUEST, "?dialect=messages")
    marked = await quote(world, account, REQUEST, **{"anthropic-version": "2023-06-01"})
    assert named["dialect"] == marked["dialect"] == "anthropic"
    google = {k: v for k, v in DIALECTS["google"].items() if k != "model"}
    assert (await quote(world, account, google, "?model=acme/one"))["model"] == "acme/one"
    for body, query, param in (
        (REQUEST, "?dialect=klingon", "dialect"),
        ({"model": "acme/one"}, "", "messages"),
        (google, "", "model"),
    ):
        answer = await world.client.post(f"/v1/quote{query}", json=body, headers=account.headers)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    unknown = await world.client.post(
        "/api/v1/quote", json={**REQUEST, "model": "no/such"}, headers=account.headers
    )
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, 404)
    assert (await world.client.post("/v1/quote", json=REQUEST)).status_code == 401


# ---------------------------------------------------------------- the minute

TWO = {"model": "acme/two", "messages": MESSAGES}


async def pinned(world: World, account: Account, usd_in: int = 1) -> str:
    """A quote of a minute ago, when the model cost less."""
    quote_id = new_quote_id(0)
    price = Price("p-before", {"input": usd_in * 10**9, "output": 10**9})
    offer = Offer("sandbox/mock-in12-out5", "acme/two", "sandbox", "mock-in12-out5", price)
    assert await pin_prices(world.stores.redis, account.id, quote_id, [offer])
    return quote_id


async def charged(world: World, account: Account) -> dict[str, Any]:
    await world.settle()
    row: dict[str, Any] = (await world.requests(account))[0]
    return row


@pytest.mark.parametrize("how", ["header", "body", "stream"])
async def test_a_request_that_carries_a_quote_is_charged_its_prices(world: World, how: str) -> None:
    account = await world.account()
    quote_id = await pinned(world, account)
    if how == "header":
        headers = {**account.headers, "x-gatewayz-quote-id": quote_id}
        answer = await world.client.post("/v1/chat/completions", json=TWO, headers=headers)
        told = answer.headers
    elif how == "body":
        body = {**TWO, "quote_id": quote_id}
        answer = await world.client.post("/v1/chat/completions", json=body, headers=account.headers)
        told = answer.headers
    else:
        _, told, _ = await world.stream(account, "acme/two", messages=MESSAGES, quote_id=quote_id)
    assert told["x-gatewayz-quote"] == "held"
    row = await charged(world, account)
    assert row["price_version"] == "p-before"
    assert row["lines"] == [["input", 12, 10**9], ["output", 5, 10**9]]
    assert row["charge_nanos"] == 17_000
    assert await world.violations() == []


async def test_a_quotes_own_id_is_what_a_request_may_carry(world: World) -> None:
    account = await world.account()
    made = await quote(world, account, TWO)
    headers = {**account.headers, "x-gatewayz-quote-id": made["quote_id"]}
    answer = await world.client.post("/v1/chat/completions", json=TWO, headers=headers)
    assert answer.headers["x-gatewayz-quote"] == "held"
    row = await charged(world, account)
    assert row["price_version"] == made["candidates"][0]["price_version"]


async def test_a_quote_that_is_over_or_anothers_changes_nothing(world: World) -> None:
    account, other = await world.account(), await world.account()
    theirs = await pinned(world, other)
    for quote_id in (theirs, new_quote_id(0), "quote_x", "q" * 500):
        headers = {**account.headers, "x-gatewayz-quote-id": quote_id}
        answer = await world.client.post("/v1/chat/completions", json=TWO, headers=headers)
        assert (answer.status_code, answer.headers["x-gatewayz-quote"]) == (200, "over")
        assert (await charged(world, account))["lines"][0] == ["input", 12, 5 * 10**9]
    wrong = await world.client.post(
        "/v1/chat/completions", json={**TWO, "quote_id": 7}, headers=account.headers
    )
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "quote_id")
