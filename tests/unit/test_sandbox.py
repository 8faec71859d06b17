"""The sandbox upstream does what its model's name says, over real HTTP."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
import uvicorn

from gatewayz.dialects.openai_chat.stream import ChatStream
from gatewayz.local.sandbox import Sandbox
from gatewayz.local.sandbox_behaviour import LABEL
from gatewayz.net.http import ConnectionBroken, HttpClient, HttpStream, ReadTimeout

HEADERS = {"content-type": "application/json"}


class Upstream:
    """A running sandbox and a client for it."""

    def __init__(self, sandbox: Sandbox, url: str, client: HttpClient) -> None:
        self.sandbox, self.url, self.client = sandbox, url, client
        self.got = b""

    def body(self, model: str, **more: Any) -> bytes:
        message = {"role": "user", "content": "hello there"}
        return orjson.dumps({"model": model, "messages": [message], **more})

    async def ask(self, model: str, **more: Any) -> tuple[int, Any]:
        answer = await self.client.request(
            "POST",
            self.url + "/v1/chat/completions",
            headers=HEADERS,
            body=self.body(model, **more),
            timeout_s=10,
            max_bytes=10**6,
        )
        return answer.status, answer.body

    async def open(self, model: str, **more: Any) -> HttpStream:
        return await self.client.open(
            "POST",
            self.url + "/v1/chat/completions",
            headers=HEADERS,
            body=self.body(model, stream=True, **more),
            timeout_s=10,
        )

    async def get(self, path: str, method: str = "GET") -> Any:
        answer = await self.client.request(
            method, self.url + path, headers={}, timeout_s=10, max_bytes=10**6
        )
        return orjson.loads(answer.body)

    async def drain(self, stream: HttpStream, timeout_s: float = 5) -> bytes:
        """Read to the end; what came is kept in `self.got` also when reading fails."""
        self.got = b""
        while block := await stream.read(timeout_s):
            self.got += block
        return self.got

    async def stream(self, model: str, **more: Any) -> tuple[ChatStream, bytes]:
        """Read to the end through ChatStream."""
        reader = ChatStream(
            chat_id="chatcmpl-1", model="m", provider="P", style="openai", include_usage=False
        )
        upstream = await self.open(model, stream_options={"include_usage": True}, **more)
        out = b""
        try:
            while block := await upstream.read(10):
                out += reader.feed(block)
            out += reader.end()
        finally:
            await upstream.aclose()
        return reader, out


@asynccontextmanager
async def running(sandbox: Sandbox) -> AsyncIterator[str]:
    # asyncio sets TCP_NODELAY only on sockets that name their protocol.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(sandbox, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    sandbox, client = Sandbox(), HttpClient()
    async with running(sandbox) as url:
        yield Upstream(sandbox, url, client)
        await client.aclose()


async def test_echo_answers_kindly_and_says_that_it_is_a_sandbox(upstream: Upstream) -> None:
    status, raw = await upstream.ask("echo")
    body = orjson.loads(raw)
    text = body["choices"][0]["message"]["content"]
    assert status == 200
    assert text.startswith(LABEL) and "hello there" in text
    assert body["usage"]["completion_tokens"] > 0
    assert raw == (await upstream.ask("echo"))[1]


async def test_streamed_and_whole_story_are_the_same_with_the_same_counts(
    upstream: Upstream,
) -> None:
    whole = orjson.loads((await upstream.ask("story"))[1])
    reader, out = await upstream.stream("story")
    frames = [orjson.loads(line[6:]) for line in out.split(b"\n\n") if line]
    text = "".join(f["choices"][0]["delta"].get("content", "") for f in frames)
    assert text == whole["choices"][0]["message"]["content"]
    assert reader.usage == whole["usage"]
    assert reader.clean_end


async def test_unknown_models_are_refused(upstream: Upstream) -> None:
    for model in ("gpt", "mock-unknownoption"):
        assert (await upstream.ask(model))[0] == 404


async def test_status_errors_come_as_named(upstream: Upstream) -> None:
    assert (await upstream.ask("mock-err429"))[0] == 429
    assert (await upstream.ask("mock-err503"))[0] == 503
    statuses = [(await upstream.ask("mock-p30-err500"))[0] for _ in range(100)]
    assert statuses.count(500) == 30


async def test_the_limit_ends_the_answer_with_length(upstream: Upstream) -> None:
    reader, _ = await upstream.stream("mock-n50", max_tokens=7)
    assert reader.finish == "length"
    assert reader.usage is not None and reader.usage["completion_tokens"] == 7


@pytest.mark.parametrize("usage", ["last", "finish", "cum", "choice", "groq"])
async def test_usage_is_read_wherever_it_stands(upstream: Upstream, usage: str) -> None:
    model = "mock-n5-in1000-out50" + ("" if usage == "last" else f"-usage.{usage}")
    reader, _ = await upstream.stream(model)
    assert reader.usage is not None
    assert reader.usage["prompt_tokens"] == 1000
    assert reader.usage["completion_tokens"] == 50


async def test_usage_can_be_missing_zero_or_nonsense(upstream: Upstream) -> None:
    assert (await upstream.stream("mock-n2-nousage"))[0].usage is None
    zero = (await upstream.stream("mock-n2-zerousage"))[0].usage
    assert zero is not None and zero["completion_tokens"] == 0
    odd = (await upstream.stream("mock-n2-usage.neg"))[0].usage
    assert odd is not None and odd["prompt_tokens"] == -1


async def test_cut_streams_break_and_never_end_cleanly(upstream: Upstream) -> None:
    stream = await upstream.open("mock-n10-cut3")
    with pytest.raises(ConnectionBroken):
        await upstream.drain(stream)
    await stream.aclose()
    assert upstream.got.count(b"data: ") == 4  # the role and three words


async def test_stalled_streams_stay_silent_until_the_caller_leaves(upstream: Upstream) -> None:
    stream = await upstream.open("mock-n10-stall2")
    with pytest.raises(ReadTimeout):
        await upstream.drain(stream, 0.2)
    await stream.aclose()
    for _ in range(200):
        if upstream.sandbox.left:
            break
        await asyncio.sleep(0.01)
    assert upstream.sandbox.left == 1


async def test_reset_drops_the_connection_without_an_answer(upstream: Upstream) -> None:
    with pytest.raises(ConnectionBroken):
        await upstream.ask("mock-reset")


async def test_broken_answers_come_as_named(upstream: Upstream) -> None:
    assert (await upstream.ask("mock-html"))[1].startswith(b"<!doctype")
    assert not (await upstream.ask("mock-half"))[1].endswith(b"}")
    for model in ("mock-n5-badjson2", "mock-n5-errin2"):
        reader, _ = await upstream.stream(model)
        assert reader.error is not None and reader.started
    reader, _ = await upstream.stream("mock-silent-nodone-nousage")
    assert reader.error is not None and not reader.started
    reader, _ = await upstream.stream("mock-empty")
    assert reader.error is None and reader.finish == "stop" and not reader.started


async def test_framing_variants_read_the_same(upstream: Upstream) -> None:
    _, text = await upstream.stream("mock-n6")
    for model in ("mock-n6-crlf", "mock-n6-comments", "mock-n6-b3", "mock-n6-nodone"):
        reader, same = await upstream.stream(model)
        assert reader.clean_end
        assert same.count(b"data: ") == text.count(b"data: ")


async def test_tools_and_thoughts_count_as_content(upstream: Upstream) -> None:
    reader, _ = await upstream.stream("mock-tools")
    assert reader.started and reader.finish == "tool_calls"
    reader, out = await upstream.stream("mock-think-n2")
    assert b"reasoning_content" in out


async def test_lockstep_releases_one_chunk_at_a_time(upstream: Upstream) -> None:
    stream = await upstream.open("mock-n3-lockstep.a")
    assert b'"role"' in await stream.read(5)
    for word in (b"sandbox", b"w1 ", b"w2 "):
        with pytest.raises(ReadTimeout):
            await stream.read(0.05)
        await upstream.get("/lockstep/a/release", "POST")
        assert word in await stream.read(5)
    assert b"[DONE]" in await upstream.drain(stream)
    assert await upstream.get("/lockstep/a") == {"sent": 3}
    await stream.aclose()


async def test_stats_show_requests_behaviours_and_the_last_body(upstream: Upstream) -> None:
    await upstream.ask("mock-n1", temperature=0.5)
    await upstream.stream("mock-n2")
    stats = await upstream.get("/stats")
    assert stats["requests"] == 2 and stats["streams"] == 1
    assert stats["behaviours"]["n"] == 2
    assert stats["last_body"]["mock-n1"]["temperature"] == 0.5
    assert (await upstream.get("/v1/models"))["data"][0]["id"] == "echo"
    assert (await upstream.get("/healthz"))["sandbox"] is True


async def test_every_choice_gets_its_own_answer(upstream: Upstream) -> None:
    body = orjson.loads((await upstream.ask("mock-n3", n=2))[1])
    assert [c["index"] for c in body["choices"]] == [0, 1]
    assert body["usage"]["completion_tokens"] == 6
