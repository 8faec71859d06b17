"""The faces of functions: a batch fails in part, a clock survives failures, one loop serves all."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError

from gatewayz.core.deadline import Deadline
from gatewayz.core.errors import StoreUnavailable
from gatewayz.core.settings import Settings, load_settings
from gatewayz.runtime import entries
from gatewayz.runtime.entries import Schedule, Worker
from gatewayz.stores.open import Stores
from gatewayz.stores.queue import Received

SECRET = "a-secret-of-the-clock"


class Shelf:
    """A queue in memory. A stand-in, because the faces only pass it on; fails when told to."""

    def __init__(self, *bodies: dict[str, Any]) -> None:
        self.messages = {f"m{i}": body for i, body in enumerate(bodies)}
        self.failures = 0

    async def receive(self, queue: str, limit: int, *, visible_s: float) -> list[Received]:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")
        return [Received(i, body, 1) for i, body in list(self.messages.items())[:limit]]

    async def acknowledge(self, queue: str, ids: list[str]) -> None:
        for message_id in ids:
            del self.messages[message_id]


def stores_of(shelf: Shelf) -> Stores:
    return Stores(None, None, shelf, None)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "FAILED_PAUSE_S", 0.001)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """The stores that a platform's face opens."""
    shelf = Shelf({"n": 1}, {"n": 2})
    monkeypatch.setattr(entries, "open_stores", lambda settings, plane: stores_of(shelf))
    monkeypatch.setattr(entries, "_stores", {})
    monkeypatch.setenv("CRON_SECRET", SECRET)
    return shelf


async def odd_only(stores: Stores, messages: list[Received]) -> list[str]:
    return [message.id for message in messages if message.body["n"] % 2]


async def fails(stores: Stores, messages: list[Received]) -> list[str]:
    raise RuntimeError("broken")


def sqs(*bodies: str) -> dict[str, Any]:
    return {
        "Records": [
            {
                "messageId": f"m{i}",
                "body": body,
                "attributes": {"ApproximateReceiveCount": "1"},
            }
            for i, body in enumerate(bodies)
        ]
    }


def failed(answer: dict[str, Any]) -> list[str]:
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


def test_one_bad_message_of_an_sqs_batch_fails_alone(opened: Shelf) -> None:
    worker = Worker("charges", odd_only)
    assert failed(worker.lambda_handler(sqs('{"n":1}', '{"n":2}', "not json", '{"n":3}'))) == [
        "m1",
        "m2",
    ]


def test_a_batch_of_which_nothing_is_done_is_a_failed_invocation(opened: Shelf) -> None:
    """SQS gives all of it again, and the platform's own count of errors sees it."""
    for worker in (Worker("charges", fails), Worker("charges", odd_only)):
        with pytest.raises(BatchProcessingError):
            worker.lambda_handler(sqs('{"n":2}', '{"n":4}'))
    assert Worker("charges", fails).lambda_handler(sqs()) == {"batchItemFailures": []}


def test_every_invocation_runs_on_one_loop(opened: Shelf) -> None:
    loops = []

    async def job(stores: Stores) -> None:
        loops.append(asyncio.get_running_loop())

    schedule = Schedule(job, every_s=60)
    schedule.lambda_handler({})
    schedule.lambda_handler({})
    assert loops[0] is loops[1]


def test_what_a_job_tells_reaches_the_platform_as_plain_json(opened: Shelf) -> None:
    async def job(stores: Stores) -> object:
        return Received("m1", {"n": 1}, 2)

    answer = Schedule(job, every_s=60).lambda_handler({})
    assert answer == {"id": "m1", "body": {"n": 1}, "receives": 2}


def test_a_failed_job_is_a_failed_invocation() -> None:
    async def job(stores: Stores) -> None:
        raise StoreUnavailable("away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entries, "process_stores", lambda: None)
        with pytest.raises(StoreUnavailable):
            Schedule(job, every_s=60).lambda_handler({})


async def test_draining_ends_when_the_queue_is_empty() -> None:
    shelf = Shelf(*({"n": 1} for _ in range(7)))
    worker = Worker("charges", odd_only, batch=3)
    assert await worker.drain(stores_of(shelf), Deadline.after(60)) == 7
    assert shelf.messages == {}


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not done():
            await asyncio.sleep(0.001)


async def test_a_worker_outlives_an_outage_of_its_queue() -> None:
    shelf = Shelf({"n": 1}, {"n": 3})
    shelf.failures = 3
    stopping = asyncio.Event()
    running = asyncio.create_task(Worker("charges", odd_only).run(stores_of(shelf), stopping))
    await until(lambda: not shelf.messages)
    stopping.set()
    await asyncio.wait_for(running, 10)


async def test_a_schedule_goes_on_after_a_failure() -> None:
    runs = 0

    async def job(stores: Stores) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise RuntimeError("broken")
        if runs == 2:
            raise StoreUnavailable("away")

    def every_s(settings: Settings) -> float:
        return settings.credit.sweep_s

    settings = load_settings({"GATEWAYZ_SWEEP_S": "0.001"})
    stopping = asyncio.Event()
    schedule = Schedule(job, every_s=every_s)
    running = asyncio.create_task(schedule.run(stores_of(Shelf()), settings, stopping))
    await until(lambda: runs >= 4)
    stopping.set()
    await asyncio.wait_for(running, 10)


async def called(app: Any, authorization: str) -> tuple[int, dict[str, Any]]:
    """Status and body of one call, as a platform's cron makes it."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"authorization", authorization.encode())]
    await app({"type": "http", "path": "/jobs/x", "headers": headers}, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


async def test_a_cron_drains_the_queue_when_it_shows_the_secret(opened: Shelf) -> None:
    opened.messages = {"m0": {"n": 1}, "m1": {"n": 3}}
    worker = Worker("charges", odd_only)
    assert await called(worker.app, "Bearer guess") == (401, {"error": "unauthorized"})
    assert opened.messages
    assert await called(worker.app, f"Bearer {SECRET}") == (
        200,
        {"ok": True, "result": {"done": 2}},
    )
    opened.failures = 1
    status, body = await called(worker.app, f"Bearer {SECRET}")
    assert (status, body) == (503, {"error": "billing_unavailable"})


def test_an_api_gateway_event_reaches_the_application() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["path"] == "/v1/credits"
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"hello"})

    event = {
        "resource": "/{proxy+}",
        "path": "/v1/credits",
        "httpMethod": "GET",
        "headers": {"Host": "example.test"},
        "multiValueHeaders": {"Host": ["example.test"]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "requestContext": {"httpMethod": "GET", "path": "/v1/credits", "stage": "prod"},
        "body": None,
        "isBase64Encoded": False,
    }
    answer = entries.http(app)(event, None)
    assert answer["statusCode"] == 200
    assert answer["body"] == "hello"
