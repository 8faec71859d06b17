"""The secrets port: the environment, Secrets Manager and SSM; rotation without a deployment."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from botocore.httpsession import URLLib3Session

from gatewayz.core import clock
from gatewayz.core.clock import Clock, SystemClock
from gatewayz.core.errors import DependencyError, StoreUnavailable
from gatewayz.core.settings import Settings, SettingsError, load_settings
from gatewayz.net.http import HttpClient
from gatewayz.stores.aws import AwsIdentity
from gatewayz.stores.open import Plane, open_secrets
from gatewayz.stores.secrets import Secrets
from gatewayz.stores.secrets_aws import REFRESH_EVERY_S
from tests.managed import REGION, Aws, aws, moto_server
from tests.world import Server

__all__ = ["aws", "moto_server"]

VALUES = {"GROQ_API_KEY": "first-key", "OTHER_API_KEY": "other ü"}
SECRET = "gatewayz/credentials"
PATH = "/gatewayz/test"
KINDS = ["environment", "bundle", "Secrets Manager", "SSM"]


def write(kind: str, account: Aws, monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    """Put values where the backend reads them, as an operator does."""
    match kind:
        case "environment":
            for name, value in values.items():
                monkeypatch.setenv(name, value)
        case "bundle":
            monkeypatch.setenv("GATEWAYZ_CREDENTIALS", json.dumps(values))
        case "Secrets Manager":
            client = account.client("secretsmanager")
            try:
                client.create_secret(Name=SECRET, SecretString=json.dumps(values))
            except client.exceptions.ResourceExistsException:
                client.put_secret_value(SecretId=SECRET, SecretString=json.dumps(values))
            client.close()
        case "SSM":
            client = account.client("ssm")
            for name, value in values.items():
                client.put_parameter(
                    Name=f"{PATH}/{name}", Value=value, Type="SecureString", Overwrite=True
                )
            client.close()


def settings_for(kind: str, account: Aws) -> Settings:
    chosen = {
        "Secrets Manager": {"GATEWAYZ_AWS_SECRET": SECRET},
        "SSM": {"GATEWAYZ_SSM_PATH": PATH},
    }
    return load_settings(
        {"AWS_REGION": REGION, "AWS_ENDPOINT_URL": account.url, **chosen.get(kind, {})}
    )


PLANES: list[Plane] = ["data", "control"]
each_plane = pytest.mark.parametrize("plane", PLANES)


@each_plane
@pytest.mark.parametrize("kind", KINDS)
async def test_a_secret_is_found_by_its_name(
    kind: str, plane: Plane, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(kind, aws, monkeypatch, **VALUES)
    secrets = open_secrets(settings_for(kind, aws), plane=plane)
    assert secrets.find("GROQ_API_KEY") == "first-key"
    assert secrets.find("OTHER_API_KEY") == "other ü"
    assert secrets.find("NOBODY_SET_IT") is None
    assert "first-key" not in repr(secrets)


@each_plane
async def test_more_parameters_than_one_page_are_all_found(
    plane: Plane, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("SSM", aws, monkeypatch, **{f"KEY_{n}": f"value {n}" for n in range(23)})
    secrets = open_secrets(settings_for("SSM", aws), plane=plane)
    assert [secrets.find(f"KEY_{n}") for n in range(23)] == [f"value {n}" for n in range(23)]


class Later(SystemClock):
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


@pytest.fixture
def later() -> Any:
    moved = Later()
    before: Clock = clock.use(moved)
    yield moved
    clock.use(before)


@each_plane
@pytest.mark.parametrize("kind", ["Secrets Manager", "SSM"])
async def test_a_rotated_secret_is_read_again_when_it_was_refused_and_not_more_often(
    kind: str,
    plane: Plane,
    aws: Aws,
    monkeypatch: pytest.MonkeyPatch,
    later: Later,
    count: Callable[[], int],
) -> None:
    write(kind, aws, monkeypatch, **VALUES)
    secrets = open_secrets(settings_for(kind, aws), plane=plane)
    assert secrets.find("GROQ_API_KEY") == "first-key"
    write(kind, aws, monkeypatch, GROQ_API_KEY="second-key", OTHER_API_KEY="other ü")
    reads = count()
    assert secrets.find("GROQ_API_KEY") == "first-key"
    assert count() == reads

    refreshed = await asyncio.gather(*[secrets.refresh() for _ in range(20)])
    assert refreshed == [True] * 20
    assert count() == reads + 1
    assert secrets.find("GROQ_API_KEY") == "second-key"

    assert await secrets.refresh() is False
    assert count() == reads + 1
    later.ahead_s += REFRESH_EVERY_S + 1
    assert await secrets.refresh() is False
    assert count() == reads + 2


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often AWS was asked."""
    calls = 0
    request = HttpClient.request

    async def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        return await request(*arguments, **named)

    send = URLLib3Session.send

    def counted_too(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        return send(*arguments, **named)

    monkeypatch.setattr(HttpClient, "request", counted)
    monkeypatch.setattr(URLLib3Session, "send", counted_too)
    return lambda: calls


@each_plane
async def test_an_outage_at_the_first_look_is_an_error_and_later_the_old_values_stay(
    plane: Plane, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = open_secrets(settings_for("Secrets Manager", aws), plane=plane)
    with pytest.raises(DependencyError):
        secrets.find("GROQ_API_KEY")
    write("Secrets Manager", aws, monkeypatch, **VALUES)
    assert secrets.find("GROQ_API_KEY") == "first-key"
    client = aws.client("secretsmanager")
    client.delete_secret(SecretId=SECRET, ForceDeleteWithoutRecovery=True)
    client.close()
    assert await secrets.refresh() is False
    assert secrets.find("GROQ_API_KEY") == "first-key"


@each_plane
@pytest.mark.parametrize("text", ["not JSON", "[1]", '{"A": 1}', '"text"'])
async def test_a_secret_of_another_shape_is_one_clear_line_without_its_value(
    plane: Plane, aws: Aws, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    client = aws.client("secretsmanager")
    client.create_secret(Name=SECRET, SecretString=text)
    client.close()
    with pytest.raises(SettingsError, match=r"gatewayz/credentials is not a JSON object") as wrong:
        open_secrets(settings_for("Secrets Manager", aws), plane=plane).find("A")
    assert text not in str(wrong.value)
    monkeypatch.setenv("GATEWAYZ_CREDENTIALS", text)
    with pytest.raises(SettingsError, match="GATEWAYZ_CREDENTIALS"):
        Secrets().find("A")


# ---------------------------------------------------------------- who we are to AWS


class Lender:
    """The endpoint of a container that lends credentials."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.expires = "2999-01-01T00:00:00Z"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        self.tokens.append(dict(scope["headers"]).get(b"authorization", b"").decode())
        lent = {"AccessKeyId": f"ASIA{len(self.tokens)}", "SecretAccessKey": "s", "Token": "t"}
        body = orjson.dumps(lent | {"Expiration": self.expires})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


async def test_lent_credentials_are_kept_until_they_end_or_are_refused() -> None:
    lender = Lender()
    server = Server(lender)
    http = HttpClient()
    variables = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": server.url + "/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "the-token",
    }
    identity = AwsIdentity(http, variables.get)
    keys = await asyncio.gather(*[identity.keys() for _ in range(5)])
    assert {(k.access_key_id, k.session_token) for k in keys} == {("ASIA1", "t")}
    assert lender.tokens == ["the-token"]
    identity.forget()
    lender.expires = "2000-01-01T00:00:00Z"
    assert (await identity.keys()).access_key_id == "ASIA2"
    assert (await identity.keys()).access_key_id == "ASIA3"
    await http.aclose()
    server.stop()


@pytest.mark.parametrize("url", ["", "http://evil.example/x", "http://10.0.0.1/x", "file:///etc"])
async def test_our_token_goes_to_no_other_host(url: str) -> None:
    http = HttpClient()
    identity = AwsIdentity(http, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url}.get)
    with pytest.raises(StoreUnavailable, match="no AWS credentials"):
        await identity.keys()
    await http.aclose()


async def test_the_environments_keys_win() -> None:
    variables = {
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_SESSION_TOKEN": "t",
    }
    http = HttpClient()
    keys = await AwsIdentity(http, variables.get).keys()
    assert (keys.access_key_id, keys.secret_access_key, keys.session_token) == ("AKIA", "s", "t")
    await http.aclose()
