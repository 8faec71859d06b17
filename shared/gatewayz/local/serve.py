"""The two sides as processes: `run_http` serves requests, `run_work` empties queues and keeps
the clock (D52). Settlement never shares the data plane's loop.
"""

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Iterator

import uvicorn

from gatewayz.core.deadline import Deadline
from gatewayz.core.errors import GatewayError
from gatewayz.core.log import configure_logging, get_log
from gatewayz.core.settings import Settings, check_serving
from gatewayz.local.errors import LocalError
from gatewayz.local.mount import Asgi, load_faces, mount_functions
from gatewayz.runtime.entries import Schedule, Worker
from gatewayz.stores.open import open_stores

log = get_log(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
BACKLOG = 2048
# After the running streams were told to end, this long until their connections are cut.
CUT_AFTER_S = 5.0
DRAIN_S = 5.0


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, or one line about why not."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            message = f"Port {port} is busy: stop what uses it, or choose another with PORT=8001."
        elif isinstance(error, OSError) and error.errno == errno.EACCES:
            message = f"Port {port} needs more rights: choose one above 1024 with PORT=8000."
        else:
            message = f"Cannot listen on {host}:{port}: {error}"
        raise LocalError(message) from None
    listener.listen(BACKLOG)
    return listener


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
        timeout_graceful_shutdown=round(grace_s),
        backlog=BACKLOG,
    )
    try:
        _Server(config).run(sockets=[listener])
    except SystemExit:
        reason = getattr(app, "failure", None) or "its log says why"
        raise LocalError(f"The server cannot start: {reason}") from None


def run_http(settings: Settings, listener: socket.socket | None = None) -> None:
    """Serve every function on the settings' address, or on a socket that is already open."""
    check_serving(settings)
    configure_logging(settings.log_level)
    listener = listener or listen(settings.http.host, settings.http.port)
    run_app(mount_functions(), listener, grace_s=settings.http.stop_grace_s + CUT_AFTER_S)


def run_work(settings: Settings) -> None:
    """Run every queue worker and every schedule until SIGTERM or SIGINT."""
    check_serving(settings)
    configure_logging(settings.log_level)
    workers = load_faces("worker", Worker)
    schedules = load_faces("job", Schedule)
    asyncio.run(_work(settings, workers, schedules))


async def _work(settings: Settings, workers: list[Worker], schedules: list[Schedule]) -> None:
    stores = open_stores(settings)
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
        await stores.close()
