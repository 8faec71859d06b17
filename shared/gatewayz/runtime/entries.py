"""The faces a function shows its platform: `http`, `Worker` (a queue), `Schedule` (a clock).

Owns the one event loop of a Lambda process and the stores opened on it. Guarantees that pooled
connections survive invocations and that one failed message fails alone. Never loads FastAPI.
"""

import asyncio
import hmac
import sys
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, MutableMapping
from contextlib import suppress
from typing import Any

import orjson

from gatewayz.core import clock
from gatewayz.core.deadline import Deadline
from gatewayz.core.errors import GatewayError
from gatewayz.core.log import configure_logging, get_log
from gatewayz.core.metrics import configure_metrics, flush_metrics
from gatewayz.core.settings import Settings, load_settings
from gatewayz.stores.open import Stores, open_stores
from gatewayz.stores.queue import MAX_BATCH, Received

log = get_log(__name__)

Event = dict[str, Any]
LambdaHandler = Callable[[Event, Any], Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
Handle = Callable[[Stores, list[Received]], Awaitable[Collection[str]]]
Job = Callable[[Stores], Awaitable[object]]

# A message whose worker died comes again after this; six times a batch's usual longest.
VISIBLE_S = 60.0
# One call of a cron drains for at most this long: platforms cut at 60 s and more.
DRAIN_S = 45.0
IDLE_FIRST_S = 0.05
# Loaded only where somebody wants them.
SINKS, TRACES = "gatewayz.telemetry.sinks", "gatewayz.telemetry.control"
IDLE_MOST_S = 0.5
FAILED_PAUSE_S = 1.0

_runner = asyncio.Runner()
_stores: dict[asyncio.AbstractEventLoop, Stores] = {}


def process_stores() -> Stores:
    """The stores of the running loop, opened once: connections belong to the loop they grew on."""
    loop = asyncio.get_running_loop()
    if loop not in _stores:
        settings = load_settings()
        configure_logging(settings.log_level)
        configure_metrics(settings.metrics)
        _stores.clear()
        _stores[loop] = open_stores(settings, plane="control")
        if settings.telemetry.watched:
            from gatewayz.telemetry.sinks import open_sinks

            open_sinks(settings, _stores[loop].redis)
    return _stores[loop]


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    return _runner.run(_whole(work))


async def _whole(work: Coroutine[Any, Any, Any]) -> Any:
    """`work`, and what it told: the process is frozen after it."""
    try:
        return await work
    finally:
        flush_metrics(now=True)
        await finish_telling()


async def finish_telling() -> None:
    """Wait for what is being told to whoever watches; nothing where nobody does."""
    if SINKS in sys.modules:
        await sys.modules[SINKS].finish_sinks()
    if TRACES in sys.modules:
        await sys.modules[TRACES].finish_traces()


def _on_lambda(handler: LambdaHandler) -> LambdaHandler:
    """`handler` as Lambda calls it; elsewhere nothing of that platform is loaded."""
    if "awslambdaric" not in sys.modules:
        return handler
    from gatewayz.runtime.powertools import face

    return face(handler)


# ---------------------------------------------------------------- HTTP


def http(app: Any) -> LambdaHandler:
    """The Lambda handler of an ASGI application, buffered; made at init on Lambda, else at use."""
    adapters: list[LambdaHandler] = []

    def adapter() -> LambdaHandler:
        if not adapters:
            from mangum import Mangum

            # Mangum runs on the thread's current loop and would make one that nobody closes.
            asyncio.set_event_loop(_runner.get_loop())
            adapters.append(Mangum(app, lifespan="off"))
        return adapters[0]

    def lambda_handler(event: Event, context: Any) -> Any:
        try:
            return adapter()(event, context)
        finally:
            flush_metrics(now=True)

    if "awslambdaric" in sys.modules:
        adapter()
    return _on_lambda(lambda_handler)


# ---------------------------------------------------------------- queue workers


class Worker:
    """What empties a queue. `handle(stores, messages)` returns the ids that are done.

    The others come again, and after too many receives stand aside as dead. A message may come
    twice: handling is idempotent. Faces: `lambda_handler` (SQS), `app` (cron), `run` (a process).
    """

    def __init__(self, queue: str, handle: Handle, *, batch: int = MAX_BATCH) -> None:
        self.queue = queue
        self._handle = handle
        self._batch = batch
        self.app: Asgi = cron(self._drain_for_cron)
        self.lambda_handler = _on_lambda(self._take_sqs)

    def _take_sqs(self, event: Event, context: Any = None) -> dict[str, Any]:
        """An SQS batch: posted together, and what is not done goes back alone."""
        from gatewayz.runtime.powertools import partial_answer

        return partial_answer(event["Records"], _run(self._done_of(event["Records"])))

    async def _done_of(self, records: list[dict[str, Any]]) -> set[str]:
        messages: list[Received] = []
        for record in records:
            with suppress(ValueError):  # unreadable: never done, so it ends in the dead letters
                receives = int(record["attributes"]["ApproximateReceiveCount"])
                body = orjson.loads(record["body"])
                if type(body) is dict:
                    messages.append(Received(record["messageId"], body, receives))
        return set(await self._try(process_stores(), messages))

    async def _try(self, stores: Stores, messages: list[Received]) -> Collection[str]:
        """Ids that are done; none when the handler fails, which is logged."""
        if not messages:
            return ()
        try:
            return await self._handle(stores, messages)
        except GatewayError as error:
            log.warning(
                "worker_failed", error=error.metric, detail=str(error), **self._named(messages)
            )
        except Exception:
            log.exception("worker_crashed", **self._named(messages))
        return ()

    def _named(self, messages: list[Received]) -> dict[str, object]:
        requests = [message.body.get("request_id") for message in messages]
        return {"queue": self.queue, "messages": len(messages), "request_ids": requests}

    async def step(self, stores: Stores) -> tuple[int, int]:
        """One batch: (received, done). GatewayError when the queue itself is away."""
        messages = await stores.queue.receive(self.queue, self._batch, visible_s=VISIBLE_S)
        done = await self._try(stores, messages)
        if done:
            await stores.queue.acknowledge(self.queue, list(done))
        return len(messages), len(done)

    async def drain(self, stores: Stores, deadline: Deadline) -> int:
        """Work until the queue is empty or the time is over; the number of messages done."""
        total = 0
        while not deadline.passed:
            received, done = await self.step(stores)
            total += done
            if not received:
                break
        return total

    async def _drain_for_cron(self, stores: Stores) -> object:
        return {"done": await self.drain(stores, Deadline.after(DRAIN_S))}

    async def run(self, stores: Stores, stopping: asyncio.Event) -> None:
        """Work until told to stop; an outage of the queue only pauses it."""
        idle_s = IDLE_FIRST_S
        while not stopping.is_set():
            try:
                received, done = await self.step(stores)
            except GatewayError as error:
                log.warning("queue_away", queue=self.queue, error=error.metric)
                await _pause(stopping, FAILED_PAUSE_S)
                continue
            flush_metrics()
            if received and not done:
                await _pause(stopping, FAILED_PAUSE_S)
            elif received < self._batch:
                # Small batches cost the database several times as much for each message.
                await _pause(stopping, idle_s)
            idle_s = IDLE_FIRST_S if received else min(IDLE_MOST_S, idle_s * 2)


# ---------------------------------------------------------------- schedules


class Schedule:
    """What runs by the clock. The job is idempotent: platforms may start it twice.

    Faces: `lambda_handler`, `app` (cron) and `run` (a process of ours, every `every_s`).
    """

    def __init__(
        self, job: Job, *, every_s: float | Callable[[Settings], float], name: str = ""
    ) -> None:
        self.name = name or getattr(job, "__name__", "job")
        self._job = job
        self._every_s = every_s
        self.app: Asgi = cron(job)
        self.lambda_handler = _on_lambda(self._tick)

    def _tick(self, event: Event, context: Any = None) -> object:
        """Do the job; its result as plain JSON, which is all that the platform can carry."""

        async def work() -> object:
            return orjson.loads(_json(await self._job(process_stores())))

        return _run(work())

    def every_s(self, settings: Settings) -> float:
        return self._every_s(settings) if callable(self._every_s) else self._every_s

    async def run(self, stores: Stores, settings: Settings, stopping: asyncio.Event) -> None:
        """Do the job now and then every period; a failure is logged and waits for the next."""
        while not stopping.is_set():
            started_s = clock.monotonic_s()
            try:
                await self._job(stores)
            except GatewayError as error:
                log.warning("job_failed", job=self.name, error=error.metric, detail=str(error))
            except Exception:
                log.exception("job_crashed", job=self.name)
            flush_metrics(now=True)
            took_s = clock.monotonic_s() - started_s
            await _pause(stopping, max(FAILED_PAUSE_S, self.every_s(settings) - took_s))


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()


# ---------------------------------------------------------------- cron


def cron(job: Job) -> Asgi:
    """An ASGI application that does the job when called with `Authorization: Bearer $CRON_SECRET`.

    Without a secret in the settings nobody may call it.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await _answer_lifespan(receive, send)
        if scope["type"] != "http":
            return None
        if not _authorized(scope, load_settings().cron_secret):
            return await _answer(send, 401, {"error": "unauthorized"})
        try:
            result = await job(process_stores())
        except GatewayError as error:
            log.warning("job_failed", path=scope["path"], error=error.metric, detail=str(error))
            return await _answer(send, error.status, {"error": error.code})
        except Exception:
            log.exception("job_crashed", path=scope["path"])
            return await _answer(send, 500, {"error": "internal_error"})
        flush_metrics(now=True)
        return await _answer(send, 200, {"ok": True, "result": result})

    return app


def _authorized(scope: Scope, secret: str) -> bool:
    sent = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    return bool(secret) and hmac.compare_digest(sent, b"Bearer " + secret.encode())


def _json(value: object) -> bytes:
    return orjson.dumps(value, default=str)


async def _answer(send: Send, status: int, body: Mapping[str, object]) -> None:
    text = _json(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


async def _answer_lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
