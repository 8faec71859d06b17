"""Pictures and files that prompts name by address: fetched where a provider takes only bytes, left
alone where it takes addresses, refused with the part's name where nobody can take them."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatewayz.core.settings import Settings
from tests.fakes.upstream import RawRequest, RawUpstream, Step, answer
from tests.world import World

PNG = b"\x89PNG\r\n\x1a\n" + b"a small picture"
PDF = b"%PDF-1.7 a small document"
CHAT = {
    "id": "x", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "a cat"},
                 "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}  # fmt: skip
CONVERSE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "a cat"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 5, "outputTokens": 2, "totalTokens": 7},
}
GENERATE = {
    "candidates": [
        {"content": {"role": "model", "parts": [{"text": "a cat"}]}, "finishReason": "STOP"}
    ],
    "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7},
}
ROWS = """
[converse]
name = "Converse"
dialect = "bedrock"
base_url = "{url}"
local = true
[gemini]
name = "Generate"
dialect = "google"
base_url = "{url}/v1beta"
local = true
[bytes]
name = "Bytes"
dialect = "openai_chat"
base_url = "{url}/v1"
bytes_only = ["image"]
local = true
[urls]
name = "Urls"
dialect = "openai_chat"
base_url = "{url}/v1"
local = true
[reader]
name = "Reader"
dialect = "openai_chat"
base_url = "{url}/v1"
credential = "TEST_READER_KEY"
[seer]
name = "Seer"
dialect = "openai_chat"
base_url = "{url}/v1"
credential = "TEST_READER_KEY"
"""
MODELS = (
    "".join(
        f"""
[[models]]
id = "{name}/*"
provider = "{name}"
native_id = "*"
input = 1
output = 1
"""
        for name in ("converse", "gemini", "bytes", "urls")
    )
    + """
[[models]]
id = "reader/one"
input_modalities = ["text"]
[[models.offers]]
provider = "reader"
native_id = "one"
input = 1
output = 1
[[models]]
id = "seer/one"
input_modalities = ["text", "image"]
[[models.offers]]
provider = "seer"
native_id = "one"
input = 1
output = 1
"""
)


def _play(request: RawRequest) -> list[Step]:
    path = request.line.split()[1]
    body = CONVERSE if "/converse" in path else GENERATE if ":generate" in path else CHAT
    return [answer(json.dumps(body).encode())]


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    raw = RawUpstream()
    raw.play = _play
    yield raw
    raw.stop()


class Site:
    """Where the files stand."""

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[str] = []
        self.pages: dict[str, bytes] = {"/cat.png": PNG, "/doc.pdf": PDF}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        page = self.pages.get(head.split()[1])
        status = "404 X" if page is None else "200 OK"
        writer.write(answer(page or b"", kind="text/plain", status=status))
        await writer.drain()
        writer.close()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


@pytest.fixture
def networks() -> str:
    return "127.0.0.0/8"


@pytest.fixture
def tune(
    upstream: RawUpstream, networks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Settings], Settings]:
    monkeypatch.setenv("TEST_READER_KEY", "k")
    file = tmp_path / "providers.toml"
    file.write_text(ROWS.format(url=upstream.url) + MODELS)
    return lambda s: replace(
        s,
        catalog=replace(s.catalog, providers_file=str(file)),
        http=replace(s.http, fetch_networks=networks),
    )


def picture(url: str) -> list[dict[str, Any]]:
    """A conversation whose second message has a picture as its second part."""
    parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]


async def ask(world: World, model: str, messages: list[Any], **body: Any) -> Any:
    account = await world.account()
    return await world.post(account, model, messages=messages, **body)


async def test_a_provider_that_takes_only_bytes_gets_them(
    world: World, upstream: RawUpstream, site: Site
) -> None:
    """Once fetched, whatever the provider's protocol and how often the file is named."""
    twice = [*picture(site.url("/cat.png")), *picture(site.url("/cat.png"))[1:]]
    for model in ("converse/m", "gemini/m", "bytes/m"):
        got = await ask(world, model, twice)
        assert got.status_code == 200, got.text
        assert got.json()["choices"][0]["message"]["content"] == "a cat"
        [sent] = upstream.requests
        assert sent.body.count(base64.b64encode(PNG)) == 2
        assert site.url("/cat.png").encode() not in sent.body
        assert b"image/png" in sent.body or b'"png"' in sent.body
        upstream.requests.clear()
        assert len(site.heads) == 1
        site.heads.clear()


async def test_a_provider_that_takes_addresses_gets_the_address(
    world: World, upstream: RawUpstream, site: Site
) -> None:
    got = await ask(world, "urls/m", picture(site.url("/cat.png")))
    assert got.status_code == 200, got.text
    [sent] = upstream.requests
    assert sent.json["messages"] == picture(site.url("/cat.png"))
    assert site.heads == []


async def test_the_fetch_carries_nothing_of_the_caller(world: World, site: Site) -> None:
    got = await ask(world, "converse/m", picture(site.url("/cat.png")))
    assert got.status_code == 200
    [head] = site.heads
    names = {line.partition(":")[0].lower() for line in head.split("\r\n")[1:] if line}
    assert names <= {"accept", "accept-encoding", "host", "user-agent"}


async def test_a_document_named_by_another_protocol_is_fetched_too(
    world: World, upstream: RawUpstream, site: Site
) -> None:
    account = await world.account()
    content = [
        {"type": "text", "text": "What?"},
        {"type": "document", "source": {"type": "url", "url": site.url("/doc.pdf")}},
    ]
    body = {
        "model": "converse/m", "max_tokens": 9, "messages": [{"role": "user", "content": content}],
    }  # fmt: skip
    got = await world.client.post("/v1/messages", json=body, headers=account.headers)
    assert got.status_code == 200, got.text
    [document] = [
        part["document"]
        for part in upstream.requests[0].json["messages"][0]["content"]
        if "document" in part
    ]
    assert document["format"] == "pdf"
    assert base64.b64decode(document["source"]["bytes"]) == PDF


@pytest.mark.parametrize(
    ("path", "why"),
    [("/none.png", "answers 404"), ("/doc.pdf", "it is application/pdf")],
)
async def test_a_file_that_cannot_be_had_is_named_and_nothing_is_charged(
    world: World, upstream: RawUpstream, site: Site, path: str, why: str
) -> None:
    account = await world.account()
    got = await world.post(account, "converse/m", messages=picture(site.url(path)))
    error = got.json()["error"]
    assert (got.status_code, error["code"]) == (400, "invalid_image_url")
    assert error["param"] == "messages[1].content[1]"
    assert why in error["message"]
    assert upstream.requests == []
    await world.settle()
    assert [row["charge_nanos"] for row in await world.requests(account)] == [0]
    assert await world.violations() == []


async def test_a_part_that_the_model_cannot_take_is_named_with_offers_that_can(
    world: World, upstream: RawUpstream
) -> None:
    got = await ask(world, "reader/one", picture("https://pictures.example/cat.png"))
    error = got.json()["error"]
    assert (got.status_code, error["code"]) == (400, "unsupported_modality")
    assert error["param"] == "messages[1].content[1]"
    assert "takes no image" in error["message"]
    assert "seer/one" in error["message"]
    assert upstream.requests == []
    taken = await ask(world, "seer/one", picture("https://pictures.example/cat.png"))
    assert taken.status_code == 200, taken.text


class TestInward:
    """Without the operator's leave nothing private is called."""

    @pytest.fixture
    def networks(self) -> str:
        return ""

    async def test_F59_no_prompt_reaches_inward(
        self, world: World, upstream: RawUpstream, site: Site
    ) -> None:
        for url in (
            site.url("/cat.png"),
            "http://169.254.169.254/latest/meta-data/iam",
            "http://[::ffff:127.0.0.1]/cat.png",
            "http://localhost/cat.png",
            "http://2130706433/cat.png",
            "http://me@127.0.0.1/cat.png",
            "http://1.1.1.1:22/cat.png",
        ):
            got = await ask(world, "converse/m", picture(url))
            assert (got.status_code, got.json()["error"]["code"]) == (400, "invalid_image_url"), url
        assert site.heads == []
        assert upstream.requests == []


async def test_F61_data_that_is_no_base64_is_refused_before_anything_is_held(
    world: World, upstream: RawUpstream
) -> None:
    for data in ("%%%", "abc\u00e9", "a", "ab=c", "abcde", "===="):
        for model in ("urls/m", "converse/m"):
            got = await ask(world, model, picture(f"data:image/png;base64,{data}"))
            error = got.json()["error"]
            assert (got.status_code, error["param"]) == (400, "messages[1].content[1]"), data
    good = base64.b64encode(PNG).decode()
    assert (await ask(world, "urls/m", picture(f"data:image/png;base64,{good}"))).is_success
    assert len(upstream.requests) == 1


async def test_F61_a_data_url_beyond_the_limit_of_a_body_is_413(
    world: World, upstream: RawUpstream
) -> None:
    limit = world.settings.http.max_body_bytes
    got = await ask(world, "urls/m", picture("data:image/png;base64," + "A" * limit))
    assert got.status_code == 413
    assert str(limit) in got.text
    assert upstream.requests == []
