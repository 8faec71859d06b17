"""A published catalog behind the real gateway: served, charged, redirected and said so."""

from gatewayz.catalog.model import Entry, Model, Offer
from gatewayz.catalog.publish import write
from gatewayz.catalog.snapshot import Snapshot
from gatewayz.catalog.soundness import made
from gatewayz.core.ids import new_id
from gatewayz.pricing.tiers import Tier
from tests.world import World

USD = 10**9
PRICE = made(
    {"input": 2 * USD, "output": 3 * USD}, (Tier(20, {"input": 4 * USD, "output": 6 * USD}),)
)


async def publish_one(world: World) -> None:
    offer = Offer(
        "sandbox/echo", "maker/new", "sandbox", "echo", PRICE, context_tokens=100_000,
        max_output_tokens=1000,
    )  # fmt: skip
    entry = Entry(Model("maker/new", "New", context_tokens=100_000), (offer,))
    snapshot = Snapshot(
        new_id("v"), 1, "published", (entry,), {"newest": "maker/new"}, {"maker/old": "maker/new"}
    )
    await write(world.stores, snapshot, {})


async def test_a_published_model_is_served_and_charged_at_its_price(world: World) -> None:
    await publish_one(world)
    account = await world.account()
    answer = await world.post(account, "maker/new")
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == "maker/new"
    assert "x-gatewayz-redirected" not in answer.headers
    await world.settle()
    (request,) = await world.requests(account)
    prices = {line[0]: line[2] for line in request["lines"]}
    assert prices == {"input": 2 * USD, "output": 3 * USD}
    assert await world.violations() == []


async def test_a_long_prompt_is_held_and_charged_at_its_tier(world: World) -> None:
    await publish_one(world)
    account = await world.account()
    words = " ".join(f"word{number}" for number in range(200))
    answer = await world.post(account, "maker/new", messages=[{"role": "user", "content": words}])
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["prompt_tokens"] > 20
    await world.settle()
    (request,) = await world.requests(account)
    prices = {line[0]: line[2] for line in request["lines"]}
    assert prices == {"input": 4 * USD, "output": 6 * USD}
    assert await world.violations() == []


async def test_a_retired_model_leads_on_only_where_an_operator_said_so_and_the_answer_names_it(
    world: World,
) -> None:
    await publish_one(world)
    account = await world.account()
    answer = await world.post(account, "maker/old")
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-gatewayz-redirected"] == "maker/old -> maker/new"
    assert answer.json()["model"] == "maker/new"
    alias = await world.post(account, "NEWEST")
    assert alias.status_code == 200
    assert "x-gatewayz-redirected" not in alias.headers, "an alias renames; nothing was substituted"
    gone = await world.post(account, "maker/older")
    assert gone.status_code == 404
    assert gone.json()["error"]["code"] == "model_not_found"
