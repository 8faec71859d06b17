"""What a caller says of routing, end to end: preferences, other models, traces, affinity."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from gatewayz.core.settings import Settings
from gatewayz.inference.job import Job
from gatewayz.routing.board import Board
from tests.faults.scene import Scene, frames_of
from tests.routing.fleet import (
    COUNT,
    DIALECTS,
    DONE,
    ROLE,
    ROW,
    STOP,
    Dialect,
    Fleet,
    chunk,
    closing,
    fleet,
    good_answer,
    refusal,
)

CACHED = {"prompt_tokens": 5000, "completion_tokens": 10, "total_tokens": 5010,
          "prompt_tokens_details": {"cached_tokens": 4000}}  # fmt: skip


STAFF = "staff-secret-of-at-least-thirty-two-characters"


@pytest.fixture
def tune() -> Callable[[Settings], Settings]:
    def apply(settings: Settings) -> Settings:
        return replace(settings, keys=replace(settings.keys, staff=f"ann:{STAFF}"))

    return apply


TRACED = {"x-openrouter-metadata": "enabled"}


@pytest.fixture
def three() -> Iterator[Fleet]:
    yield from fleet("one", "two", "six")


@pytest.fixture
def providers_file(three: Fleet, tmp_path: Path) -> str:
    three.model("f/m", ("one", 1), ("two", 2), ("six", 6))
    three.model("f/other", ("two", 2), native="o")
    three.model("f/gratis", ("one", 0), ("two", 1), native="g")
    three.model("f/cached", ("one", 1), ("two", 1.05), native="c", more="cache_read = 0.1")
    three.model("f/small", ("one", 1), native="s", more="context = 100")
    seeker = ROW.format(slug="seeker", url=three.upstreams["one"].url)
    three.text = f'{seeker}quirks = ["web_search_options"]\ncache_life_s = 7200\n{three.text}'
    three.model("f/lives", ("seeker", 1), ("two", 1), native="l")
    three.model("f/wise", ("seeker", 1), native="w", more="reasons = true")
    three.text += """
[[models]]
id = "f/two-contexts"
[[models.offers]]
provider = "one"
native_id = "short"
input = 1
output = 1
context = 4000
[[models.offers]]
provider = "six"
native_id = "long"
input = 6
output = 6
context = 8000
"""
    file = tmp_path / "providers.toml"
    file.write_text(three.text)
    return str(file)


async def ask(world: Scene, model: str = "f/m", dialect: Dialect = DIALECTS[0], *,
              stream: bool = False, headers: Any = None, **fields: Any) -> Any:  # fmt: skip
    account = await world.account()
    body = dialect.body(model, stream) | fields
    return await world.client.post(
        dialect.path(model, stream), json=body, headers=account.headers | (headers or {})
    )


# ------------------------------------------------------------------ preferences


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
async def test_preferences_are_obeyed_in_every_dialect_and_stay_here(
    world: Scene, three: Fleet, dialect: Dialect
) -> None:
    wanted = {"provider": {"order": ["two"]}, "models": ["f/other"], "route": "fallback"}
    got = await ask(world, dialect=dialect, **wanted)
    assert (got.status_code, got.headers["x-provider"]) == (200, "two"), got.text
    sent = three.upstreams["two"].requests[-1].json
    assert not {"provider", "models", "route", "providerOptions"} & set(sent)
    vercel = {"providerOptions": {"gateway": {"only": ["six"], "sort": "cost"}}}
    got = await ask(world, dialect=dialect, **vercel)
    assert got.headers["x-provider"] == "six"
    got = await ask(world, dialect=dialect, provider="two")
    assert got.headers["x-provider"] == "two"
    three.play("two", refusal(500))
    got = await ask(world, dialect=dialect, provider="two")
    assert (got.status_code, got.headers["x-provider"]) == (200, "one")
    wrong = await ask(world, dialect=dialect, provider={"order": "two"})
    assert wrong.status_code == 400 and "provider.order" in wrong.text


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"provider": {"only": ["nobody"]}}, 404, "constraint_filtered"),
        ({"provider": {"zdr": True}}, 404, "privacy_restricted"),
        ({"provider": {"data_collection": "deny"}}, 404, "privacy_restricted"),
        ({"provider": {"max_price": {"prompt": 0.5}}}, 404, "constraint_filtered"),
        ({"provider": {"regions": ["eu"]}}, 403, "region_restricted"),
    ],
)
async def test_a_refusal_says_why_and_holds_nothing(
    world: Scene, three: Fleet, fields: dict[str, Any], status: int, code: str
) -> None:
    got = await ask(world, **fields)
    assert (got.status_code, got.json()["error"]["code"]) == (status, code)
    assert not three.calls
    routed = await ask(world, dialect=DIALECTS[1], **fields)
    assert {e["provider"] for e in routed.json()["error"]["metadata"]["excluded"]} == {
        "one", "two", "six",
    }  # fmt: skip


async def test_a_free_request_never_reaches_a_paid_offer(world: Scene, three: Fleet) -> None:
    three.play("one", refusal(500))
    for _ in range(3):
        got = await ask(world, "f/gratis:free")
        assert got.status_code == 503 and three.count("two") == 0, got.text
    nothing = await ask(world, "f/m:free")
    assert (nothing.status_code, nothing.json()["error"]["code"]) == (404, "constraint_filtered")


async def test_a_caller_who_is_read_again_is_still_asking_what_they_asked(
    world: Scene, three: Fleet
) -> None:
    """The account changed between two requests, so the second is planned twice."""
    account = await world.account()
    assert (await world.post(account, "f/gratis:free")).status_code == 200
    # After a few failures the offer that costs nothing is behind the other.
    for _ in range(6):
        (row,) = await world.sql(
            "update tenancy.accounts set epoch = epoch + 1 where account = $1 returning epoch",
            account.id,
        )
        await world.push_epoch(account, row["epoch"])
        three.play("one", refusal(500))
        got = await world.post(account, "f/gratis:free")
        assert got.status_code == 503 and three.count("two") == 0, got.text


async def test_suffixes_sort(world: Scene, three: Fleet) -> None:
    for _ in range(5):
        assert (await ask(world, "f/m:floor")).headers["x-provider"] == "one"
    got = await ask(world, "f/m:nitro")
    assert got.status_code == 200 and got.json()["model"] == "f/m"


# ------------------------------------------------------------------ other models


@pytest.mark.parametrize("stream", [False, True])
async def test_other_models_stand_in_and_are_named_and_billed(
    world: Scene, three: Fleet, stream: bool
) -> None:
    three.play("one", refusal(500))
    three.play("six", refusal(500))
    only = {"provider": {"ignore": ["nobody"], "sort": "price"}}
    account = await world.account()
    body = DIALECTS[0].body("f/small", stream) | {"models": ["f/other"]} | only
    got = await world.client.post("/v1/chat/completions", json=body, headers=account.headers)
    shown = frames_of(got.text)[0] if stream else got.json()
    assert (got.status_code, shown["model"]) == (200, "f/other")
    row = await world.one(account)
    assert (row["model"], row["offer"]) == ("f/other", "two/o")
    assert {line[2] for line in row["lines"]} == {2 * 10**9}


TOO_LONG = {"error": {"message": "maximum context length is 5", "code": "context_length_exceeded"}}
FILTERED = {"error": {"message": "flagged", "code": "content_filter"}}
WRONG = {"error": {"message": "bad temperature", "type": "invalid_request_error"}}


@pytest.mark.parametrize(("body", "moves"), [(TOO_LONG, True), (FILTERED, True), (WRONG, False)])
async def test_a_clients_fault_moves_on_only_where_another_model_may_do_better(
    world: Scene, three: Fleet, body: Any, moves: bool
) -> None:
    three.play("one", refusal(400, body))
    alone = await ask(world, "f/m", provider={"order": ["one"]})
    assert alone.status_code == 400 and three.calls == ["one"]
    three.calls.clear()
    both = {"only": ["one", "two"], "order": ["one"]}
    got = await ask(world, "f/m", models=["f/other"], provider=both)
    assert got.status_code == (200 if moves else 400)
    # The same model's other offers would refuse it too.
    assert three.calls == (["one", "two"] if moves else ["one"])
    if moves:
        assert got.json()["model"] == "f/other"


async def test_a_model_that_does_not_exist_is_no_fallback_and_no_mistake(
    world: Scene, three: Fleet
) -> None:
    assert (await ask(world, models=["no/such"])).status_code == 200
    assert (await ask(world, "no/such", models=["f/m"])).status_code == 404


async def test_the_messages_dialects_fallbacks(world: Scene, three: Fleet) -> None:
    three.play("one", refusal(500))
    got = await ask(world, "f/small", DIALECTS[2], fallbacks=[{"model": "f/other"}])
    assert (got.status_code, got.json()["model"]) == (200, "f/other")


# ------------------------------------------------------------------ limits


async def test_a_caller_sets_its_own_time_limit(world: Scene, three: Fleet) -> None:
    from tests.fakes.upstream import Act

    for slug in ("one", "two", "six"):
        three.play(slug, Act.HANG)
    for stream in (False, True):
        got = await ask(world, stream=stream, timeout=0.15)
        assert (got.status_code, got.json()["error"]["code"]) == (504, "upstream_timeout")
    # Its own impatience is nobody's failure.
    view = world.chat.gateway().board.view()
    assert all(not health.errors for health in view.entries.values())


async def test_an_only_offer_that_asks_for_a_moment_is_waited_for_once(
    world: Scene, three: Fleet
) -> None:
    answers = iter([refusal(429, None, "retry-after-ms: 30"), good_answer("waited")])

    def play(request: Any) -> Any:
        return [next(answers)]

    three.upstreams["one"].play = play
    got = await ask(world, "f/small")
    assert (got.status_code, DIALECTS[0].said(got.text, False)) == (200, "waited")
    three.play("one", refusal(429, None, "retry-after: 60"))
    got = await ask(world, "f/small")
    assert (got.status_code, got.headers["retry-after"]) == (429, "60")
    assert three.count("one") == 1
    again = await ask(world, "f/small")
    assert again.status_code == 429 and int(again.headers["retry-after"]) >= 58
    assert three.count("one") == 1, "nobody is asked who asked not to be"


# ------------------------------------------------------------------ what is told


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_trace_tells_the_whole_way(
    world: Scene, three: Fleet, dialect: Dialect, stream: bool
) -> None:
    three.play("one", refusal(500))
    wanted = {"provider": {"order": ["one", "two"], "ignore": ["six"]}}
    got = await ask(
        world,
        dialect=dialect,
        stream=stream,
        headers={"x-openrouter-metadata": "enabled"},
        **wanted,
    )
    frames = frames_of(got.text) if stream else [got.json()]
    (told,) = [f["openrouter_metadata"] for f in frames if "openrouter_metadata" in f]
    assert (told["requested"], told["strategy"], told["attempt"]) == ("f/m", "order", 2)
    assert [(a["provider"], a["reason"], a["status"]) for a in told["attempts"]] == [
        ("one", "UpstreamUnavailable", 500), ("two", "ok", None),
    ]  # fmt: skip
    assert all(type(a["latency_ms"]) is int for a in told["attempts"])
    assert [(e["provider"], e["reason"]) for e in told["excluded"]] == [("six", "ignore")]
    assert [e["selected"] for e in told["endpoints"]["available"]] == [False, True]
    if stream:
        assert dialect.done(got.text) and dialect.said(got.text, True) == "Hello"
    silent = await ask(world, dialect=dialect, stream=stream, **wanted)
    assert "openrouter_metadata" not in silent.text


@pytest.mark.parametrize("dialect", DIALECTS[:4], ids=lambda d: d.name)
async def test_errors_have_their_trace_too(world: Scene, three: Fleet, dialect: Dialect) -> None:
    for slug in ("one", "two", "six"):
        three.play(slug, refusal(500, {"error": {"message": "secret words of the upstream"}}))
    got = await ask(world, dialect=dialect, headers={"x-gatewayz-trace": "1"},
                    provider={"fallback_max_price_ratio": "any"})  # fmt: skip
    assert got.status_code in (503, 529)
    assert len(got.json()["gatewayz_trace"]["attempts"]) == 3
    assert "secret words" not in got.text
    early = await ask(world, dialect=dialect, headers={"x-gatewayz-trace": "1"},
                      provider={"only": ["two"], "zdr": True})  # fmt: skip
    assert early.json()["gatewayz_trace"]["attempts"] == []


# ------------------------------------------------------------------ affinity


async def test_a_conversation_stays_where_its_prompt_is_cached_and_says_what_that_saved(
    world: Scene, three: Fleet
) -> None:
    for slug in ("one", "two"):
        three.play(slug, closing(200, orjson.dumps({
            "id": "c", "object": "chat.completion", "model": "m", "usage": CACHED,
            "choices": [{"index": 0, "finish_reason": "stop",
                         "message": {"role": "assistant", "content": "ok"}}],
        })), stream=[ROLE, chunk({"content": "x"}), STOP, COUNT, DONE])  # fmt: skip
    account = await world.account()

    async def turn(**more: Any) -> Any:
        body = DIALECTS[0].body("f/cached", False) | {"session_id": "s-1"} | more
        return await world.client.post("/v1/chat/completions", json=body, headers=account.headers)

    first = await turn(provider={"order": ["two"]})
    assert first.headers["x-provider"] == "two"
    for _ in range(6):
        got = await turn()
        assert got.headers["x-provider"] == "two"
        assert got.headers["x-gatewayz-affinity"] == "kept"
        # 4,000 cached tokens at $0.1 in place of $1.05 a million.
        assert got.json()["usage"]["cache_savings"] == 0.0038
    three.play("two", refusal(500))
    got = await turn()
    assert got.headers["x-provider"] == "one"
    assert (await turn()).headers["x-provider"] == "one", "it stays where it was answered last"


async def test_a_conversation_stays_as_long_as_its_providers_cache_lives(
    world: Scene, three: Fleet
) -> None:
    """The row says how long; a request that asks for longer gets longer."""
    account = await world.account()

    async def life_s(provider: str, **more: Any) -> float:
        body = DIALECTS[0].body("f/lives", False) | {"session_id": f"s-{provider}-{len(more)}"}
        wanted = {"provider": {"order": [provider]}} | more
        got = await world.client.post(
            "/v1/chat/completions", json=body | wanted, headers=account.headers
        )
        assert got.headers["x-provider"] == provider
        await world.quiet()
        with world.redis() as redis:
            (key,) = redis.keys("pin:*")
            left_s = redis.pttl(key) / 1000
            redis.delete(key)
        return left_s

    assert 7190 < await life_s("seeker") <= 7200, "its row says so"
    assert 290 < await life_s("two") <= 300, "its row says nothing"
    assert 86_390 < await life_s("two", prompt_cache_retention="24h") <= 86_400


async def test_another_process_finds_the_conversations_place_in_redis(
    world: Scene, three: Fleet
) -> None:
    three.play("one", good_answer(usage=CACHED))
    three.play("two", good_answer(usage=CACHED))
    account = await world.account()
    gateway = world.chat.gateway()

    async def turn(**more: Any) -> Any:
        body = DIALECTS[0].body("f/cached", False) | {"session_id": "s-2"} | more
        return await world.client.post("/v1/chat/completions", json=body, headers=account.headers)

    await turn(provider={"order": ["two"]})
    await world.quiet()
    for _ in range(5):
        gateway.pins._kept.clear()  # as a process that never saw it
        assert (await turn()).headers["x-provider"] == "two"
        await world.quiet()


# ------------------------------------------------------------------ suffixes, stored preferences


async def test_online_and_thinking_add_what_a_chat_request_does_not_say(
    world: Scene, three: Fleet
) -> None:
    assert (await ask(world, "f/small:online")).status_code == 200
    assert three.upstreams["one"].requests[-1].json["web_search_options"] == {}
    assert (await ask(world, "f/small:thinking")).status_code == 200
    assert three.upstreams["one"].requests[-1].json["reasoning_effort"] == "medium"
    assert (await ask(world, "f/small:thinking", reasoning_effort="low")).status_code == 200
    assert three.upstreams["one"].requests[-1].json["reasoning_effort"] == "low"


async def test_every_dialect_can_ask_to_search_and_to_think_by_a_suffix(
    world: Scene, three: Fleet
) -> None:
    def sent() -> Any:
        return three.upstreams["one"].requests[-1].json

    for dialect in DIALECTS:
        roomy = {"max_tokens": 9000} if dialect.name == "messages" else {}
        got = await ask(world, "f/wise:online", dialect)
        assert got.status_code == 200, (dialect.name, got.text)
        assert sent()["web_search_options"] == {}, dialect.name
        got = await ask(world, "f/wise:thinking", dialect, **roomy)
        assert got.status_code == 200, (dialect.name, got.text)
        assert sent()["reasoning_effort"] == "medium", dialect.name
        got = await ask(world, "f/wise:thinking:online", dialect, **roomy)
        assert {"web_search_options", "reasoning_effort"} <= set(sent()), dialect.name
        got = await ask(world, "f/wise", dialect)
        assert not {"web_search_options", "reasoning_effort"} & set(sent()), dialect.name


async def test_a_suffix_adds_nothing_to_what_a_request_says_itself(
    world: Scene, three: Fleet
) -> None:
    said: list[tuple[Dialect, dict[str, Any], str]] = [
        (DIALECTS[2], {"thinking": {"type": "enabled", "budget_tokens": 1500}}, "low"),
        (DIALECTS[3], {"reasoning": {"effort": "high"}}, "high"),
        (DIALECTS[4], {"generationConfig": {"thinkingConfig": {"thinkingBudget": 1500}}}, "low"),
        (DIALECTS[4], {"generationConfig": {"thinking_config": {"thinkingBudget": 1500}}}, "low"),
    ]
    for dialect, fields, effort in said:
        roomy = {"max_tokens": 9000} if dialect.name == "messages" else {}
        got = await ask(world, "f/wise:thinking", dialect, **fields, **roomy)
        assert got.status_code == 200, (dialect.name, got.text)
        assert three.upstreams["one"].requests[-1].json["reasoning_effort"] == effort, fields
    tool = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    got = await ask(world, "f/wise:online", DIALECTS[2], tools=[tool])
    assert got.status_code == 200 and "max_uses" in got.headers["x-gatewayz-dropped-params"]


async def test_a_suffix_that_cannot_be_said_is_refused_clearly(world: Scene, three: Fleet) -> None:
    account = await world.account()
    for word in ("online", "thinking"):
        body = {"model": f"f/m:{word}", "prompt": "hi"}
        got = await world.client.post("/v1/completions", json=body, headers=account.headers)
        error = got.json()["error"]
        assert (got.status_code, error["code"]) == (400, "unsupported_parameter"), got.text
        assert f":{word}" in error["message"] and error["param"] == "model"
    narrow = await ask(world, "f/m:thinking", DIALECTS[2])
    assert narrow.status_code == 400 and "max_tokens of at least 2048" in narrow.text
    assert not three.calls


async def test_extended_takes_the_longest_context_in_every_dialect(
    world: Scene, three: Fleet
) -> None:
    for dialect in DIALECTS:
        got = await ask(world, "f/two-contexts:extended", dialect)
        assert (got.status_code, got.headers["x-provider"]) == (200, "six"), dialect.name


async def test_what_a_key_and_an_account_prefer_holds_for_their_requests(
    world: Scene, three: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await world.account()
    principals = world.chat.gateway().principals
    find = principals.authenticate
    stored: list[Any] = [{"order": ["six"]}, {"ignore": ["two"]}]

    async def with_preferences(*args: Any, **more: Any) -> Any:
        return replace(await find(*args, **more), routing=tuple(stored))

    monkeypatch.setattr(principals, "authenticate", with_preferences)
    monkeypatch.setattr(principals, "at_hand", lambda _: None)

    async def served(**fields: Any) -> Any:
        got = await world.post(account, "f/m", **fields)
        return got.headers.get("x-provider", got.json())

    assert await served() == "six"
    assert await served(provider={"order": ["one"]}) == "one"
    # What an account forbids, a request cannot allow.
    assert "error" in await served(provider={"only": ["two"]})
    stored[1] = {"zdr": True}
    assert "error" in await served(provider={"zdr": False})


async def test_the_staff_resets_breakers_and_probes_on_demand(
    world: Scene, three: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatewayz.routing.board.FRESH_S", -1.0)
    account = await world.account()
    three.play("one", refusal(500))
    for _ in range(5):
        await world.post(account, "f/small")
    await world.quiet()
    await world.settle()
    path = "/admin/circuit-breakers/one/reset"
    assert (await world.client.post(path)).status_code == 401
    staff = {"authorization": f"Bearer {STAFF}"}
    breaker = (await world.client.get("/circuit-breakers/one")).json()
    assert breaker["state"] == "open"
    assert (await world.client.post(path, headers=staff)).json()["reset"] == 2
    three.answer("one")
    probe = await world.client.post("/admin/health/check/one/f/small", headers=staff)
    assert probe.json()["outcome"] == "ok"
    breaker = (await world.client.get("/circuit-breakers/one")).json()
    assert breaker["state"] == "closed"
    for missing in ("/admin/circuit-breakers/nobody/reset", "/admin/health/check/one/no/such"):
        assert (await world.client.post(missing, headers=staff)).status_code == 404


async def test_who_learns_beside_the_hold_that_nothing_is_left_answers_and_frees_it(
    world: Scene, three: Fleet
) -> None:
    """What hides an offer is known to others only, so the plan looks good until Redis answers."""
    account = await world.account()
    three.play("one", good_answer("never"))
    elsewhere = Board(world.stores.redis)
    elsewhere.tell("one/m", "H2")
    await elsewhere.finish_background()
    answer = await world.post(account, "f/m", provider={"only": ["one"]})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "constraint_filtered"
    assert world.holds(account) == {}


@pytest.mark.audited(crashes=1)
async def test_a_crash_beside_the_hold_frees_it_too(
    world: Scene, three: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: Any) -> None:
        raise RuntimeError("a bug of ours")

    account = await world.account()
    three.play("one", good_answer("never"))
    monkeypatch.setattr(Job, "confirm", crash)
    answer = await world.post(account, "f/m")
    assert answer.status_code == 500
    assert world.holds(account) == {}
