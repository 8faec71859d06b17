"""F38–F42 and the proofs of failover: what is tried, how often, and what the others learn of it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.upstream import Act, event_stream
from tests.faults.scene import Scene, reached
from tests.routing.fleet import (
    ROLE,
    Fleet,
    chunk,
    fleet,
    refusal,
)
from tests.world import Server, mount

USD = 10**9


@pytest.fixture
def three() -> Iterator[Fleet]:
    yield from fleet("one", "two", "six")


@pytest.fixture
def providers_file(three: Fleet, tmp_path: Path) -> str:
    three.model("f/m", ("one", 1), ("two", 2), ("six", 6)).model("f/alone", ("one", 1), native="a")
    three.model("f/pair", ("one", 1), ("two", 1), native="p")
    file = tmp_path / "providers.toml"
    file.write_text(three.text)
    return str(file)


ORDER = {"order": ["one", "two", "six"], "fallback_max_price_ratio": "any"}


async def ask(world: Scene, model: str = "f/m", **body: Any) -> Any:
    """One request of the scene's only account."""
    if not world.accounts:
        await world.account(usd=1000)
    return await world.post(world.accounts[0], model, **({"provider": ORDER} | body))


# ------------------------------------------------------------------ F38–F42


@pytest.mark.parametrize(
    ("header", "cooling_s"),
    [("1", 1), ("3600", 300), ("NaN", 5), ("-5", 5), ("Wed, 21 Oct 2015 07:28:00 GMT", 5), ("", 5)],
)
async def test_F38_a_throttled_offer_is_left_alone_for_as_long_as_it_asks(
    world: Scene, three: Fleet, header: str, cooling_s: float
) -> None:
    three.play("one", refusal(429, None, *([f"retry-after: {header}"] if header else [])))
    for _ in range(2):
        got = await ask(world)
        assert (got.status_code, got.headers["x-provider"]) == (200, "two")
    # It is asked once more only where its pause was over.
    assert three.count("one") == 1
    view = world.chat.gateway().board.view()
    left_s = view.entries["one/m"].cooling_until_s - view.now_s
    assert cooling_s - 3 < left_s <= cooling_s
    assert not view.entries["one/m"].errors, "throttling is no failure"


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_F39_our_refused_credential_opens_the_provider_at_once_and_alarms(
    world: Scene, three: Fleet, status: int
) -> None:
    words = {"error": {"message": "key sk-oursecretkey1234567890 is not valid here"}}
    three.play("one", refusal(status, words))
    got = await ask(world)
    assert (got.status_code, got.headers["x-provider"]) == (200, "two")
    # Every offer of the provider is closed now.
    other = await ask(world, "f/pair")
    assert other.headers["x-provider"] == "two" and three.count("one") == 1
    (line,) = world.logs.lines("provider_refuses_us")
    assert (line["level"], line["provider"], line["status"]) == ("ERROR", "one", status)
    assert "oursecret" not in got.text + world.logs.getvalue()


async def test_F40_when_every_offer_fails_it_is_503_and_the_load_does_not_grow(
    world: Scene, three: Fleet
) -> None:
    for slug in ("one", "two", "six"):
        three.play(slug, refusal(500))
    first = await ask(world)
    assert first.status_code == 503 and int(first.headers["retry-after"]) >= 1
    assert len(three.calls) == 3
    count = 500
    for _ in range(0, count, 50):
        got = await asyncio.gather(*[ask(world) for _ in range(50)])
        assert {g.status_code for g in got} == {503}
    assert len(three.calls) - 3 <= count * 1.2 + 3
    assert (await world.balance(world.accounts[0]))["charged_nanos"] == 0


async def test_F41_a_brown_out_opens_the_breaker_and_one_probe_closes_it(
    world: Scene, three: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatewayz.routing.board.FRESH_S", -1.0)
    three.play("one", refusal(503))
    for _ in range(8):
        assert (await ask(world)).status_code == 200
    assert three.count("one") == 5, "it opened after five failures"
    last = await ask(world, "f/alone")
    assert last.status_code == 503 and three.count("one") == 6, "the last offer is never ejected"
    _pass(world, "one", "one/m", "one/a")
    three.calls.clear()
    for _ in range(4):
        assert (await ask(world)).status_code == 200
    assert three.count("one") == 1, "one probe, and it failed"
    _pass(world, "one", "one/m", "one/a")
    three.answer("one")
    await ask(world)  # learns beside its admission that the time is over
    for _ in range(4):
        assert (await ask(world)).headers["x-provider"] == "one"
        await world.quiet()


def _pass(world: Scene, *scopes: str) -> None:
    """The time for which these breakers are open is over, for all processes."""
    with world.redis() as client:
        for scope in scopes:
            name = f"brk:{{health}}:{scope}"
            row = client.get(name)
            if row:
                fields = str(row).split()
                if fields[2] != "0":
                    fields[2], fields[3] = "1", "0"
                client.set(name, " ".join(fields))


async def test_F42_the_hold_covers_the_dearest_and_the_charge_is_the_servings(
    world: Scene, three: Fleet
) -> None:
    account = await world.account(usd=1000)
    three.play("one", refusal(500))
    three.play("two", refusal(500))
    three.play("six", Act.HANG, stream=[event_stream(), ROLE, chunk({"content": "x"}), Act.HANG])
    asking = asyncio.create_task(
        world.post(account, "f/m", max_tokens=1000, provider=ORDER, stream=True)
    )
    await reached(lambda: world.holds(account) and three.count("six"))
    (held,) = world.holds(account).values()
    assert held.amount_nanos >= 1000 * 6 * USD // 10**6
    await asking
    three.answer("six")
    again = await ask(world)
    assert again.headers["x-provider"] == "six"
    newest = (await world.settled(account))[0]
    assert newest["charge_nanos"] == 12 * 6 * USD // 10**6


# ------------------------------------------------------------------ many processes


@pytest.fixture
async def elsewhere(world: Scene) -> AsyncIterator[tuple[httpx.AsyncClient, Any]]:
    """A second gateway over the same stores, in a process's stead."""
    app = mount(world.settings)
    server = Server(app)
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        yield client, app.chat
    server.stop()


async def test_two_processes_share_a_breaker(
    world: Scene, three: Fleet, elsewhere: tuple[httpx.AsyncClient, Any]
) -> None:
    client, _ = elsewhere
    three.play("one", refusal(500))
    for _ in range(5):
        await ask(world)
    asked = three.count("one")
    body = {"model": "f/m", "messages": [{"role": "user", "content": "x"}], "provider": ORDER}
    got = await client.post("/v1/chat/completions", json=body, headers=world.accounts[0].headers)
    # Its very first request asks beside its credit hold, and does not try the open offer.
    assert got.headers["x-provider"] == "two" and three.count("one") == asked == 5


async def test_a_process_learns_of_an_opening_within_a_second(
    world: Scene, three: Fleet, elsewhere: tuple[httpx.AsyncClient, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from gatewayz.routing import board

    client, chat = elsewhere
    body = {"model": "f/m", "messages": [{"role": "user", "content": "x"}], "provider": ORDER}

    async def there() -> Any:
        return await client.post(
            "/v1/chat/completions", json=body, headers=world.accounts[0].headers
        )

    await ask(world)
    assert (await there()).headers["x-provider"] == "one"
    assert board.FRESH_S <= 1.0, "what is older than this is asked for again"
    three.play("one", refusal(500))
    for _ in range(5):
        await ask(world)
    await reached(lambda: not world.chat.gateway().board.busy)
    for scope in chat.gateway().board._scopes.values():
        scope.synced_s -= board.FRESH_S  # that much later
    assert (await there()).headers["x-provider"] == "two"
    assert three.count("one") == 7


async def test_planning_and_health_take_no_round_trip_of_their_own(
    world: Scene, three: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls of Redis leave in one write with the admission's, and with the end's."""
    await ask(world)
    monkeypatch.setattr("gatewayz.routing.board.FRESH_S", -1.0)
    connection = world.chat.gateway().stores.redis._connection
    writes: list[int] = []
    flush = type(connection)._flush

    def counted(self: Any) -> None:
        # How we do is told once a second by a task of its own, no request waits for it.
        ours = [call for call in self._outgoing if b"velocity" not in call.lower()]
        if self is connection and ours:
            writes.append(len(ours))
        flush(self)

    monkeypatch.setattr(type(connection), "_flush", counted)
    assert (await ask(world)).status_code == 200
    await world.quiet()
    # Admission with health in one write, the freed hold in the other.
    assert writes == [2, 1]


async def test_redis_away_leaves_the_breaker_in_the_process(
    world: Scene, three: Fleet, links: Any
) -> None:
    await ask(world)
    await world.quiet()
    links.redis.down()
    three.play("one", refusal(500))
    three.calls.clear()
    for _ in range(8):
        assert (await ask(world)).status_code == 200
    assert three.count("one") == 5


# ------------------------------------------------------------------ streams


async def test_a_stream_fails_over_until_its_first_token_and_never_after(
    world: Scene, three: Fleet
) -> None:
    account = await world.account()
    three.play("one", stream=[event_stream(), ROLE, Act.CUT])
    status, headers, text = await world.stream(account, "f/m", provider=ORDER)
    assert (status, headers["x-provider"]) == (200, "two") and text.endswith("data: [DONE]\n\n")
    three.play("two", stream=[event_stream(), ROLE, chunk({"content": "One "}), Act.CUT])
    three.calls.clear()
    status, _, text = await world.stream(account, "f/m", provider=ORDER)
    assert status == 200 and "[DONE]" not in text and '"error"' in text
    assert three.calls[-1] == "two"


async def test_what_ends_a_stream_early_counts_against_its_offer(
    world: Scene, three: Fleet
) -> None:
    account = await world.account()
    three.play("one", stream=[event_stream(), ROLE, chunk({"content": "x"}), Act.CUT])
    await world.stream(account, "f/m", provider=ORDER)
    await world.quiet()
    view = world.chat.gateway().board.view()
    assert view.entries["one/m"].errors == 1
    row = await world.one(account)
    assert (row["attempts"][0]["cut"], row["attempts"][0]["error"]) == ("UpstreamBroken", None)
