"""A brand that nobody here knows: a row of TOML and one recorded answer, and callers of every
protocol reach it, are billed for it and see it listed. No code."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatewayz.core.settings import Settings
from tests.fakes.upstream import RawRequest, RawUpstream, Step, answer, event_stream
from tests.world import World

RECORDED = Path(__file__).resolve().parents[1] / "recordings" / "openai_chat"
STREAM = RECORDED / "doubleword__thinking_stream-thinking_tool_stream-tool_call_stream.json"
WHOLE = RECORDED / "zai__cache_hit-thinking-thinking_tool.json"
ROW = """
[acme]
name = "Acme"
dialect = "openai_chat"
base_url = "{url}/api/v9"
credential = "TEST_ACME_KEY"
auth = "header:x-acme-key"
headers = {{ x-acme-version = "7" }}
rename = {{ max_completion_tokens = "max_tokens" }}
drop = ["logit_bias"]
clamp = {{ temperature = [0, 1] }}
[acme.usage]
cost_usd = "usage.cost"

[[models]]
id = "acme/large"
[[models.offers]]
provider = "acme"
native_id = "Acme-Large-V1"
input = 1
output = 2
cache_read = 0.5
"""


def _play(request: RawRequest) -> list[Step]:
    if request.json.get("stream"):
        return [event_stream() + json.loads(STREAM.read_text())["response"]["sse"].encode()]
    return [answer(json.dumps(json.loads(WHOLE.read_text())["response"]["body"]).encode())]


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    raw = RawUpstream()
    raw.play = _play
    yield raw
    raw.stop()


@pytest.fixture
def tune(
    upstream: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Settings], Settings]:
    monkeypatch.setenv("TEST_ACME_KEY", "the-credential")
    file = tmp_path / "providers.toml"
    file.write_text(ROW.format(url=upstream.url))
    return lambda s: replace(s, catalog=replace(s.catalog, providers_file=str(file)))


ASKED: dict[str, Any] = {
    "model": "acme/large",
    "messages": [{"role": "user", "content": "What is the weather?"}],
    "max_tokens": 300,
}
# The tool that each recorded answer calls: of the whole one, of the streamed one.
CALLED = ['"system"', '"final_result"']
TOOLS = [{"name": "get_weather", "input_schema": {"type": "object"}}]
CALLS: list[tuple[str, dict[str, Any]]] = [
    (
        "/v1/chat/completions",
        ASKED | {"temperature": 1.5, "logit_bias": {"1": 1}, "user": "u"},
    ),
    ("/v1/messages", ASKED | {"tools": TOOLS}),
    ("/v1/responses", {"model": "acme/large", "input": "What is the weather?"}),
    (
        "/v1beta/models/acme/large:generateContent",
        {"contents": [{"role": "user", "parts": [{"text": "What is the weather?"}]}]},
    ),
]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_row_alone_makes_a_brand_reachable_in_every_protocol(
    world: World, upstream: RawUpstream, stream: bool
) -> None:
    account = await world.account()
    for path, body in CALLS:
        if stream and path.startswith("/v1beta"):
            path = path.replace(":generateContent", ":streamGenerateContent?alt=sse")
        elif stream:
            body = body | {"stream": True}
        got = await world.client.post(path, json=body, headers=account.headers)
        assert got.status_code == 200, got.text
        assert got.headers["x-provider"] == "acme"
        assert CALLED[stream] in got.text, path
        sent = upstream.requests.pop()
        assert sent.line == "POST /api/v9/chat/completions HTTP/1.1"
        assert sent.headers["x-acme-key"] == "the-credential"
        assert sent.headers["x-acme-version"] == "7"
        assert "authorization" not in sent.headers
        assert sent.json["model"] == "Acme-Large-V1"
        if path == "/v1/chat/completions":
            assert sent.json["max_tokens"] == 300
            assert sent.json["temperature"] == 1
            assert "logit_bias" not in sent.json
            assert got.headers["x-gatewayz-dropped-params"] == "logit_bias"
    await world.settle()
    rows = await world.requests(account)
    assert len(rows) == len(CALLS)
    assert {row["outcome"] for row in rows} == {"completed"}
    assert len({row["charge_nanos"] for row in rows} - {0}) == 1, "the same price in each"
    assert await world.violations() == []


async def test_it_is_listed_and_can_be_asked_for_by_its_name(world: World) -> None:
    listed = (await world.client.get("/v1/models")).json()["data"]
    assert "acme/large" in {item["id"] for item in listed}


@pytest.mark.parametrize(
    ("status", "code"), [(401, "all_providers_failed"), (400, "upstream_rejected")]
)
async def test_its_failures_are_ours_to_tell(
    world: World, upstream: RawUpstream, status: int, code: str
) -> None:
    body = b'{"error":{"message":"Bearer sk-0123456789abcdef0123456789 is wrong","code":"x"}}'
    upstream.play = lambda request: [answer(body, status=f"{status} X")]
    got = await world.post(await world.account(), "acme/large")
    assert got.status_code == (503 if status == 401 else 400)
    assert got.json()["error"]["code"] == code
    assert "0123456789" not in got.text
