"""Managed stores for tests: a Supabase project over the test's database, Upstash over its Valkey,
AWS by moto. A test module imports the fixtures that it uses; what needs npm skips without it.
"""

import json
import os
import socket
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import boto3
import pytest
from moto.server import ThreadedMotoServer

from gatewayz.local.postgres import PostgresProcess
from tests.conftest import _run
from tests.fakes.supabase import ROLES, SECRET_KEY, Postgrest, SupabaseGateway
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


@pytest.fixture
def supabase(authenticator: None, database_url: str, tmp_path: Path) -> Iterator[Supabase]:
    """The real PostgREST on the test's own database, behind the project's gateway."""
    first, second = free_ports(2)
    rest = Postgrest(database_url, tmp_path, (first, second))
    gateway = SupabaseGateway(rest.url)
    server = Server(gateway)
    yield Supabase(server.url, rest.url, gateway)
    server.stop()
    rest.stop()


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


# ---------------------------------------------------------------- AWS


@dataclass(frozen=True)
class Aws:
    """An account of moto; `client("sqs")` is the genuine SDK on it."""

    url: str

    def client(self, service: str) -> Any:
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
        made = sqs.create_queue(
            QueueName=name, Attributes={"RedrivePolicy": json.dumps(policy)}
        )
        url: str = made["QueueUrl"]
        sqs.close()
        return url


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
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
