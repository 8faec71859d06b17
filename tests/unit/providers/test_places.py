"""Where providers are called: paths, parameters, regions, what is learned from refusals; and with
which credential, against a server that plays all of them."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gatewayz.core import clock
from gatewayz.core.errors import (
    UpstreamAuth,
    UpstreamError,
    UpstreamExhausted,
    UpstreamThrottled,
)
from gatewayz.dialects.form import Target
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.openai_chat.errors import decode_error
from gatewayz.dialects.parts import Message, Text
from gatewayz.dialects.protocol import HttpRequest
from gatewayz.dialects.registry import UPSTREAMS
from gatewayz.net.http import HttpAnswer, HttpClient
from gatewayz.providers.access import Unreachable, base_url, missing, sign_in
from gatewayz.providers.client import ProviderClient
from gatewayz.providers.config import load_providers
from gatewayz.providers.provider import Provider
from tests.unit.providers.test_auth import KEY, _pem

ROWS = load_providers()


@dataclass
class Exchange:
    """An attempt with nothing but its request."""

    request: HttpRequest
    target: Target

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        target = self.target
        return decode_error(target.provider, status, headers, body, target.errors)


def attempt(row: Provider, native_id: str, *, client: str = "", stream: bool = False) -> Any:
    """A plain request to this offer, as the row's dialect for that client writes it."""
    dialect = row.speaks(client or row.dialect, native_id)
    target = row.target(native_id, dialect=dialect)
    request = GenerationRequest(
        "openai_chat", "m", (Message("user", (Text("hi"),)),), stream=stream, max_output_tokens=9
    )
    return Exchange(UPSTREAMS[dialect].encode_request(request, target), target)


@dataclass
class Wire:
    """In place of the network: keeps what was sent, answers what `answers` say, then 200."""

    answers: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    sent: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes, **_: Any
    ) -> HttpAnswer:
        self.sent.append((url, dict(headers), body))
        host = url.split("/")[2]
        status, raw = self.answers.get(host, [(200, b"{}")])[0]
        if len(self.answers.get(host, ())) > 1:
            self.answers[host].pop(0)
        return HttpAnswer(status, {}, raw)

    @property
    def hosts(self) -> list[str]:
        return [url.split("/")[2] for url, _, _ in self.sent]


def client(wire: Wire, **secrets: str) -> ProviderClient:
    made: Any = wire
    return ProviderClient(made, secrets.get)


async def call(made: ProviderClient, row: Provider, exchange: Any) -> bytes:
    return await made.send(row, exchange, timeout_s=5, max_bytes=1000)


class FakeClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now_ms(self) -> int:
        return 1_700_000_000_000 + round(self.seconds * 1000)

    def monotonic_s(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@pytest.fixture
def time() -> Iterator[FakeClock]:
    fake = FakeClock()
    before = clock.use(fake)
    yield fake
    clock.use(before)


# ---------------------------------------------------------------- addresses and credentials

AZURE = {"AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com/"}
VERTEX = {"GOOGLE_VERTEX_PROJECT": "p-1", "GOOGLE_VERTEX_LOCATION": "europe-west4"}
WORLDWIDE = {"GOOGLE_VERTEX_PROJECT": "p-1"}
PLACES: list[tuple[str, str, bool, dict[str, str], str]] = [
    ("openai", "gpt-5.4", False, {}, "https://api.openai.com/v1/chat/completions"),
    ("openai", "gpt-5-pro", False, {}, "https://api.openai.com/v1/responses"),
    ("anthropic", "claude-opus-5", False, {}, "https://api.anthropic.com/v1/messages"),
    (
        "google", "gemini-3-pro", True, {},
        "https://generativelanguage.googleapis.com/v1beta/models/gemini-3-pro"
        ":streamGenerateContent?alt=sse",
    ),
    (
        "google-vertex", "gemini-2.5-pro", False, VERTEX,
        "https://europe-west4-aiplatform.googleapis.com/v1/projects/p-1/locations/europe-west4"
        "/publishers/google/models/gemini-2.5-pro:generateContent",
    ),
    (
        "google-vertex", "gemini-2.5-pro", False, WORLDWIDE,
        "https://aiplatform.googleapis.com/v1/projects/p-1/locations/global/publishers/google"
        "/models/gemini-2.5-pro:generateContent",
    ),
    (
        "google-vertex", "gemini-3.1-pro-preview", True, VERTEX,
        "https://aiplatform.googleapis.com/v1/projects/p-1/locations/global/publishers/google"
        "/models/gemini-3.1-pro-preview:streamGenerateContent?alt=sse",
    ),
    (
        "google-vertex-anthropic", "claude-sonnet-4-5@20250929", False,
        {**VERTEX, "GOOGLE_VERTEX_LOCATION": "us-east5"},
        "https://us-east5-aiplatform.googleapis.com/v1/projects/p-1/locations/us-east5"
        "/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict",
    ),
    (
        "google-vertex-anthropic", "claude-sonnet-4-5@20250929", True, WORLDWIDE,
        "https://aiplatform.googleapis.com/v1/projects/p-1/locations/global"
        "/publishers/anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict",
    ),
    (
        "aws-bedrock", "us.anthropic.claude-opus-4-6-v1:0", True, {"AWS_REGION": "us-west-2"},
        "https://bedrock-runtime.us-west-2.amazonaws.com/model"
        "/us.anthropic.claude-opus-4-6-v1%3A0/converse-stream",
    ),
    (
        "aws-bedrock", "x", False, {"AWS_REGION": "us-west-2", "BEDROCK_REGION": "eu-west-1"},
        "https://bedrock-runtime.eu-west-1.amazonaws.com/model/x/converse",
    ),
    (
        "aws-bedrock-mantle", "openai.gpt-oss-120b", False, {"AWS_REGION": "us-east-1"},
        "https://bedrock-mantle.us-east-1.api.aws/v1/chat/completions",
    ),
    (
        "azure-openai", "my deployment", False, AZURE,
        "https://mine.openai.azure.com/openai/deployments/my%20deployment/chat/completions"
        "?api-version=2025-04-01-preview",
    ),
    (
        "azure-openai", "d", True, {**AZURE, "AZURE_OPENAI_API_VERSION": "2026-01-01"},
        "https://mine.openai.azure.com/openai/deployments/d/chat/completions"
        "?api-version=2026-01-01",
    ),
    (
        "azure-ai-foundry", "grok-3", False, {"AZURE_RESOURCE_NAME": "res"},
        "https://res.services.ai.azure.com/models/chat/completions"
        "?api-version=2024-05-01-preview",
    ),
    (
        "azure-ai-foundry-anthropic", "claude", False, {"AZURE_RESOURCE_NAME": "res"},
        "https://res.services.ai.azure.com/anthropic/v1/messages",
    ),
    (
        "cloudflare-workers-ai", "@cf/x/y", False, {"CLOUDFLARE_ACCOUNT_ID": "abc"},
        "https://api.cloudflare.com/client/v4/accounts/abc/ai/v1/chat/completions",
    ),
    (
        "databricks", "m", False, {"DATABRICKS_HOST": "https://dbc-1.cloud.databricks.com"},
        "https://dbc-1.cloud.databricks.com/serving-endpoints/chat/completions",
    ),
    (
        "snowflake", "m", False, {"SNOWFLAKE_ACCOUNT": "org-acct"},
        "https://org-acct.snowflakecomputing.com/api/v2/cortex/v1/chat/completions",
    ),
    ("perplexity", "sonar", False, {}, "https://api.perplexity.ai/chat/completions"),
    ("cohere", "command-a", False, {}, "https://api.cohere.com/v2/chat"),
]  # fmt: skip


@pytest.mark.parametrize(("slug", "native_id", "stream", "values", "url"), PLACES)
async def test_each_provider_is_called_where_its_protocol_says(
    slug: str, native_id: str, stream: bool, values: dict[str, str], url: str
) -> None:
    wire, row = Wire(), ROWS[slug]
    row = replace(row, auth="bearer", alternatives={})  # how it signs in is another test's matter
    await call(
        client(wire, **values, **{row.credential: "key"}),
        row,
        attempt(row, native_id, stream=stream),
    )
    assert wire.sent[0][0] == url


async def test_anthropics_models_at_the_other_host_have_their_version_in_the_body() -> None:
    request = attempt(ROWS["google-vertex-anthropic"], "claude-x@1").request
    body = json.loads(request.body)
    assert body["anthropic_version"] == "vertex-2023-10-16"
    assert "model" not in body
    assert "anthropic-version" not in request.headers


async def test_a_client_of_a_dialect_that_the_provider_has_as_well_gets_it() -> None:
    wire, row = Wire(), ROWS["azure-openai"]
    await call(
        client(wire, AZURE_OPENAI_API_KEY="key", **AZURE),
        row,
        attempt(row, "dep", client="openai_responses"),
    )
    assert wire.sent[0][0] == "https://mine.openai.azure.com/openai/v1/responses"
    assert ROWS["openai"].speaks("openai_responses", "gpt-5.4") == "openai_responses"
    assert ROWS["openai"].speaks("anthropic", "gpt-5.4") == "openai_chat"
    assert ROWS["groq"].speaks("openai_responses", "x") == "openai_chat"
    # What the row says of chat does not hold there: reasoning is inside the count (providers.md).
    other = ROWS["xai"].target("grok-4", dialect="openai_responses")
    assert (other.rename, other.drop) == ({}, frozenset())
    assert other.usage == {"cost_usd_ticks": "usage.cost_in_usd_ticks"}


@pytest.mark.parametrize(
    ("slug", "secrets", "expected"),
    [
        ("openai", {"OPENAI_API_KEY": "k"}, {"authorization": "Bearer k"}),
        ("anthropic", {"ANTHROPIC_API_KEY": "k"}, {"x-api-key": "k"}),
        ("google", {"GEMINI_API_KEY": "k"}, {"x-goog-api-key": "k"}),
        ("google", {"GOOGLE_API_KEY": "other"}, {"x-goog-api-key": "other"}),
        ("azure-openai", {"AZURE_OPENAI_API_KEY": "k", **AZURE}, {"api-key": "k"}),
        ("azure-openai", {"AZURE_OPENAI_AD_TOKEN": "t", **AZURE}, {"authorization": "Bearer t"}),
        ("xiaomi-mimo", {"MIMO_API_KEY": "k"}, {"api-key": "k"}),
        ("reka", {"REKA_API_KEY": "k"}, {"x-api-key": "k"}),
        (
            "aws-bedrock",
            {"AWS_BEARER_TOKEN_BEDROCK": "b", "AWS_REGION": "us-east-1"},
            {"authorization": "Bearer b"},
        ),
        ("cohere", {"CO_API_KEY": "k"}, {"authorization": "Bearer k"}),
        (
            "github-models",
            {"GITHUB_MODELS_TOKEN": "k"},
            {"authorization": "Bearer k", "x-github-api-version": "2022-11-28"},
        ),
    ],
)
async def test_each_provider_is_signed_in_at_as_its_row_says(
    slug: str, secrets: dict[str, str], expected: dict[str, str]
) -> None:
    wire, row = Wire(), ROWS[slug]
    made = client(wire, **secrets)
    for _ in range(2):
        await call(made, row, attempt(row, "m"))
    for _, headers, _ in wire.sent:
        assert {name: headers.get(name) for name in expected} == expected
        known = {"content-type", "accept", "anthropic-version", *expected}
        assert headers.keys() <= known


async def test_a_call_without_a_bearer_token_is_signed_for_its_region() -> None:
    wire, row = Wire(), ROWS["aws-bedrock"]
    secrets = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "eu-west-3"}
    made = client(wire, **secrets)
    await call(made, row, attempt(row, "m:0"))
    await call(made, row, attempt(row, "other"))
    for _, headers, _ in wire.sent:
        assert "/eu-west-3/bedrock/aws4_request" in headers["authorization"]
    assert wire.sent[0][1]["authorization"] != wire.sent[1][1]["authorization"]
    way = sign_in(row, secrets.get)
    assert way is not None
    assert way.auth == "sigv4"


TOKENS = "oauth2.googleapis.com"


def vertex(wire: Wire) -> ProviderClient:
    account = {
        "type": "service_account",
        "client_email": "gw@project.iam.example",
        "private_key": _pem(KEY),
        "token_uri": f"https://{TOKENS}/token",
    }
    wire.answers[TOKENS] = [
        (200, b'{"access_token":"token-1","expires_in":3600}'),
        (200, b'{"access_token":"token-2","expires_in":3600}'),
    ]
    secrets = {"GOOGLE_APPLICATION_CREDENTIALS": json.dumps(account), "GOOGLE_CLOUD_PROJECT": "p"}
    return client(wire, **secrets)


@pytest.mark.parametrize("slug", ["google-vertex", "google-vertex-anthropic"])
async def test_an_account_gets_a_token_once_and_shows_it_at_every_call(
    slug: str, time: FakeClock
) -> None:
    wire, row = Wire(), ROWS[slug]
    made = vertex(wire)
    await asyncio.gather(*(call(made, row, attempt(row, "m@1")) for _ in range(5)))
    assert wire.hosts.count(TOKENS) == 1
    shown = {headers["authorization"] for url, headers, _ in wire.sent if TOKENS not in url}
    assert shown == {"Bearer token-1"}


async def test_a_token_that_is_refused_is_replaced_once_and_the_attempt_goes_on(
    time: FakeClock,
) -> None:
    wire, row = Wire(), ROWS["google-vertex"]
    made = vertex(wire)
    await call(made, row, attempt(row, "m"))
    time.seconds += 60
    wire.answers["aiplatform.googleapis.com"] = [(401, b"{}"), (200, b"{}")]
    await call(made, row, attempt(row, "m"))
    assert [headers.get("authorization") for _, headers, _ in wire.sent[1:]] == [
        "Bearer token-1",
        "Bearer token-1",
        None,
        "Bearer token-2",
    ]
    # A new one that is refused as well is our fault, and nobody goes on asking.
    wire.answers["aiplatform.googleapis.com"] = [(401, b"{}")]
    sent = len(wire.sent)
    with pytest.raises(UpstreamAuth):
        await call(made, row, attempt(row, "m"))
    assert len(wire.sent) == sent + 1


# ---------------------------------------------------------------- what is missing


def test_what_has_to_be_set_is_named() -> None:
    def lacks(slug: str, **secrets: str) -> tuple[str, ...]:
        return missing(ROWS[slug], secrets.get)

    assert lacks("openai") == ("OPENAI_API_KEY",)
    assert lacks("openai", OPENAI_API_KEY="k") == ()
    assert lacks("cloudflare-workers-ai", CLOUDFLARE_API_KEY="k") == ("CLOUDFLARE_ACCOUNT_ID",)
    assert lacks("aws-bedrock", AWS_REGION="us-east-1") == (
        "AWS_BEARER_TOKEN_BEDROCK or AWS_ACCESS_KEY_ID",
    )
    assert lacks("google-vertex", GOOGLE_APPLICATION_CREDENTIALS="x") == (
        "GOOGLE_VERTEX_PROJECT or GOOGLE_CLOUD_PROJECT",
    )
    assert lacks("ollama") == ()


def test_the_identity_that_a_platform_lends_a_function_is_not_taken_for_a_providers() -> None:
    lent = {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_REGION": "us-east-1",
        "AWS_LAMBDA_FUNCTION_NAME": "chat",
    }
    assert missing(ROWS["aws-bedrock"], lent.get)
    lent["BEDROCK_REGION"] = "us-east-1"  # the operator has named the provider
    assert not missing(ROWS["aws-bedrock"], lent.get)


@pytest.mark.parametrize("value", ["a/b", "a?b", "a#b", "a b", "a@b", "é", "a\n", "-", "x" * 300])
async def test_what_cannot_stand_in_an_address_is_our_fault_and_sends_nothing(value: str) -> None:
    wire, row = Wire(), ROWS["cloudflare-workers-ai"]
    made = client(wire, CLOUDFLARE_API_TOKEN="k", CLOUDFLARE_ACCOUNT_ID=value)
    if value.strip() != value:
        await call(made, row, attempt(row, "m"))  # blanks around a value are no part of it
        return
    with pytest.raises(UpstreamAuth, match="CLOUDFLARE_ACCOUNT_ID cannot stand"):
        await call(made, row, attempt(row, "m"))
    assert wire.sent == []
    with pytest.raises(Unreachable):
        base_url(row, {"CLOUDFLARE_ACCOUNT_ID": value}.get)


# ---------------------------------------------------------------- regions

INTERNATIONAL, CHINA = "dashscope-intl.aliyuncs.com", "dashscope.aliyuncs.com"
REFUSED = (401, b'{"error":{"code":"invalid_api_key","message":"Incorrect API key provided."}}')


async def test_a_key_of_another_region_is_tried_there_and_the_region_remembered() -> None:
    wire, row = Wire({INTERNATIONAL: [REFUSED]}), ROWS["alibaba-dashscope"]
    made = client(wire, DASHSCOPE_API_KEY="k")
    await call(made, row, attempt(row, "qwen3"))
    assert wire.hosts == [INTERNATIONAL, CHINA]
    await call(made, row, attempt(row, "qwen3"))
    assert wire.hosts == [INTERNATIONAL, CHINA, CHINA]


async def test_a_region_that_refuses_later_is_left_again() -> None:
    wire, row = Wire({INTERNATIONAL: [REFUSED, (200, b"{}")]}), ROWS["alibaba-dashscope"]
    made = client(wire, DASHSCOPE_API_KEY="k")
    await call(made, row, attempt(row, "qwen3"))
    wire.answers[CHINA] = [REFUSED]
    await call(made, row, attempt(row, "qwen3"))
    await call(made, row, attempt(row, "qwen3"))
    assert wire.hosts == [INTERNATIONAL, CHINA, CHINA, INTERNATIONAL, INTERNATIONAL]


async def test_a_key_that_is_good_nowhere_is_refused_once_everywhere() -> None:
    us = "dashscope-us.aliyuncs.com"
    wire = Wire({host: [REFUSED] for host in (INTERNATIONAL, CHINA, us)})
    row, made = ROWS["alibaba-dashscope"], client(wire, DASHSCOPE_API_KEY="k")
    with pytest.raises(UpstreamAuth):
        await call(made, row, attempt(row, "qwen3"))
    assert wire.hosts == [INTERNATIONAL, CHINA, us]


async def test_many_at_once_all_find_the_region() -> None:
    wire, row = Wire({INTERNATIONAL: [REFUSED]}), ROWS["alibaba-dashscope"]
    made = client(wire, DASHSCOPE_API_KEY="k")
    await asyncio.gather(*(call(made, row, attempt(row, "qwen3")) for _ in range(20)))


async def test_other_refusals_do_not_move_a_provider() -> None:
    for status in (400, 403, 404, 429, 500):
        wire, row = Wire({INTERNATIONAL: [(status, b"{}")]}), ROWS["alibaba-dashscope"]
        with pytest.raises(UpstreamError):
            await call(client(wire, DASHSCOPE_API_KEY="k"), row, attempt(row, "qwen3"))
        assert wire.hosts == [INTERNATIONAL], status


# ---------------------------------------------------------------- allowances

QUOTA = (429, b'{"error":{"code":"insufficient_quota","message":"You exceeded your quota."}}')
RATE = (429, b'{"error":{"code":"Throttling.RateQuota","message":"Requests rate limit exceeded"}}')


async def test_a_provider_whose_allowance_is_used_up_is_left_alone_for_a_quarter_of_an_hour(
    time: FakeClock,
) -> None:
    wire, row = Wire({INTERNATIONAL: [QUOTA]}), ROWS["alibaba-dashscope"]
    made = client(wire, DASHSCOPE_API_KEY="k")
    with pytest.raises(UpstreamExhausted) as refused:
        await call(made, row, attempt(row, "qwen3"))
    assert refused.value.retry_after_s == 900
    time.seconds += 899
    with pytest.raises(UpstreamExhausted) as rested:
        await call(made, row, attempt(row, "qwen3"))
    assert rested.value.retry_after_s == pytest.approx(1)
    assert len(wire.sent) == 1
    time.seconds += 2
    wire.answers.clear()
    await call(made, row, attempt(row, "qwen3"))
    assert len(wire.sent) == 2


async def test_a_limit_on_the_rate_is_no_end_of_an_allowance(time: FakeClock) -> None:
    wire, row = Wire({INTERNATIONAL: [RATE]}), ROWS["alibaba-dashscope"]
    made = client(wire, DASHSCOPE_API_KEY="k")
    for _ in range(2):
        with pytest.raises(UpstreamThrottled) as refused:
            await call(made, row, attempt(row, "qwen3"))
        assert not isinstance(refused.value, UpstreamExhausted)
    assert len(wire.sent) == 2


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    made = HttpClient()
    yield made
    await made.aclose()


async def test_what_signs_in_costs_a_warm_call_no_look_at_the_secrets(http: HttpClient) -> None:
    """The headers of a plain sign-in are made once."""
    wire, row, looked = Wire(), ROWS["openai"], []

    def find(name: str) -> str:
        looked.append(name)
        return "k"

    made: Any = wire
    warm = ProviderClient(made, find)
    await call(warm, row, attempt(row, "m"))
    looked.clear()
    await call(warm, row, attempt(row, "m"))
    assert looked == []
