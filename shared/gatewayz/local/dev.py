"""`gatewayz dev`: the whole gateway on this machine, from nothing to a first answer.

Owns the order: stores, schema, account, children. Guarantees that a second start finds
everything as it was, also after a kill, and that nothing runs on when it ends.
"""

import contextlib
import http.client
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM
from threading import Event
from urllib.parse import urlsplit

import orjson

from gatewayz import VERSION
from gatewayz.accounts.sealing import RING
from gatewayz.catalog.bundle import open_bundle
from gatewayz.catalog.load import credentials_here, providers_file
from gatewayz.core.settings import BlobSettings, Settings, StoreSettings, describe_settings
from gatewayz.local import files, leftovers, process, standin
from gatewayz.local.account import prepare_account
from gatewayz.local.address import base_url, listen
from gatewayz.local.environment import names_like
from gatewayz.local.errors import LocalError
from gatewayz.local.home import Home, Running
from gatewayz.local.migrate import apply_migrations
from gatewayz.local.postgres import PostgresProcess, start_postgres
from gatewayz.local.supervisor import Child, Supervisor
from gatewayz.local.valkey import ValkeyProcess, start_valkey
from gatewayz.stores.secrets import Secrets

READY_S = 30.0
WATCH_S = 0.25
HEALTH_TIMEOUT_S = 2.0
LEFTOVERS_S = 5.0
SANDBOX_STOP_S = 3.0
DISCOVER = "GATEWAYZ_DISCOVER_LOCAL"
FIRST_MODEL = "sandbox/story"


class _Stopped(Exception):
    """A signal asked us to end."""


@dataclass(frozen=True, slots=True)
class _Stores:
    postgres: PostgresProcess
    valkey: ValkeyProcess

    def check_alive(self) -> None:
        for name, server in (("Postgres", self.postgres), ("Valkey", self.valkey)):
            if server.child.poll() is not None:
                raise LocalError(f"{name} has ended: {process.last_line(server.folder / 'log')}")


def run_dev(settings: Settings, *, show_key: bool) -> None:
    """Run until Ctrl-C or SIGTERM; LocalError with one line when something is in the way."""
    home = Home(settings.home_path)
    home.prepare()
    stopping = _listen_for_signals()
    with home.locked():
        _end_earlier_run(home)
        children = Supervisor(_say)
        with (
            listen(settings.http.host, settings.http.port) as gateway,
            listen(process.LOOPBACK, files.choose_port(home.path / "sandbox.port")) as sandbox,
            _stripe_listener(home, settings) as stripe,
            contextlib.suppress(_Stopped),
        ):
            stop_s = settings.http.stop_grace_s + process.STOP_S
            try:
                # They load their code while the stores start.
                children.start(_child(home, "serve", gateway, stop_s))
                children.start(_child(home, "work", None, process.STOP_S))
                children.start(_child(home, "sandbox", sandbox, SANDBOX_STOP_S))
                if stripe is not None:
                    children.start(_child(home, "stripe", stripe, SANDBOX_STOP_S))
                with _stores(home) as stores:
                    beside = _Beside(sandbox, stripe)
                    _live(home, settings, children, stores, beside, stopping, show_key)
            finally:
                children.stop()
    _say("Stopped.")


def _live(
    home: Home,
    settings: Settings,
    children: Supervisor,
    stores: _Stores,
    beside: "_Beside",
    stopping: Event,
    show_key: bool,
) -> None:
    """From running stores to a stop; the children end before the stores they write to."""
    try:
        key = prepare_account(home, stores.postgres.url, home.secret("pepper"))
        running = _running(home, settings, stores, beside)
        children.begin(running.environment)
        _await_ready(running.url, children, stores, stopping)
        home.note(running)
        _welcome(home, running.url, key if show_key else None)
        while not stopping.wait(WATCH_S):
            stores.check_alive()
            children.watch()
    finally:
        _say("\nStopping …")
        children.stop()


@contextlib.contextmanager
def _stores(home: Home) -> Iterator[_Stores]:
    postgres = start_postgres(home.path / "postgres", durable=True)
    try:
        valkey = start_valkey(home.path / "valkey", durable=True)
        try:
            applied = apply_migrations(postgres.url)
            if applied:
                _say(f"Applied {len(applied)} migrations.")
            yield _Stores(postgres, valkey)
        finally:
            valkey.stop()
    finally:
        postgres.stop()


@dataclass(frozen=True, slots=True)
class _Beside:
    """The sockets of what stands in for others."""

    sandbox: socket.socket
    stripe: socket.socket | None


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"http://{host}:{port}"


@contextlib.contextmanager
def _stripe_listener(home: Home, settings: Settings) -> Iterator[socket.socket | None]:
    if not standin.wanted(settings):
        yield None
        return
    with listen(process.LOOPBACK, files.choose_port(home.path / "stripe.port")) as listener:
        yield listener


def _running(home: Home, settings: Settings, stores: _Stores, beside: _Beside) -> Running:
    """What the children are told, and the other commands of this home."""
    payments: dict[str, str] = {}
    if beside.stripe is not None:
        own = _address(beside.stripe)
        payments = standin.variables(home, own=own, gateway=base_url(settings))
    # Looked for unless the environment says otherwise.
    discover = {} if names_like(DISCOVER) else {DISCOVER: "1"}
    # This machine's stores take the place of whatever managed ones the environment names.
    others = {
        row.env: ""
        for kind in (StoreSettings, BlobSettings)
        for row in describe_settings(kind)
        if row.kind == "str"
    }
    return Running(
        url=base_url(settings),
        credentials=credentials_here(settings.catalog),
        providers_file=providers_file(settings.catalog),
        environment=others
        | discover
        | payments
        | {
            "DATABASE_URL": stores.postgres.url,
            "REDIS_URL": stores.valkey.url,
            "GATEWAYZ_KEY_PEPPER": home.secret("pepper"),
            "CRON_SECRET": home.secret("cron"),
            RING: Secrets().find(RING) or home.ring(),
            "GATEWAYZ_STAGE": "local",
            "GATEWAYZ_HOME": str(home.path),
            "GATEWAYZ_SANDBOX_URL": f"{_address(beside.sandbox)}/v1",
            "HOST": settings.http.host,
            "PORT": str(settings.http.port),
        },
    )


def _child(home: Home, name: str, listener: socket.socket | None, stop_s: float) -> Child:
    fds = () if listener is None else (listener.fileno(),)
    return Child(
        name=name,
        arguments=[str(home.path), *map(str, fds)],
        log=home.log_file(name),
        pass_fds=fds,
        stop_s=stop_s,
    )


def _end_earlier_run(home: Home) -> None:
    """After a kill of the supervisor alone its children may still be ending; they hold the port."""
    for name in ("serve", "work", "sandbox", "stripe"):
        left = leftovers.pids_with("gatewayz.local", name, str(home.path))
        if left:
            leftovers.end_all(left, SIGTERM, timeout_s=LEFTOVERS_S)


def _await_ready(url: str, children: Supervisor, stores: _Stores, stopping: Event) -> None:
    health = "no answer"

    def ready() -> bool:
        nonlocal health
        if stopping.is_set():
            raise _Stopped
        stores.check_alive()
        children.check_alive()
        health = _health(url)
        return health == "ok"

    if not process.wait_until(ready, timeout_s=READY_S):
        raise LocalError(f"The gateway is not ready after {READY_S:.0f} s: {health}")


def _health(url: str) -> str:
    """What /health says: `ok`, or what is wrong."""
    link = http.client.HTTPConnection(urlsplit(url).netloc, timeout=HEALTH_TIMEOUT_S)
    try:
        link.request("GET", "/health")
        answer = link.getresponse()
        body = answer.read()
        if answer.status != 200:
            return f"/health answers {answer.status}"
        said = orjson.loads(body)
        return "ok" if said["status"] == "ok" else f"/health says {said['stores']}"
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        return f"/health fails: {error!r}"
    finally:
        link.close()


def _welcome(home: Home, url: str, key: str | None) -> None:
    """The last words of a start: where it is, the key, and a line to paste."""
    token = key or f"$(cat {home.key_file})"
    _say(f"Gatewayz {VERSION}: data, key and logs are in {_short(home.path)}; Ctrl-C stops it.")
    about = open_bundle().about
    _say(
        f"The catalog that ships has {about.models} models and {about.priced} prices, of"
        f" {about.oldest} to {about.built}; `gatewayz sync` reads newer ones."
    )
    _say(f"Gatewayz is ready at {url}")
    _say(f"API key: {key or f'kept in {home.key_file} (shown with --show-key)'}")
    _say(
        f'curl -N {url}/v1/chat/completions -H "Authorization: Bearer {token}"'
        " -H 'Content-Type: application/json'"
        f' -d \'{{"model":"{FIRST_MODEL}","stream":true,'
        '"messages":[{"role":"user","content":"Hello!"}]}\''
    )


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _listen_for_signals() -> Event:
    stopping = Event()
    for number in (SIGINT, SIGTERM, SIGHUP):
        signal.signal(number, lambda *_: stopping.set())
    return stopping


def _say(text: str) -> None:
    print(text, file=sys.stdout, flush=True)
