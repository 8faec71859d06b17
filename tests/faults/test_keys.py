"""Keys: bad ones look alike and cost nothing, revoked ones are dead from the next request."""

import asyncio
from typing import Any

import pytest

from gatewayz.accounts.keys import CHECKSUM_CHARS, _checksum, generate_key, hash_key, well_formed
from tests.faults.scene import Links, Scene, chat_body, reached
from tests.world import Account


async def _call(world: Scene, headers: dict[str, str]) -> Any:
    body = chat_body("sandbox/mock-n2")
    return await world.client.post("/v1/chat/completions", content=body, headers=headers)


def _shape(answer: Any) -> tuple[Any, ...]:
    """All of an answer that a caller could tell apart; ids are of one form."""
    body = answer.json()
    assert body.pop("request_id").startswith("req_")
    names = sorted(name for name in answer.headers if name != "date")
    return answer.status_code, body, names, answer.headers["www-authenticate"]


async def test_F84_all_bad_keys_get_one_answer_and_malformed_ones_cost_no_lookup(
    world: Scene, links: Links
) -> None:
    account = await world.account()
    revoked = await world.account()
    await world.stores.postgres.rpc("revoke_key", {"account": revoked.id, "key_id": revoked.key_id})
    tail = account.key[:-1] + ("0" if account.key[-1] != "0" else "1")
    swapped = account.key[:12] + account.key[13] + account.key[12] + account.key[14:]
    malformed = {
        "wrong tail": tail,
        "two characters swapped": swapped if swapped != account.key else tail,
        "cut": account.key[:-1],
        "short": "x",
        "random": "sk-" + "a1B2" * 12,
        "10 KB": "gw_test_" + "x" * 10_240,
        "SQL": "gw_test_' or 1=1; drop table tenancy.api_keys; --",
        "other case": account.key.upper(),
        "trailing NUL": account.key + "%00",
    }
    before = (links.postgres.bytes_sent, links.redis.bytes_sent)
    connections = (links.postgres.connections, links.redis.connections)
    answers = {}
    for name, key in malformed.items():
        answers[name] = await _call(world, {"authorization": f"Bearer {key}"})
        answers[name + ", x-api-key"] = await _call(world, {"x-api-key": key})
    answers["none"] = await _call(world, {})
    answers["basic"] = await _call(world, {"authorization": f"Basic {account.key}"})
    assert (links.postgres.bytes_sent, links.redis.bytes_sent) == before
    assert (links.postgres.connections, links.redis.connections) == connections

    answers["revoked"] = await _call(world, revoked.headers)
    answers["well formed"] = await _call(
        world, {"authorization": f"Bearer {generate_key('test').text}"}
    )
    expected = _shape(answers["none"])
    assert expected[0] == 401 and expected[1]["error"]["code"] == "invalid_api_key"
    for name, answer in answers.items():
        assert _shape(answer) == expected, name
    assert world.sandbox.requests == 0

    # A key known to be bad is not looked up again.
    looked_up = links.postgres.bytes_sent
    assert (await _call(world, revoked.headers)).status_code == 401
    assert links.postgres.bytes_sent == looked_up
    assert (await _call(world, account.headers)).status_code == 200


async def test_F85_two_keys_with_the_same_beginning_share_nothing(world: Scene) -> None:
    first = await world.account()
    body = first.key[:-CHECKSUM_CHARS]
    other = body[:-1] + ("A" if body[-1] != "A" else "B")
    twin = other + _checksum(other.encode()).decode()
    assert well_formed(twin.encode()) and twin[:20] == first.key[:20] and twin != first.key
    owner = await world.account()
    await world.stores.postgres.rpc(
        "create_key",
        {
            "key_id": "key_twin",
            "account": owner.id,
            "name": "twin",
            "hash": hash_key(twin.encode(), world.settings.keys.pepper.encode()).hex(),
            "prefix": "gw_test_",
        },
    )
    headers = {"authorization": f"Bearer {twin}"}
    for _ in range(2):
        assert (await _call(world, first.headers)).status_code == 200
        assert (await _call(world, headers)).status_code == 200
    await world.quiet()
    await world.settle()
    assert {row["key_id"] for row in await world.requests(first)} == {first.key_id}
    assert {row["key_id"] for row in await world.requests(owner)} == {"key_twin"}
    assert len(await world.requests(owner)) == len(await world.requests(first)) == 2


@pytest.mark.parametrize("what", ["suspended", "revoked"])
async def test_F81_F86_a_change_in_the_middle_of_a_request_holds_from_the_next(
    world: Scene, what: str
) -> None:
    account = await world.account()
    lock = f"F81{what}"
    task = asyncio.create_task(world.stream(account, f"sandbox/mock-n3-lockstep.{lock}"))
    await reached(lambda: world.sandbox.streams)
    await world.released(lock, 1)
    calls = world.sandbox.requests
    if what == "suspended":
        await world.suspend(account)
        expected = (403, "account_suspended")
    else:
        await _revoke(world, account)
        expected = (401, "invalid_api_key")
    for stream in (False, True):
        refused = await world.post(account, "sandbox/mock-n2", stream=stream)
        assert (refused.status_code, refused.json()["error"]["code"]) == expected
    for path in ("/v1/credits", "/api/v1/key", "/v1/generation?id=gen-x"):
        answer = await world.client.get(path, headers=account.headers)
        assert answer.status_code == expected[0], path
    assert world.sandbox.requests == calls
    await world.released(lock, 2)
    status, _, text = await task
    assert (status, text[-14:]) == (200, "data: [DONE]\n\n")
    row = await world.one(account)
    assert row["outcome"] == "completed" and row["charge_nanos"] > 0


async def _revoke(world: Scene, account: Account) -> None:
    row = await world.stores.postgres.rpc(
        "revoke_key", {"account": account.id, "key_id": account.key_id}
    )
    await world.push_epoch(account, row["epoch"])


async def test_F86_rotate_then_revoke(world: Scene) -> None:
    """The new key works at once, the old one until it is revoked, the new one after it still."""
    account = await world.account()
    assert (await _call(world, account.headers)).status_code == 200
    fresh = generate_key("test")
    made = await world.stores.postgres.rpc(
        "create_key",
        {
            "key_id": "key_new",
            "account": account.id,
            "name": "new",
            "hash": hash_key(fresh.text.encode(), world.settings.keys.pepper.encode()).hex(),
            "prefix": fresh.prefix,
        },
    )
    await world.push_epoch(account, made["epoch"])
    headers = {"authorization": f"Bearer {fresh.text}"}
    assert (await _call(world, headers)).status_code == 200
    assert (await _call(world, account.headers)).status_code == 200
    calls = world.sandbox.requests
    await _revoke(world, account)
    assert (await _call(world, account.headers)).status_code == 401
    assert world.sandbox.requests == calls
    assert (await _call(world, headers)).status_code == 200


@pytest.mark.parametrize("lost", ["the push", "all of Redis"])
async def test_F86_a_revocation_that_redis_never_heard_of(world: Scene, lost: str) -> None:
    """The ledger knows: the next lease tells the process, before any upstream call."""
    account = await world.account()
    assert (await _call(world, account.headers)).status_code == 200
    await world.quiet()
    await world.stores.postgres.rpc("revoke_key", {"account": account.id, "key_id": account.key_id})
    calls = world.sandbox.requests
    with world.redis() as client:
        if lost == "all of Redis":
            client.flushall()
        else:
            client.hset(f"acct:{{{account.id}}}", "left", "0")
    assert (await _call(world, account.headers)).status_code == 401
    assert world.sandbox.requests == calls
