"""What a request may cost is held before, what it did cost is charged after, to the nano-dollar."""

import asyncio
import base64
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from gatewayz.pricing.charge import Line, amount_nanos
from tests.faults.scene import (
    INPUT,
    MESSAGES,
    OUTPUT,
    RawCall,
    Scene,
    chat_body,
    http_request,
    reached,
)
from tests.world import Account

MODEL = "sandbox/mock-n2"
COUNTED = Path(__file__).parents[1] / "unit" / "pricing" / "counted_texts.json"
# What a chat template adds to one message: role, separators, the start of the answer.
TEMPLATE_TOKENS = 7
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
TINY = """
[tiny]
name = "Tiny"
dialect = "openai_chat"
base_url = "{sandbox}/v1"
local = true
[[models]]
id = "tiny/one"
provider = "tiny"
native_id = "mock-n1-in0-out1"
input = "0.000000333"
output = "0.000000333"
max_output = 4
[[models]]
id = "tiny/odd"
provider = "tiny"
native_id = "mock-n1-in0-out3"
input = "0.000000333"
output = "0.000333333"
max_output = 4
[[models]]
id = "tiny/priceless"
provider = "tiny"
native_id = "mock-n1"
[[models]]
id = "tiny/zero"
provider = "tiny"
native_id = "mock-n2"
input = 0
output = 0
"""


@pytest.fixture
def providers_file(sandbox: tuple[Any, str], tmp_path: Path) -> str:
    file = tmp_path / "providers.toml"
    file.write_text(TINY.format(sandbox=sandbox[1]))
    return str(file)


async def required(world: Scene, account: Account, **fields: Any) -> int:
    """The hold a request needs, as its refusal tells a caller with an empty wallet."""
    body = chat_body(MODEL, max_tokens=1000) if not fields else chat_body(MODEL, **fields)
    answer = await world.client.post(
        "/api/v1/chat/completions", content=body, headers=account.headers
    )
    assert answer.status_code == 402, answer.text
    usd = Fraction(answer.json()["error"]["metadata"]["required_usd"]) * 10**9
    assert usd.denominator == 1
    return int(usd)


async def test_F53_whatever_multiplies_the_cost_multiplies_the_hold(world: Scene) -> None:
    poor = await world.account(usd=0)
    base = {"max_tokens": 1000}
    plain = await required(world, poor, **base)
    prompt = plain - 1000 * OUTPUT
    assert 0 < prompt < 1000 * INPUT
    assert await required(world, poor, **base, n=4) == prompt + 4000 * OUTPUT
    assert await required(world, poor, **base, best_of=4) == prompt + 4000 * OUTPUT
    assert await required(world, poor, **base, n=2, best_of=5) == prompt + 5000 * OUTPUT
    both = await required(world, poor, max_tokens=1000, max_completion_tokens=500)
    assert both == prompt + 500 * OUTPUT

    def user(*parts: Any) -> list[Any]:
        return [{"role": "user", "content": list(parts)}]

    text = {"type": "text", "text": "hello"}
    one_image = await required(world, poor, **base, messages=user(text, IMAGE))
    four_images = await required(world, poor, **base, messages=user(text, *[IMAGE] * 4))
    per_image = one_image - plain
    assert per_image >= 700 * INPUT  # a picture of common size at any provider
    assert four_images >= plain + 4 * per_image - 100 * INPUT
    sound = base64.b64encode(b"\0" * 64_000).decode()
    audio = {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}}
    assert await required(world, poor, **base, messages=user(text, audio)) >= plain + 20 * INPUT
    tool = {"type": "function", "function": {"name": "f", "description": "d" * 4000}}
    with_tools = await required(world, poor, **base, tools=[tool])
    assert with_tools >= plain + 1000 * INPUT
    assert await required(world, poor, **base, tools=[tool] * 3) >= plain + 3000 * INPUT
    assert world.sandbox.requests == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_F54_without_max_tokens_the_answer_is_cut_to_what_is_affordable(
    world: Scene, stream: bool
) -> None:
    account = await world.account(usd="0.0003")
    body = {"messages": MESSAGES, "stream": stream}
    answer = await world.client.post(
        "/v1/chat/completions",
        json={"model": "sandbox/mock-n500"} | body,
        headers=account.headers,
    )
    assert answer.status_code == 200
    sent = world.sandbox.last_body["mock-n500"]
    share = 300_000 if stream else 300_000 // 4
    assert 0 < sent["max_tokens"] * OUTPUT < share
    row = await world.one(account)
    assert row["finish"] == "length" and row["outcome"] == "completed"
    units = {line[0]: line[1] for line in row["lines"]}
    assert units["output"] == sent["max_tokens"]
    assert 0 < row["charge_nanos"] <= 300_000
    assert row["from_wallet_nanos"] == 0


async def test_F54_an_explicit_limit_too_dear_is_refused_with_the_one_that_fits(
    world: Scene,
) -> None:
    account = await world.account(usd="0.0003")
    for path in ("/v1/chat/completions", "/api/v1/chat/completions"):
        for stream in (False, True):
            refused = await world.post(account, MODEL, path=path, max_tokens=5000, stream=stream)
            assert refused.status_code == 402
    error = refused.json()["error"]
    assert error["metadata"]["code"] == "insufficient_credits"
    fits = error["metadata"]["affordable_max_tokens"]
    assert 0 < fits < 5000 and f"max_tokens ≤ {fits}" in error["message"]
    assert world.sandbox.requests == 0 and not world.holds(account)
    assert (await world.post(account, MODEL, max_tokens=fits + 1)).status_code == 402
    assert (await world.post(account, MODEL, max_tokens=fits)).status_code == 200


async def test_F54_an_empty_wallet_is_refused_at_once(world: Scene) -> None:
    account = await world.account(usd=0)
    for stream in (False, True):
        refused = await world.post(account, MODEL, stream=stream)
        assert (refused.status_code, refused.json()["error"]["code"]) == (
            402,
            "insufficient_credits",
        )
    assert world.sandbox.requests == 0


async def test_F66_two_hundred_at_once_with_credit_for_exactly_ten(world: Scene) -> None:
    poor = await world.account(usd=0)
    hold = await required(world, poor, max_tokens=10)
    prompt_tokens = (hold - 10 * OUTPUT) // INPUT
    assert hold == prompt_tokens * INPUT + 10 * OUTPUT
    account = await world.account(usd=f"{10 * hold / 10**9:.9f}")
    model = f"sandbox/mock-n1-in{prompt_tokens}-out10-lockstep.F66"
    body = {"model": model, "messages": MESSAGES, "stream": True, "max_tokens": 10}

    async with httpx.AsyncClient(
        base_url=world.url, timeout=60, limits=httpx.Limits(max_connections=None)
    ) as client:

        async def one() -> tuple[int, str]:
            answer = await client.post("/v1/chat/completions", json=body, headers=account.headers)
            return answer.status_code, answer.text

        tasks = [asyncio.create_task(one()) for _ in range(200)]
        await reached(lambda: sum(task.done() for task in tasks) == 190)
        refused = [task.result() for task in tasks if task.done()]
        assert {status for status, _ in refused} == {402}
        assert {orjson.loads(text)["error"]["code"] for _, text in refused} == {
            "insufficient_credits"
        }
        assert world.sandbox.requests == 10 and len(world.holds(account)) == 10
        await world.released("F66", 10)
        answers = await asyncio.gather(*tasks)
    assert [status for status, _ in answers].count(200) == 10
    await world.quiet()
    await world.settle()
    balance = await world.balance(account)
    assert (balance["balance_nanos"], balance["charged_nanos"]) == (0, 10 * hold)
    assert (await world.post(account, MODEL, max_tokens=1)).status_code == 402


async def test_F70_fractions_of_a_nano_dollar_are_rounded_up_once_per_request(
    world: Scene,
) -> None:
    account = await world.account(usd=1)
    for model, exact in (
        ("tiny/one", Fraction(333, 10**6)),
        ("tiny/odd", Fraction(3 * 333_333, 10**6)),
    ):
        answers = await asyncio.gather(*[world.post(account, model) for _ in range(50)])
        assert {answer.status_code for answer in answers} == {200}
        charge = -(-exact.numerator // exact.denominator)
        assert 0 <= charge - exact < 1
        costs = [orjson.loads(a.text)["usage"]["cost"] for a in answers]
        assert {round(cost * 10**9) for cost in costs} == {charge}
    await world.quiet()
    assert await world.settle() == 100
    rows = await world.requests(account)
    assert await world.charged(account) == sum(r["charge_nanos"] for r in rows) == 50 * (1 + 1)
    line = (Line("output", 1, 333),)
    assert sum(amount_nanos(line) for _ in range(100_000)) == 100_000


@pytest.mark.parametrize("model", ["tiny/priceless", "tiny/zero"])
async def test_F69_a_model_without_a_price_is_not_routable(world: Scene, model: str) -> None:
    """No price, or one of 0 that nobody declared: refused, and never served at a cost of 0."""
    account = await world.account()
    for stream in (False, True):
        refused = await world.post(account, model, stream=stream)
        assert refused.status_code in (404, 503), refused.text
        assert refused.json()["error"]["code"] in ("model_not_found", "provider_not_configured")
    assert world.sandbox.requests == 0 and not world.holds(account)
    assert await world.settle() == 0


@pytest.mark.tuned(left_grace_s=0.05)
async def test_F79_callers_who_all_leave_hold_nothing(world: Scene) -> None:
    account = await world.account()
    body = http_request(account, chat_body("sandbox/mock-lockstep.F79", stream=True))
    calls = [await RawCall(world).open(body) for _ in range(50)]
    await reached(lambda: world.sandbox.requests == 50)
    for call in calls:
        call.leave()
    await reached(lambda: world.sandbox.left == 50)
    rows = await world.settled(account)
    assert len(rows) == 50 and {row["outcome"] for row in rows} == {"left"}
    assert not world.holds(account)


async def test_F55_prompts_of_every_kind_are_covered_by_their_hold(world: Scene) -> None:
    """Texts whose tokens were counted with real vocabularies; the provider bills those counts."""
    poor, rich = await world.account(usd=0), await world.account(usd=100)
    texts = orjson.loads(COUNTED.read_bytes())
    assert {"chinese", "emoji", "base64", "code"} <= {kind for kind, _, _ in texts}
    short = 0
    for kind, tokens, text in texts:
        messages = [{"role": "user", "content": text}]
        hold = await required(world, poor, max_tokens=1, messages=messages)
        model = f"sandbox/mock-n1-in{tokens + TEMPLATE_TOKENS}-out1"
        answer = await world.post(rich, model, max_tokens=1, messages=messages)
        charge = round(orjson.loads(answer.text)["usage"]["cost"] * 10**9)
        assert charge == (tokens + TEMPLATE_TOKENS) * INPUT + OUTPUT
        short += hold < charge
        assert hold <= 8 * charge + 100 * INPUT, (kind, "the hold is absurd")
    assert short == 0
