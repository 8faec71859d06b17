"""The whole money path over managed stores: Supabase's PostgREST, Upstash, SQS."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from gatewayz.billing.settlement import CHARGES
from gatewayz.core.settings import load_settings
from gatewayz.runtime import entries
from gatewayz.runtime.powertools import partial_answer
from gatewayz.stores.open import open_stores
from gatewayz.stores.postgrest import RestPostgres
from gatewayz.stores.sqs import SqsQueue
from gatewayz.stores.supabase_client import SupabasePostgres
from gatewayz.stores.upstash import UpstashRedis
from tests.conftest import PEPPER
from tests.managed import (
    REGION,
    Aws,
    Supabase,
    Upstash,
    authenticator,
    aws,
    moto_server,
    supabase,
    upstash,
)
from tests.world import World

__all__ = ["authenticator", "aws", "moto_server", "supabase", "upstash"]


@pytest.fixture
def queue_url(aws: Aws) -> str:
    return aws.make_queue()


@pytest.fixture
def environment(
    supabase: Supabase, upstash: Upstash, queue_url: str, tmp_path: Path
) -> dict[str, str]:
    """In place of the usual one: not one address of a database or a Redis of one's own."""
    return {
        **supabase.variables,
        **upstash.variables,
        "SQS_CHARGES_URL": queue_url,
        "AWS_REGION": REGION,
        "GATEWAYZ_KEY_PEPPER": PEPPER,
        "GATEWAYZ_STAGE": "test",
        "GATEWAYZ_HOME": str(tmp_path / "home"),
        "CRON_SECRET": "test-cron-secret",
        # A machine under test is slow, and one fake stands before another.
        "GATEWAYZ_REDIS_TIMEOUT_MS": "5000",
        "GATEWAYZ_RPC_TIMEOUT_MS": "10000",
    }


def lambda_event(aws: Aws, queue_url: str) -> dict[str, Any]:
    """What waits in SQS, as the platform hands it to a function."""
    sqs = aws.client("sqs")
    records: list[dict[str, Any]] = []
    while True:
        answer = sqs.receive_message(
            QueueUrl=queue_url, MaxNumberOfMessages=10, AttributeNames=["All"], VisibilityTimeout=60
        )
        if not answer.get("Messages"):
            sqs.close()
            return {"Records": records}
        records += [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "eventSource": "aws:sqs",
            }
            for message in answer["Messages"]
        ]


async def settle_as_lambda(
    world: World, aws: Aws, queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> int:
    """The settle worker gets what waits as its platform would hand it over."""
    from functions.settle_charges.worker import worker

    monkeypatch.setattr(entries, "process_stores", lambda: world.stores)
    event = await asyncio.to_thread(lambda_event, aws, queue_url)
    done = await worker._done_of(event["Records"])
    assert partial_answer(event["Records"], done) == {"batchItemFailures": []}
    return len(event["Records"])


async def test_requests_are_held_served_queued_and_settled_to_the_last_nano(
    world: World, upstash: Upstash, aws: Aws, queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = world.chat.gateway()
    assert isinstance(gateway.stores.postgres, RestPostgres)
    assert isinstance(gateway.stores.redis, UpstashRedis)
    assert isinstance(gateway.stores.queue, SqsQueue)

    account = await world.account(usd=10)
    answer = await world.post(account, "sandbox/mock-n20")
    assert answer.status_code == 200, answer.text
    status, _, text = await world.stream(account, "sandbox/mock-n20")
    assert (status, text[-14:]) == (200, "data: [DONE]\n\n")
    refused = await world.post(account, "sandbox/mock-err429")
    assert refused.status_code == 429

    assert (await world.balance(account))["charged_nanos"] == 0
    assert (await world.depth()) == 3
    assert await settle_as_lambda(world, aws, queue_url, monkeypatch) == 3
    assert await settle_as_lambda(world, aws, queue_url, monkeypatch) == 0

    rows = await world.requests(account)
    balance = await world.balance(account)
    assert sorted(row["outcome"] for row in rows) == ["completed", "completed", "failed"]
    assert balance["charged_nanos"] == sum(row["charge_nanos"] for row in rows) > 0
    # The cost that the answer told is what the ledger charged.
    body = orjson.loads(answer.content)
    told = round(body["usage"]["cost"] * 10**9)
    assert told in [row["charge_nanos"] for row in rows]
    assert await world.violations() == []

    await world.sweep()
    balance = await world.balance(account)
    assert balance["held_nanos"] == 0
    assert balance["available_nanos"] == 10 * 10**9 - balance["charged_nanos"]
    assert await world.violations() == []
    assert {call[0] for call in upstash.shim.calls} == {"EVALSHA", "EVAL"}


async def test_a_process_of_ours_settles_from_sqs_too(world: World) -> None:
    account = await world.account(usd=10)
    answers = await asyncio.gather(*[world.post(account, "sandbox/mock-n5") for _ in range(25)])
    assert {answer.status_code for answer in answers} == {200}
    assert await world.settle() == 25
    assert await world.depth() == 0
    rows = await world.requests(account)
    assert len(rows) == 25
    charged = (await world.balance(account))["charged_nanos"]
    assert charged == sum(row["charge_nanos"] for row in rows) > 0
    assert await world.violations() == []


async def test_a_message_that_comes_twice_is_charged_once(
    world: World, aws: Aws, queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await world.account(usd=10)
    await world.post(account, "sandbox/mock-n5")
    stores = world.stores
    (message,) = await stores.queue.receive(CHARGES, 10, visible_s=0)
    await stores.queue.send(CHARGES, message.body["request_id"], message.body)
    assert await settle_as_lambda(world, aws, queue_url, monkeypatch) == 2
    assert len(await world.requests(account)) == 1
    balance = await world.balance(account)
    assert balance["charged_nanos"] == message.body["charge_nanos"] > 0
    assert await world.violations() == []


async def test_too_little_credit_is_402_and_a_revoked_key_401(world: World) -> None:
    poor = await world.account(usd=0)
    assert (await world.post(poor, "sandbox/mock-n5")).status_code == 402
    account = await world.account(usd=10)
    assert (await world.post(account, "sandbox/mock-n5")).status_code == 200
    revoked = await world.stores.postgres.rpc(
        "revoke_key", {"account": account.id, "key_id": account.key_id}
    )
    await world.chat.gateway().credits.push_epoch(account.id, revoked["epoch"])
    assert (await world.post(account, "sandbox/mock-n5")).status_code == 401


async def test_the_control_plane_has_the_vendors_clients_on_the_same_stores(
    world: World, environment: dict[str, str]
) -> None:
    account = await world.account(usd=10)
    assert (await world.post(account, "sandbox/mock-n5")).status_code == 200
    control = open_stores(load_settings(environment), plane="control")
    assert isinstance(control.postgres, SupabasePostgres)
    balance = await control.postgres.rpc("get_balance", {"account": account.id})
    assert balance == await world.balance(account)
    assert await control.redis.script("ping_v1", ["k"], []) == "PONG"
    assert (await control.queue.depth(CHARGES)).waiting == 1
    await control.close()


async def test_the_control_planes_routes_answer_over_managed_stores(world: World) -> None:
    account = await world.account(usd=10)
    health = (await world.client.get("/health")).json()
    assert health["stores"] == {"postgres": "ok", "redis": "ok", "queue": "ok"}
    await world.post(account, "sandbox/mock-n5")
    await world.settle()
    charged = (await world.balance(account))["charged_nanos"]
    key = (await world.client.get("/v1/key", headers=account.headers)).json()["data"]
    assert round(key["usage"] * 10**9) == charged > 0
    assert (await world.client.get("/v1/key")).status_code == 401
