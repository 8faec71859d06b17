"""The two sides as processes: `run_http` serves requests, `run_work` empties queues and keeps
the clock (D52). Settlement never shares the data plane's loop.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator

import uvicorn

from gatewayz.core.checks import check_serving
from gatewayz.core.deadline import Deadline
from gatewayz.core.errors import GatewayError
from gatewayz.core.log import configure_logging, get_log
from gatewayz.core.metrics import configure_metrics, flush_metrics
from gatewayz.core.settings import Settings
from gatewayz.local.account import ACCOUNT
from gatewayz.local.address import BACKLOG, base_url, listen
from gatewayz.local.console import PATHS, Console
from gatewayz.local.errors import LocalError
from gatewayz.local.home import Home
from gatewayz.local.mount import Asgi, Mount, load_faces, mount_functions
from gatewayz.runtime.entries import Schedule, Worker, finish_telling
from gatewayz.stores.eviction import unsafe_eviction
from gatewayz.stores.open import open_stores
from gatewayz.telemetry.sinks import close_sinks, open_sinks

log = get_log(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# After the running streams were told to end, this long until their connections are cut.
CUT_AFTER_S = 5.0
DRAIN_S = 5.0


class _Server(uvicorn.Server):
    """uvicorn that ends quietly: it does not raise the signal again that it has obeyed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run_app(app: Asgi, listener: socket.socket, *, grace_s: float) -> None:
    """Serve until SIGTERM or SIGINT; what runs then gets `grace_s`. LocalError if it cannot."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # the client's address is read by configuration: net/origin.py
        timeout_graceful_shutdown=round(grace_s),
        backlog=BACKLOG,
    )
    try:
        _Server(config).run(sockets=[listener])
    except SystemExit:
        reason = getattr(app, "failure", None) or "its log says why"
        raise LocalError(f"The server cannot start: {reason}") from None


def run_http(
    settings: Settings, functions: Mount | None = None, listener: socket.socket | None = None
) -> None:
    """Serve every function on the settings' address, or on a socket that is open already.

    A local stack has its page besides.
    """
    check_serving(settings)
    asyncio.run(_refuse_eviction(settings))
    configure_logging(settings.log_level)
    with listener or listen(settings.http.host, settings.http.port) as opened:
        functions = functions or mount_functions()
        if settings.stage == "local":
            functions.add("console", _console(settings), PATHS)
        run_app(functions, opened, grace_s=settings.http.stop_grace_s + CUT_AFTER_S)


async def _refuse_eviction(settings: Settings) -> None:
    stores = open_stores(settings)
    try:
        if problem := await unsafe_eviction(stores.redis):
            raise LocalError(problem)
    finally:
        await stores.close()


def _console(settings: Settings) -> Console:
    key_file = Home(settings.home_path).key_file
    return Console(
        open_stores(settings),
        account=ACCOUNT,
        base_url=base_url(settings),
        top_up=bool(settings.billing.stripe_url),
        api_key=lambda: key_file.read_text().strip() if key_file.exists() else "",
    )


Work = tuple[list[Worker], list[Schedule]]


def load_work() -> Work:
    """Every queue worker and every schedule of this repository."""
    return load_faces("worker", Worker), load_faces("job", Schedule)


def run_work(settings: Settings, work: Work) -> None:
    """Empty the queues and keep the clock until SIGTERM or SIGINT."""
    check_serving(settings)
    configure_logging(settings.log_level)
    configure_metrics(settings.metrics)
    asyncio.run(_work(settings, *work))


async def _work(settings: Settings, workers: list[Worker], schedules: list[Schedule]) -> None:
    await _refuse_eviction(settings)
    stores = open_stores(settings, plane="control")
    if settings.telemetry.watched:
        open_sinks(settings, stores.redis)
    stopping = asyncio.Event()
    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    log.info("work_started", workers=len(workers), schedules=len(schedules))
    try:
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(worker.run(stores, stopping))
            for schedule in schedules:
                group.create_task(schedule.run(stores, settings, stopping))
        with contextlib.suppress(GatewayError):
            for worker in workers:
                await worker.drain(stores, Deadline.after(DRAIN_S))
    finally:
        flush_metrics(now=True)
        await finish_telling()
        await close_sinks()
        await stores.close()
