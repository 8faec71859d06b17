"""A credential that was rotated: the first refusal reads it again, and the attempt goes on."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from gatewayz.core.errors import UpstreamAuth, UpstreamError
from gatewayz.dialects.protocol import HttpRequest
from gatewayz.net.http import HttpClient
from gatewayz.providers.client import ProviderClient
from gatewayz.providers.config import Provider
from tests.world import Server


class Refusing:
    """An upstream that takes one key."""

    def __init__(self) -> None:
        self.key = "new"
        self.sent: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        sent = dict(scope["headers"])[b"authorization"].decode().removeprefix("Bearer ")
        self.sent.append(sent)
        headers = [(b"content-type", b"text/event-stream")]
        status = 200 if sent == self.key else 401
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})


class Rotating:
    def __init__(self, *values: str) -> None:
        self.values = list(values)
        self.refreshes = 0

    def find(self, name: str) -> str | None:
        return self.values[0]

    async def refresh(self) -> bool:
        self.refreshes += 1
        if len(self.values) == 1:
            return False
        self.values.pop(0)
        return True


class Exchange:
    request = HttpRequest(path="/chat", body=b"{}")

    def decode_error(self, status: int, headers: Any, body: bytes) -> UpstreamError:
        return UpstreamAuth("refused", upstream_status=status)


@pytest.fixture
def upstream() -> Iterator[tuple[Refusing, str]]:
    app = Refusing()
    server = Server(app)
    yield app, server.url
    server.stop()


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    made = HttpClient()
    yield made
    await made.aclose()


PROVIDER = Provider(slug="p", name="P", dialect="openai_chat", base_url="", credential="P_API_KEY")


async def attempt(client: ProviderClient, url: str, stream: bool) -> None:
    provider = replace(PROVIDER, base_url=url)
    exchange: Any = Exchange()
    if stream:
        opened = await client.open(provider, exchange, timeout_s=5, total_s=10)
        await opened.aclose()
    else:
        await client.send(provider, exchange, timeout_s=5, max_bytes=1000)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refused_credential_is_read_again_and_the_attempt_made_once_more(
    upstream: tuple[Refusing, str], http: HttpClient, stream: bool
) -> None:
    app, url = upstream
    secrets = Rotating("old", "new")
    client = ProviderClient(http, secrets.find, secrets.refresh)
    await attempt(client, url, stream)
    await attempt(client, url, stream)
    assert app.sent == ["old", "new", "new"]
    assert secrets.refreshes == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("refreshes", [True, False])
async def test_a_credential_that_did_not_change_is_not_sent_again(
    upstream: tuple[Refusing, str], http: HttpClient, stream: bool, refreshes: bool
) -> None:
    app, url = upstream
    secrets = Rotating("old")
    client = ProviderClient(http, secrets.find, secrets.refresh if refreshes else None)
    with pytest.raises(UpstreamAuth):
        await attempt(client, url, stream)
    assert app.sent == ["old"]
