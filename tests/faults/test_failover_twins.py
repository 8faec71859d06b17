"""F30: requests with one key run once, wherever their twins come; and those that join without."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import orjson
import pytest

from gatewayz.core.settings import Settings
from gatewayz.inference import replay, witness
from tests.faults.scene import MESSAGES, RawCall, Scene, chat_body, http_request, reached
from tests.world import Account, Server, mount

PATHS = [
    ("/v1/chat/completions", {"messages": MESSAGES}),
    ("/api/v1/chat/completions", {"messages": MESSAGES}),
    ("/v1/messages", {"messages": MESSAGES, "max_tokens": 50}),
    ("/v1/responses", {"input": "hello"}),
    ("/v1/completions", {"prompt": "hello"}),
]


def keyed(key: str, **more: str) -> dict[str, str]:
    return {"idempotency-key": key, **more}


async def ask(
    world: Scene, account: Account, key: str, *, client: Any = None, path: str = "", **body: Any
) -> httpx.Response:
    content = {"model": "sandbox/mock-n3", "messages": MESSAGES} | body
    headers = account.headers | keyed(key)
    target: httpx.AsyncClient = client or world.client
    got: httpx.Response = await target.post(
        path or "/v1/chat/completions", json=content, headers=headers
    )
    return got


def same(one: httpx.Response, other: httpx.Response) -> bool:
    return (one.status_code, one.content) == (other.status_code, other.content)


@pytest.fixture
async def elsewhere(
    world: Scene, tune: Callable[[Settings], Settings]
) -> AsyncIterator[httpx.AsyncClient]:
    """A second gateway over the same stores."""
    server = Server(mount(world.settings))
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        yield client
    server.stop()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "body"), PATHS)
async def test_F30_later_the_answer_is_replayed_byte_for_byte(
    world: Scene, elsewhere: httpx.AsyncClient, path: str, body: dict[str, Any], stream: bool
) -> None:
    account = await world.account()
    first = await ask(world, account, "k", path=path, stream=stream, **body)
    again = await ask(world, account, "k", path=path, stream=stream, **body)
    there = await ask(world, account, "k", client=elsewhere, path=path, stream=stream, **body)
    assert first.status_code == 200 and same(first, again) and same(first, there)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == there.headers["idempotent-replayed"] == "true"
    assert again.headers["x-generation-id"] == first.headers["x-generation-id"]
    assert world.sandbox.requests == 1
    assert (await world.one(account))["outcome"] == "completed"


async def test_F30_the_order_of_a_bodys_keys_is_nothing(world: Scene) -> None:
    account = await world.account()
    one = b'{"model":"sandbox/mock-n3","messages":[{"role":"user","content":"x"}]}'
    two = b'{ "messages": [{"content":"x","role":"user"}], "model":"sandbox/mock-n3"}'
    got = [
        await world.client.post(
            "/v1/chat/completions", content=body, headers=account.headers | keyed("k")
        )
        for body in (one, two)
    ]
    assert same(*got) and world.sandbox.requests == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_F30_at_once_they_share_one_run(
    world: Scene, elsewhere: httpx.AsyncClient, stream: bool
) -> None:
    account = await world.account()
    name = f"twins{stream}"
    model = f"sandbox/mock-n3-lockstep.{name}" if stream else "sandbox/mock-n3-t300"
    asked = [
        asyncio.create_task(ask(world, account, "k", client=client, model=model, stream=stream))
        for client in (None, None, elsewhere, elsewhere)
    ]
    if stream:
        await reached(lambda: world.sandbox.requests == 1)
        await world.released(name, 3)
    got = await asyncio.gather(*asked)
    assert got[0].status_code == 200 and all(same(got[0], other) for other in got)
    assert world.sandbox.requests == 1
    await world.one(account)


async def test_F30_another_body_is_refused_in_the_dialect(world: Scene) -> None:
    account = await world.account()
    assert (await ask(world, account, "k")).status_code == 200
    other = await ask(world, account, "k", temperature=0.5)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
    body = {"messages": MESSAGES, "max_tokens": 9}
    messages = await ask(world, account, "k", path="/v1/messages", **body)
    assert messages.status_code == 409 and messages.json()["type"] == "error"
    assert world.sandbox.requests == 1


async def test_F30_accounts_do_not_share_keys(world: Scene) -> None:
    one, two = await world.account(), await world.account()
    first, second = await ask(world, one, "k"), await ask(world, two, "k", temperature=0.5)
    assert first.status_code == second.status_code == 200
    assert world.sandbox.requests == 2
    await world.one(one)
    await world.one(two)


@pytest.mark.parametrize("stream", [False, True])
async def test_F30_a_failure_before_the_first_token_is_not_remembered(
    world: Scene, stream: bool
) -> None:
    account = await world.account()
    # Of a hundred requests of this model the first fails.
    model = "sandbox/mock-n3-err500-p1"
    first = await ask(world, account, "k", model=model, stream=stream)
    assert first.status_code == 503
    again = await ask(world, account, "k", model=model, stream=stream)
    assert again.status_code == 200 and "idempotent-replayed" not in again.headers
    rows = await world.settled(account)
    assert [row["outcome"] for row in rows] == ["completed", "failed"]


async def test_F30_a_cut_after_the_first_token_is_remembered_as_it_was(world: Scene) -> None:
    account = await world.account()
    first = await ask(world, account, "k", model="sandbox/mock-n9-cut3", stream=True)
    again = await ask(world, account, "k", model="sandbox/mock-n9-cut3", stream=True)
    assert "error" in first.text and same(first, again)
    assert (await world.one(account))["outcome"] == "cut"


async def test_F30_who_leaves_gets_the_whole_answer_when_it_comes_again(world: Scene) -> None:
    account = await world.account()
    name = "leaver"
    body = orjson.loads(chat_body(f"sandbox/mock-n3-lockstep.{name}", stream=True))
    raw = orjson.dumps(body)
    call = await RawCall(world).open(http_request(account, raw, "idempotency-key: k"))
    await world.released(name)
    await call.until(b"sandbox")
    call.leave()
    again = asyncio.create_task(
        world.client.post("/v1/chat/completions", content=raw, headers=account.headers | keyed("k"))
    )
    await world.released(name, 2)
    got = await again
    assert got.text.endswith("data: [DONE]\n\n") and "w2" in got.text
    row = await world.one(account)
    assert row["outcome"] == "completed" and world.sandbox.requests == 1


async def test_F30_a_long_answer_is_kept_in_a_blob(
    world: Scene, elsewhere: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MAX_LISTED_BYTES", 600)
    account = await world.account()
    first = await ask(world, account, "k", model="sandbox/mock-n40", stream=True)
    there = await ask(world, account, "k", client=elsewhere, model="sandbox/mock-n40", stream=True)
    assert len(first.content) > 2000 and same(first, there)
    # A day later nobody may ask for it, and it is gone.
    kept = await world.stores.blobs.list_keys("replay/")
    assert len(kept) == 1
    assert await witness.forget_answers(world.stores) == 0
    monkeypatch.setattr(witness, "KEEP_MS", -witness.GRACE_MS - 60_000)
    assert await witness.forget_answers(world.stores) == 1
    assert await world.stores.blobs.list_keys("replay/") == []


async def test_F30_an_owner_that_fell_silent_is_told_as_it_is(
    world: Scene, elsewhere: httpx.AsyncClient
) -> None:
    account = await world.account()
    assert (await ask(world, account, "k")).status_code == 200
    with world.redis() as client:
        name = f"replay:{{{account.id}}}:k"
        client.hset(name, mapping={"state": "run", "beat": 1})
    got = await ask(world, account, "k", client=elsewhere)
    assert (got.status_code, got.json()["error"]["code"]) == (409, "idempotency_in_progress")


async def test_F30_without_redis_twins_of_one_process_still_run_once(
    world: Scene, links: Any
) -> None:
    account = await world.account()
    assert (await ask(world, account, "before")).status_code == 200
    await world.quiet()
    links.redis.down()
    got = await asyncio.gather(
        *[ask(world, account, "k", model="sandbox/mock-n3-t300") for _ in range(3)]
    )
    assert got[0].status_code == 200 and all(same(got[0], other) for other in got)
    assert world.sandbox.requests == 2


async def test_F30_without_redis_a_key_runs_once_in_all_processes_and_for_ever_after(
    world: Scene, elsewhere: httpx.AsyncClient, links: Any
) -> None:
    """Postgres is the second witness: it knows the key while Redis is away, and the answer is kept
    beside it; when Redis is back it knows nothing of the key, and it still runs once."""
    account = await world.account()
    await ask(world, account, "before")
    await world.quiet()
    links.redis.down()
    first = await ask(world, account, "k", stream=True)
    assert first.status_code == 200
    await world.quiet()
    sent = world.sandbox.requests
    for client in (None, elsewhere):
        again = await ask(world, account, "k", stream=True, client=client)
        assert again.headers["idempotent-replayed"] == "true" and same(first, again)
    other = await ask(world, account, "k", client=elsewhere, model="sandbox/story")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
    links.up()
    for client in (None, elsewhere):
        again = await ask(world, account, "k", stream=True, client=client)
        assert same(first, again)
    assert world.sandbox.requests == sent
    rows = await world.settled(account)
    assert len(rows) == 2, "two keys, two charges"


async def test_F30_a_key_that_redis_forgot_is_not_run_again(
    world: Scene, elsewhere: httpx.AsyncClient
) -> None:
    account = await world.account()
    assert (await ask(world, account, "k")).status_code == 200
    await world.quiet()
    with world.redis() as client:
        client.delete(*client.keys("replay:*"))
    for client in (None, elsewhere):
        got = await ask(world, account, "k", client=client)
        assert (got.status_code, got.json()["error"]["code"]) == (409, "idempotency_key_reused")
        assert "was served" in got.json()["error"]["message"]
    assert world.sandbox.requests == 1 and len(await world.settled(account)) == 1


async def test_F30_a_run_that_only_postgres_knows_is_waited_for_by_nobody(
    world: Scene, elsewhere: httpx.AsyncClient, links: Any
) -> None:
    account = await world.account()
    await ask(world, account, "before")
    await world.quiet()
    links.redis.down()
    slow = asyncio.create_task(ask(world, account, "k", model="sandbox/mock-n3-t600"))
    while not await world.sql("select 1 from tenancy.replays where state = 'run'"):
        await asyncio.sleep(0.01)
    got = await ask(world, account, "k", client=elsewhere, model="sandbox/mock-n3-t600")
    assert (got.status_code, got.json()["error"]["code"]) == (409, "idempotency_in_progress")
    assert (await slow).status_code == 200


async def test_F30_a_failure_before_the_first_token_is_forgotten_by_both(
    world: Scene, links: Any
) -> None:
    account = await world.account()
    await ask(world, account, "before")
    await world.quiet()
    for redis_is_away in (False, True):
        if redis_is_away:
            links.redis.down()
        failed = await ask(world, account, f"k{redis_is_away}", model="sandbox/mock-err500")
        assert failed.status_code == 503
        await world.quiet()
        assert not await world.sql("select 1 from tenancy.replays where state = 'run'")


async def test_F30_a_key_is_kept_for_a_day_and_those_that_are_over_go(world: Scene) -> None:
    account = await world.account()
    assert (await ask(world, account, "k")).status_code == 200
    await ask(world, account, "other")
    await world.quiet()
    with world.redis() as client:
        client.delete(*client.keys("replay:*"))
    await world.sql("update tenancy.replays set at = now() - interval '25 hours'")
    assert (await ask(world, account, "k")).status_code == 200, "a day has passed"
    assert len(await world.sql("select 1 from tenancy.replays")) == 1


async def test_requests_without_a_key_join_only_when_they_ask_to(world: Scene) -> None:
    account = await world.account()

    async def one(coalesce: bool) -> httpx.Response:
        headers = account.headers | ({"x-gatewayz-coalesce": "1"} if coalesce else {})
        body = {"model": "sandbox/mock-n3-t300", "messages": MESSAGES}
        got: httpx.Response = await world.client.post(
            "/v1/chat/completions", json=body, headers=headers
        )
        return got

    joined = await asyncio.gather(one(True), one(True), one(True))
    assert all(same(joined[0], other) for other in joined) and world.sandbox.requests == 1
    await asyncio.gather(one(False), one(False))
    assert world.sandbox.requests == 3
    await one(True)
    assert world.sandbox.requests == 4, "an answer that is over is not replayed without a key"
    assert len(await world.settled(account)) == 4
