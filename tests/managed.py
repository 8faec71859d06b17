"""Managed stores for tests: a Supabase project over the test's database, Upstash over its Valkey,
AWS by moto. A test module imports the fixtures that it uses; what needs npm skips without it.
"""

import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from gatewayz.local import process
from gatewayz.local.postgres import PostgresProcess
from gatewayz.stores.redis import RedisScripts, RespRedis
from gatewayz.stores.upstash import UpstashRedis
from gatewayz.stores.upstash_client import UpstashClientRedis
from tests.conftest import _run
from tests.fakes.supabase import ROLES, SECRET_KEY, Postgrest, SupabaseGateway
from tests.fakes.tools import pgbouncer
from tests.fakes.upstash import TOKEN, UpstashShim
from tests.world import Server

REGION = "eu-central-1"
AWS_VARIABLES = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
}
MAX_RECEIVES = 5


def free_ports(count: int) -> tuple[int, ...]:
    """Ports that nobody has; they are held all at once, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    for bound in sockets:
        bound.bind(("127.0.0.1", 0))
    ports = tuple(bound.getsockname()[1] for bound in sockets)
    for bound in sockets:
        bound.close()
    return ports


# ---------------------------------------------------------------- Supabase


@pytest.fixture(scope="session")
def authenticator(postgres: PostgresProcess) -> None:
    """The role that PostgREST signs in as; roles belong to the whole cluster."""

    async def work() -> None:
        connection = await asyncpg.connect(postgres.url)
        await connection.execute(ROLES)
        await connection.close()

    _run(work)


@dataclass(frozen=True)
class Supabase:
    """A project; `variables` are what a function of it has in its environment."""

    url: str
    rest_url: str
    gateway: SupabaseGateway

    @property
    def variables(self) -> dict[str, str]:
        return {"SUPABASE_URL": self.url, "SUPABASE_SECRET_KEY": SECRET_KEY}


@contextmanager
def running_supabase(database_url: str, folder: Path) -> Iterator[Supabase]:
    """The real PostgREST on a database, behind the project's gateway."""
    first, second = free_ports(2)
    rest = Postgrest(database_url, folder, (first, second))
    gateway = SupabaseGateway(rest.url)
    server = Server(gateway)
    try:
        yield Supabase(server.url, rest.url, gateway)
    finally:
        server.stop()
        rest.stop()


@pytest.fixture
def supabase(authenticator: None, database_url: str, tmp_path: Path) -> Iterator[Supabase]:
    """A project on the test's own database."""
    with running_supabase(database_url, tmp_path) as project:
        yield project


@pytest.fixture
def storage() -> Iterator[Supabase]:
    """A project without a database: for its blobs."""
    gateway = SupabaseGateway("http://127.0.0.1:1")
    server = Server(gateway)
    yield Supabase(server.url, "", gateway)
    server.stop()


# ---------------------------------------------------------------- Upstash


@dataclass(frozen=True)
class Upstash:
    url: str
    shim: UpstashShim

    @property
    def variables(self) -> dict[str, str]:
        return {"UPSTASH_REDIS_REST_URL": self.url, "UPSTASH_REDIS_REST_TOKEN": TOKEN}


@pytest.fixture
def upstash(redis_url: str) -> Iterator[Upstash]:
    """Upstash's interface over the test's own Valkey."""
    shim = UpstashShim(redis_url)
    server = Server(shim)
    yield Upstash(server.url, shim)
    server.stop()


REDIS_KINDS = ["RESP", "Upstash", "upstash-redis client"]


def open_scripts(kind: str, address: str, *, timeout_s: float, token: str = TOKEN) -> RedisScripts:
    match kind:
        case "Upstash":
            return UpstashRedis(address, token, timeout_s=timeout_s)
        case "upstash-redis client":
            return UpstashClientRedis(address, token, timeout_s=timeout_s)
    return RespRedis(address, timeout_s=timeout_s)


# ---------------------------------------------------------------- AWS


@dataclass(frozen=True)
class Aws:
    """An account of moto; `client("sqs")` is the genuine SDK on it."""

    url: str

    def client(self, service: str) -> Any:
        import boto3  # here, because most tests that import this module have no AWS

        return boto3.session.Session().client(service, endpoint_url=self.url, region_name=REGION)

    def make_queue(self, name: str = "charges") -> str:
        """A queue with a dead-letter queue behind it; its URL."""
        sqs = self.client("sqs")
        dead = sqs.create_queue(QueueName=name + "-dead")["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
        policy = {
            "deadLetterTargetArn": attributes["Attributes"]["QueueArn"],
            "maxReceiveCount": MAX_RECEIVES,
        }
        made = sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": json.dumps(policy)})
        url: str = made["QueueUrl"]
        sqs.close()
        return url


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """An empty account, and this process's credentials for it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in AWS_VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    urllib.request.urlopen(moto_server + "/moto-api/reset", data=b"").close()
    return Aws(moto_server)


# ---------------------------------------------------------------- a pooler


@contextmanager
def running_pooler(database_url: str, folder: Path) -> Iterator[str]:
    """A database behind PgBouncer in transaction mode, with two servers for everybody."""
    program, libraries = pgbouncer()
    parts = urlsplit(database_url)
    (port,) = free_ports(1)
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n* = host=127.0.0.1 port={parts.port} user={parts.username}"
        f" password={parts.password}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n"
        "default_pool_size = 2\nmax_client_conn = 100\n"
    )
    log = folder / "pgbouncer.log"
    nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    with config.open("rb") as settings, log.open("wb") as out:
        # It refuses to run as root, and nobody may not walk to the test's folder.
        running = subprocess.Popen(
            [program, "/dev/stdin"],
            env={"LD_LIBRARY_PATH": str(libraries)},
            stdin=settings,
            stdout=out,
            stderr=out,
            cwd="/",
            preexec_fn=process.die_with_parent(signal.SIGTERM),
            **nobody,
        )
    ready = process.wait_until(lambda: _listens(port) or running.poll() is not None, timeout_s=10)
    try:
        assert ready and running.poll() is None, log.read_text()
        yield f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}"
    finally:
        process.stop(running, signal.SIGTERM)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
