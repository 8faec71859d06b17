"""The queue port: the table in Postgres and SQS keep the same promises."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from gatewayz.core.errors import StoreTimeout, StoreUnavailable
from gatewayz.core.settings import load_settings
from gatewayz.net.http import HttpClient
from gatewayz.runtime.entries import Worker
from gatewayz.stores.aws import AwsClient, AwsIdentity
from gatewayz.stores.direct_postgres import DirectPostgres
from gatewayz.stores.open import Stores, open_stores
from gatewayz.stores.queue import PostgresQueue, Queue
from gatewayz.stores.secrets import Secrets
from gatewayz.stores.sqs import MAX_BATCH, SqsQueue
from tests.conftest import PEPPER
from tests.fakes.proxy import Proxy
from tests.managed import MAX_RECEIVES, REGION, Aws, aws, moto_server
from tests.world import eventually

__all__ = ["aws", "moto_server"]

KINDS = ["Postgres", "SQS"]
QUEUE = "charges"


@dataclass
class Backend:
    link: Proxy
    open: Callable[..., Queue]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def address(kind: str, request: pytest.FixtureRequest) -> str:
    if kind == "Postgres":
        url: str = request.getfixturevalue("database_url")
        return url
    made: str = request.getfixturevalue("aws").make_queue()
    return made


@pytest.fixture
def link(address: str) -> Iterator[Proxy]:
    parts = urlsplit(address)
    assert parts.hostname and parts.port
    made = Proxy(parts.hostname, parts.port)
    yield made
    made.stop()


@pytest.fixture
async def backend(kind: str, address: str, link: Proxy) -> AsyncIterator[Backend]:
    http = HttpClient(connect_timeout_s=1.0)
    databases: list[DirectPostgres] = []

    def make(timeout_s: float = 10.0) -> Queue:
        if kind == "SQS":
            client = AwsClient(
                http, AwsIdentity(http, Secrets().find), service="sqs", region=REGION, version="1.0"
            )
            urls = {QUEUE: link.address(address)}
            return SqsQueue(client, urls, timeout_s=timeout_s, poll_s=0)
        databases.append(DirectPostgres(link.address(address), timeout_s=timeout_s, pooled=False))
        return PostgresQueue(databases[-1])

    yield Backend(link, make)
    for database in databases:
        await database.close()
    await http.aclose()


@pytest.fixture
def queue(backend: Backend) -> Queue:
    return backend.open()


def body(number: int) -> dict[str, Any]:
    return {"request_id": f"req_{number}", "n": number, "text": 'ü "quotes" \x1f', "none": None}


async def drain(queue: Queue, *, limit: int = 10) -> list[dict[str, Any]]:
    bodies: list[dict[str, Any]] = []
    while batch := await queue.receive(QUEUE, limit, visible_s=30):
        bodies += [message.body for message in batch]
        await queue.acknowledge(QUEUE, [message.id for message in batch])
    return bodies


async def test_what_was_sent_is_received_whole_and_once_acknowledged_never_again(
    queue: Queue,
) -> None:
    await queue.send(QUEUE, "m1", body(1))
    (received,) = await queue.receive(QUEUE, 10, visible_s=30)
    assert received.body == body(1)
    assert received.receives == 1
    await queue.acknowledge(QUEUE, [received.id])
    depth = await queue.depth(QUEUE)
    assert (depth.waiting, depth.inflight, depth.dead) == (0, 0, 0)


async def test_a_received_message_is_nobody_elses_and_comes_again_when_its_time_is_over(
    queue: Queue,
) -> None:
    await queue.send(QUEUE, "m1", body(1))
    assert len(await queue.receive(QUEUE, 10, visible_s=1)) == 1
    assert await queue.receive(QUEUE, 10, visible_s=30) == []
    assert (await queue.depth(QUEUE)).inflight == 1
    found: list[int] = []

    async def came_again() -> bool:
        found.extend(m.receives for m in await queue.receive(QUEUE, 10, visible_s=30))
        return bool(found)

    await eventually(came_again)
    assert found == [2]


async def test_many_at_once_are_all_stored_in_few_writes(queue: Queue, backend: Backend) -> None:
    before = backend.link.requests
    await asyncio.gather(*[queue.send(QUEUE, f"m{n}", body(n)) for n in range(60)])
    assert backend.link.requests - before < 60
    assert sorted(found["n"] for found in await drain(queue)) == list(range(60))


async def test_acknowledging_nothing_or_something_twice_does_no_harm(queue: Queue) -> None:
    await queue.acknowledge(QUEUE, [])
    await queue.send(QUEUE, "m1", body(1))
    (received,) = await queue.receive(QUEUE, 10, visible_s=30)
    await queue.acknowledge(QUEUE, [received.id])
    await queue.acknowledge(QUEUE, [received.id])
    assert await drain(queue) == []


async def test_F16_a_poison_message_stands_aside_and_the_others_go_on(queue: Queue) -> None:
    await asyncio.gather(*[queue.send(QUEUE, f"m{n}", body(n)) for n in range(3)])
    worked = 0
    for _ in range(MAX_RECEIVES + 1):
        for message in await queue.receive(QUEUE, 10, visible_s=0):
            if message.body["n"] != 1:
                worked += 1
                await queue.acknowledge(QUEUE, [message.id])
    assert await queue.receive(QUEUE, 10, visible_s=0) == []
    assert worked == 2
    depth = await queue.depth(QUEUE)
    assert (depth.waiting, depth.inflight, depth.dead) == (0, 0, 1)


async def test_a_refused_connection_means_that_nothing_was_stored(backend: Backend) -> None:
    queue = backend.open()
    backend.link.down()
    with pytest.raises(StoreUnavailable):
        await queue.send(QUEUE, "m1", body(1))
    backend.link.up()
    await queue.send(QUEUE, "m2", body(2))
    assert [found["n"] for found in await drain(queue)] == [2]


async def test_F13_a_queue_that_hangs_is_unknown_after_the_limit(backend: Backend) -> None:
    queue = backend.open(0.3)
    backend.link.hang()
    with pytest.raises(StoreTimeout):
        await queue.send(QUEUE, "m1", body(1))
    backend.link.up()


async def test_a_lost_reply_is_unknown_and_the_message_may_be_there(backend: Backend) -> None:
    queue = backend.open()
    backend.link.lose_reply(b"req_7")
    with suppress(StoreTimeout):
        await queue.send(QUEUE, "m7", body(7))
    assert [found["n"] for found in await drain(queue)] in ([7], [])


# ---------------------------------------------------------------- SQS alone


def sqs_stores(url: str, database_url: str, redis_url: str, aws: Aws) -> Stores:
    return open_stores(
        load_settings(
            {
                "DATABASE_URL": database_url,
                "REDIS_URL": redis_url,
                "SQS_CHARGES_URL": url,
                "AWS_REGION": REGION,
                "GATEWAYZ_KEY_PEPPER": PEPPER,
                "GATEWAYZ_RPC_TIMEOUT_MS": "10000",
            }
        )
    )


async def test_the_genuine_sdk_reads_what_we_send_and_we_what_it_sends(
    aws: Aws, database_url: str, redis_url: str
) -> None:
    url = aws.make_queue()
    stores = sqs_stores(url, database_url, redis_url, aws)
    sqs = aws.client("sqs")
    await stores.queue.send(QUEUE, "m1", body(1))
    answer = await asyncio.to_thread(sqs.receive_message, QueueUrl=url)
    assert json.loads(answer["Messages"][0]["Body"]) == body(1)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=answer["Messages"][0]["ReceiptHandle"])
    await asyncio.to_thread(sqs.send_message, QueueUrl=url, MessageBody=json.dumps(body(2)))
    assert [message["n"] for message in await drain(stores.queue)] == [2]
    sqs.close()
    await stores.close()


async def test_a_worker_of_ours_empties_sqs(aws: Aws, database_url: str, redis_url: str) -> None:
    stores = sqs_stores(aws.make_queue(), database_url, redis_url, aws)
    await asyncio.gather(*[stores.queue.send(QUEUE, f"m{n}", body(n)) for n in range(25)])
    done: list[int] = []

    async def handle(stores: Stores, messages: Any) -> list[str]:
        done.extend(message.body["n"] for message in messages)
        return [message.id for message in messages]

    worker = Worker(QUEUE, handle)
    while (await worker.step(stores))[0]:
        pass
    assert sorted(done) == list(range(25))
    await stores.close()


async def test_a_queue_that_nobody_made_is_an_outage(
    aws: Aws, database_url: str, redis_url: str
) -> None:
    url = aws.make_queue().replace("charges", "nobody-made-it")
    stores = sqs_stores(url, database_url, redis_url, aws)
    for call in (stores.queue.send(QUEUE, "m1", body(1)), stores.queue.depth(QUEUE)):
        with pytest.raises(StoreUnavailable):
            await call
    with pytest.raises(StoreUnavailable, match="no address"):
        await stores.queue.send("another", "m1", body(1))
    await stores.close()


class PartlyRefusing:
    """Stands for SQS where moto cannot: it never refuses a part of a batch."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def call(
        self, url: str, target: str, payload: dict[str, Any], *, timeout_s: float
    ) -> dict[str, Any]:
        entries = payload["Entries"]
        self.sizes.append(len(entries))
        bad = [entry for entry in entries if '"n":3' in entry["MessageBody"]]
        return {
            "Successful": [{"Id": entry["Id"]} for entry in entries if entry not in bad],
            "Failed": [{"Id": entry["Id"], "Code": "InternalError"} for entry in bad],
        }


async def test_a_batch_that_fails_in_part_fails_only_its_members() -> None:
    client = PartlyRefusing()
    queue = SqsQueue(client, {QUEUE: "https://sqs/1/charges"}, timeout_s=1.0)  # type: ignore[arg-type]
    sends = [queue.send(QUEUE, f"m{n}", {"n": n}) for n in range(25)]
    results = await asyncio.gather(*sends, return_exceptions=True)
    assert [n for n, result in enumerate(results) if result is not None] == [3]
    assert isinstance(results[3], StoreUnavailable)
    assert max(client.sizes) == MAX_BATCH


async def test_a_large_message_does_not_take_a_batch_with_it() -> None:
    client = PartlyRefusing()
    queue = SqsQueue(client, {QUEUE: "https://sqs/1/charges"}, timeout_s=1.0)  # type: ignore[arg-type]
    sends = [queue.send(QUEUE, f"m{n}", {"text": "x" * 100_000}) for n in range(5)]
    await asyncio.gather(*sends)
    assert client.sizes == [2, 2, 1]
