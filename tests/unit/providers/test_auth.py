"""Signing in at providers: what each kind of row sends, how tokens are got, kept and renewed."""

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import botocore.auth
import botocore.session
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from gatewayz.core import clock
from gatewayz.core.errors import UpstreamAuth, UpstreamUnavailable
from gatewayz.dialects.bedrock.codec import BEDROCK
from gatewayz.dialects.form import Target
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.parts import Message, Text
from gatewayz.net.http import HttpClient
from gatewayz.providers import auth
from gatewayz.providers.auth import Signer
from tests.unit.dialects import recorded

BASE = "https://bedrock-runtime.eu-central-1.amazonaws.com"
HEADERS = {"content-type": "application/json", "accept": "*/*"}
AWS = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret/+key"}


@dataclass(frozen=True)
class Row:
    auth: str = "bearer"
    credential: str = "SOME_KEY"
    slug: str = "somebody"


class FakeClock:
    """Time that moves when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now_ms(self) -> int:
        return 1_700_000_000_000 + round(self.seconds * 1000)

    def monotonic_s(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.fixture
def time() -> Iterator[FakeClock]:
    fake = FakeClock()
    before = clock.use(fake)
    yield fake
    clock.use(before)


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    made = HttpClient(connect_timeout_s=1.0)
    yield made
    await made.aclose()


class TokenEndpoint:
    """Gives tokens as the real one does, as long as `status` is 200."""

    def __init__(self) -> None:
        self.port = 0
        self.status = 200
        self.life_s: Any = 3600
        self.forms: list[dict[str, list[str]]] = []
        self.body: bytes | None = None
        self.open = asyncio.Event()
        self.open.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/token"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            assert "content-type: application/x-www-form-urlencoded" in head
            length = int(head.split("content-length: ")[1].split("\r\n")[0])
            self.forms.append(parse_qs((await reader.readexactly(length)).decode()))
            await self.open.wait()
            given = {"access_token": f"token-{len(self.forms)}", "expires_in": self.life_s}
            body = json.dumps(given).encode() if self.body is None else self.body
            writer.write(
                f"HTTP/1.1 {self.status} X\r\ncontent-length: {len(body)}\r\n"
                "connection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        finally:
            writer.close()


@pytest.fixture
async def endpoint() -> AsyncIterator[TokenEndpoint]:
    made = TokenEndpoint()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def account(endpoint: TokenEndpoint, **more: Any) -> str:
    held = {
        "type": "service_account",
        "client_email": "gw@project.iam.example",
        "private_key_id": "kid-1",
        "private_key": _pem(KEY),
        "token_uri": endpoint.url,
    }
    return json.dumps({**held, **more})


GOOGLE = Row("oauth:google", "ACCOUNT_FILE")


async def signed(signer: Signer, row: Row, url: str = BASE, body: bytes = b"{}") -> Any:
    return await signer.sign(row, "POST", url, headers=HEADERS, body=body)


async def renewed(signer: Signer) -> None:
    """Wait until nobody is asking for a token any more."""
    token = signer._tokens[GOOGLE.credential]
    async with asyncio.timeout(10):
        while token._asking is not None:
            await asyncio.sleep(0.005)


# ---------------------------------------------------------------- plain credentials


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (Row(), {"authorization": "Bearer s3cret"}),
        (Row("header:x-api-key"), {"x-api-key": "s3cret"}),
        (Row(credential=""), {}),
    ],
)
async def test_a_credential_stands_in_the_header_the_row_names(
    http: HttpClient, row: Row, expected: dict[str, str]
) -> None:
    signer = Signer(http, {"SOME_KEY": "s3cret"}.get)
    assert await signed(signer, row) == {**HEADERS, **expected}


async def test_a_changed_credential_is_used_at_once(http: HttpClient) -> None:
    secrets = {"SOME_KEY": "one"}
    signer = Signer(http, secrets.get)
    await signed(signer, Row())
    secrets["SOME_KEY"] = "two"
    assert (await signed(signer, Row()))["authorization"] == "Bearer two"


@pytest.mark.parametrize("kind", ["bearer", "header:x-api-key", "sigv4", "oauth:google"])
async def test_without_a_credential_nothing_is_sent(http: HttpClient, kind: str) -> None:
    signer = Signer(http, {}.get)
    with pytest.raises(UpstreamAuth) as refused:
        await signed(signer, Row(kind, "AWS_ACCESS_KEY_ID"))
    assert refused.value.provider == "somebody"


# ---------------------------------------------------------------- signatures


def _converse(stream: bool) -> Any:
    message = Message("user", (Text("Grüße"),))
    request = GenerationRequest("openai_chat", "m", (message,), stream=stream)
    target = Target("arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.a.b-v1:0")
    return BEDROCK.encode_request(request, target)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("token", ["", "token/=="])
async def test_the_signature_of_a_converse_call_equals_botocore(
    http: HttpClient,
    time: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    stream: bool,
    token: str,
) -> None:
    at = datetime.fromtimestamp(time.now_ms() // 1000, tz=UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: at)
    call = _converse(stream)
    url = BASE + call.path
    signer = Signer(http, {**AWS, "AWS_SESSION_TOKEN": token}.get)
    ours = await signed(signer, Row("sigv4", "AWS_ACCESS_KEY_ID"), url, call.body)
    theirs = AWSRequest(method="POST", url=url, headers=HEADERS, data=call.body)
    credentials = Credentials("AKID", "secret/+key", token or None)
    botocore.auth.SigV4Auth(credentials, "bedrock", "eu-central-1").add_auth(theirs)
    expected = {name.lower(): value for name, value in theirs.headers.items()}
    assert dict(ours) == expected


def test_the_path_of_a_converse_call_equals_botocore() -> None:
    """What botocore itself would call for the same model."""
    session = botocore.session.get_session()
    client = session.create_client(
        "bedrock-runtime",
        region_name="eu-central-1",
        aws_access_key_id="AKID",
        aws_secret_access_key="x",
    )
    for stream, operation in ((False, "converse"), (True, "converse_stream")):
        call = _converse(stream)
        seen: list[AWSRequest] = []

        def stop(request: AWSRequest, seen: list[AWSRequest] = seen, **_: Any) -> Any:
            seen.append(request)
            raise InterruptedError

        client.meta.events.register("before-send", stop)
        model = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.a.b-v1:0"
        body = json.loads(call.body)
        with pytest.raises(InterruptedError):
            getattr(client, operation)(modelId=model, **body)
        client.meta.events.unregister("before-send", stop)
        assert seen[0].url == BASE + call.path
        assert json.loads(seen[0].body) == body
    client.close()


async def test_an_identity_of_its_own_and_a_service_of_its_own_are_named_by_the_row(
    http: HttpClient, time: FakeClock
) -> None:
    secrets = {"OTHER_ACCESS_KEY_ID": "OTHER", "OTHER_SECRET_ACCESS_KEY": "x", **AWS}
    signer = Signer(http, secrets.get)
    row = Row("sigv4:some-service", "OTHER_ACCESS_KEY_ID")
    headers = await signed(signer, row, "https://host.us-gov-west-1.example/x")
    scope = "/us-gov-west-1/some-service/aws4_request"
    assert f"Credential=OTHER/20231114{scope}" in headers["authorization"]
    with pytest.raises(UpstreamAuth, match="region"):
        await signed(signer, row, "https://example.com/x")
    secrets["OTHER_REGION"] = "us-east-2"
    headers = await signed(signer, row, "https://example.com/x")
    assert "/us-east-2/" in headers["authorization"]


# ---------------------------------------------------------------- tokens


def _part(text: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


async def test_a_service_account_shows_a_signed_claim_and_gets_a_token(
    http: HttpClient, endpoint: TokenEndpoint, time: FakeClock
) -> None:
    signer = Signer(http, {"ACCOUNT_FILE": account(endpoint)}.get)
    headers = await signed(signer, GOOGLE)
    assert headers == {**HEADERS, "authorization": "Bearer token-1"}
    [form] = endpoint.forms
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    head, claims, signature = form["assertion"][0].split(".")
    assert _part(head) == {"alg": "RS256", "typ": "JWT", "kid": "kid-1"}
    now = time.now_ms() // 1000
    assert _part(claims) == {
        "iss": "gw@project.iam.example",
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": endpoint.url,
        "iat": now,
        "exp": now + 3600,
    }
    raw = base64.urlsafe_b64decode(signature + "==")
    KEY.public_key().verify(raw, f"{head}.{claims}".encode(), PKCS1v15(), SHA256())


async def test_the_account_may_stand_in_a_file_or_be_a_users(
    http: HttpClient, endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    file = tmp_path / "account.json"
    file.write_text(account(endpoint))
    signer = Signer(http, {"ACCOUNT_FILE": str(file)}.get)
    assert (await signed(signer, GOOGLE))["authorization"] == "Bearer token-1"
    lent = {"client_id": "i", "client_secret": "s", "refresh_token": "r"}
    held = json.dumps({"type": "authorized_user", "token_uri": endpoint.url, **lent})
    signer = Signer(http, {"ACCOUNT_FILE": held}.get)
    assert (await signed(signer, GOOGLE))["authorization"] == "Bearer token-2"
    expected = {"grant_type": ["refresh_token"], **{name: [v] for name, v in lent.items()}}
    assert endpoint.forms[1] == expected


async def test_many_calls_wait_for_one_request(http: HttpClient, endpoint: TokenEndpoint) -> None:
    signer = Signer(http, {"ACCOUNT_FILE": account(endpoint)}.get)
    endpoint.open.clear()
    calls = [asyncio.create_task(signed(signer, GOOGLE)) for _ in range(20)]
    await asyncio.sleep(0.05)
    calls[0].cancel()  # whoever asked first goes: the others still get their token
    await asyncio.sleep(0)
    endpoint.open.set()
    answers = await asyncio.gather(*calls[1:])
    assert {headers["authorization"] for headers in answers} == {"Bearer token-1"}
    assert len(endpoint.forms) == 1


async def test_a_token_is_renewed_before_it_ends_and_nobody_waits(
    http: HttpClient, endpoint: TokenEndpoint, time: FakeClock
) -> None:
    signer = Signer(http, {"ACCOUNT_FILE": account(endpoint)}.get)
    await signed(signer, GOOGLE)
    time.seconds += 3600 - auth.RENEW_BEFORE_S - 1
    assert (await signed(signer, GOOGLE))["authorization"] == "Bearer token-1"
    assert len(endpoint.forms) == 1
    time.seconds += 2
    assert (await signed(signer, GOOGLE))["authorization"] == "Bearer token-1"
    await renewed(signer)
    assert (await signed(signer, GOOGLE))["authorization"] == "Bearer token-2"
    assert len(endpoint.forms) == 2


async def test_a_failed_renewal_leaves_the_good_token_and_is_tried_again_later(
    http: HttpClient, endpoint: TokenEndpoint, time: FakeClock
) -> None:
    signer = Signer(http, {"ACCOUNT_FILE": account(endpoint)}.get)
    await signed(signer, GOOGLE)
    endpoint.status = 503
    time.seconds += 3400
    for _ in range(5):
        assert (await signed(signer, GOOGLE))["authorization"] == "Bearer token-1"
        await renewed(signer)
    assert len(endpoint.forms) == 2
    time.seconds += auth.RETRY_AFTER_S
    await signed(signer, GOOGLE)
    await renewed(signer)
    assert len(endpoint.forms) == 3
    time.seconds += 300
    with pytest.raises(UpstreamUnavailable):
        await signed(signer, GOOGLE)
    endpoint.status = 200
    assert (await signed(signer, GOOGLE))["authorization"] == "Bearer token-5"


async def test_a_refused_token_or_a_changed_account_asks_anew(
    http: HttpClient, endpoint: TokenEndpoint, time: FakeClock
) -> None:
    secrets = {"ACCOUNT_FILE": account(endpoint)}
    signer = Signer(http, secrets.get)
    await signed(signer, GOOGLE)
    # One that was fetched just now is no better the next time.
    assert not signer.forget(GOOGLE)
    assert (await signed(signer, GOOGLE))["authorization"] == "Bearer token-1"
    time.seconds += auth.RETRY_AFTER_S
    assert signer.forget(GOOGLE)
    assert (await signed(signer, GOOGLE))["authorization"] == "Bearer token-2"
    secrets["ACCOUNT_FILE"] = account(endpoint, private_key_id="kid-2")
    assert (await signed(signer, GOOGLE))["authorization"] == "Bearer token-3"
    assert len(endpoint.forms) == 3


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, b'{"error": "invalid_grant"}', UpstreamAuth),
        (401, b"{}", UpstreamAuth),
        (429, b"{}", UpstreamUnavailable),
        (500, b"{}", UpstreamUnavailable),
        (200, b"<html>", UpstreamUnavailable),
        (200, b"[]", UpstreamUnavailable),
        (200, b'{"access_token": ""}', UpstreamUnavailable),
        (200, b'{"access_token": 5}', UpstreamUnavailable),
        (200, b'{"access_token": "x", "expires_in": "nan"}', UpstreamUnavailable),
        (200, b'{"access_token": "x", "expires_in": -1}', UpstreamUnavailable),
    ],
)
async def test_an_endpoint_that_gives_no_token_is_told_from_a_refusal(
    http: HttpClient, endpoint: TokenEndpoint, status: int, body: bytes, expected: type[Exception]
) -> None:
    endpoint.status, endpoint.body = status, body
    signer = Signer(http, {"ACCOUNT_FILE": account(endpoint)}.get)
    with pytest.raises(expected) as raised:
        await signed(signer, GOOGLE)
    assert "PRIVATE KEY" not in str(raised.value)


async def test_an_endpoint_nobody_answers_at_is_unavailable(
    http: HttpClient, endpoint: TokenEndpoint
) -> None:
    held = account(endpoint, token_uri="http://127.0.0.1:1/token")
    with pytest.raises(UpstreamUnavailable):
        await signed(Signer(http, {"ACCOUNT_FILE": held}.get), GOOGLE)


@pytest.mark.parametrize(
    "change",
    [
        {"private_key": "no key"},
        {"private_key": _pem(ec.generate_private_key(ec.SECP256R1()))},
        {"private_key": None},
        {"client_email": None, "private_key": 5},
        {"token_uri": "http://example.com/token"},
        {"token_uri": "file:///etc/passwd"},
        {"token_uri": 5},
        {"type": "authorized_user"},
    ],
)
async def test_an_account_that_cannot_be_used_is_our_fault(
    http: HttpClient, endpoint: TokenEndpoint, change: Any
) -> None:
    signer = Signer(http, {"ACCOUNT_FILE": account(endpoint, **change)}.get)
    with pytest.raises(UpstreamAuth):
        await signed(signer, GOOGLE)
    assert endpoint.forms == []


@pytest.mark.parametrize("held", ["/no/such/file.json", "{not json", "[1]", "\x00"])
async def test_a_credential_that_is_no_account_is_our_fault(http: HttpClient, held: str) -> None:
    with pytest.raises(UpstreamAuth) as raised:
        await signed(Signer(http, {"ACCOUNT_FILE": held}.get), GOOGLE)
    assert held not in str(raised.value)


async def test_a_missing_library_is_named(
    http: HttpClient, endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.hashes", None)
    with pytest.raises(UpstreamAuth, match="cryptography"):
        await signed(Signer(http, {"ACCOUNT_FILE": account(endpoint)}.get), GOOGLE)


def test_the_library_for_signing_is_loaded_by_nobody_who_needs_none() -> None:
    code = "import sys, gatewayz.providers.auth; print('cryptography' in sys.modules)"
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": str(recorded.ROOT / "shared")}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_secrets_are_in_no_repr(http: HttpClient) -> None:
    token = auth._Token(http, "somebody", "the-secret")
    token._value = "the-token"
    assert "the-" not in repr(token)
