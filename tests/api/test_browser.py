"""A page's SDK against the gateway, by the rules that a browser enforces (Fetch, CORS protocol)."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gatewayz.core.settings import Settings
from tests.world import World

PAGE = "https://app.example"
SAFE_METHODS = {"GET", "HEAD", "POST"}
SAFE_HEADERS = {"accept", "accept-language", "content-language"}
SAFE_ANSWERS = {"cache-control", "content-language", "content-length", "content-type", "expires"}
# What the OpenAI SDK sends from a page (dangerouslyAllowBrowser), and Anthropic's.
OPENAI = {
    "content-type": "application/json", "x-stainless-lang": "js", "x-stainless-runtime": "browser",
    "x-stainless-retry-count": "0", "x-stainless-timeout": "600",
}  # fmt: skip
ANTHROPIC = OPENAI | {
    "anthropic-version": "2023-06-01",
    "anthropic-dangerous-direct-browser-access": "true",
}


class Blocked(Exception):
    """The browser shows the page nothing but a network error."""


class Browser:
    """`fetch` of a page at `origin`; `credentials` as its `credentials: "include"`."""

    def __init__(self, client: httpx.AsyncClient, *, credentials: bool = False) -> None:
        self._client, self._credentials = client, credentials
        self.origin, self.preflights = PAGE, 0

    @asynccontextmanager
    async def fetch(
        self, method: str, path: str, headers: dict[str, str], body: Any = None
    ) -> AsyncIterator["Shown"]:
        unsafe = {name.lower() for name in headers} - SAFE_HEADERS
        if method not in SAFE_METHODS or unsafe:
            await self._preflight(method, path, sorted(unsafe))
        sent = {**headers, "origin": self.origin}
        async with self._client.stream(method, path, headers=sent, json=body) as answer:
            self._check(answer)
            yield Shown(answer, self._exposed(answer))

    async def _preflight(self, method: str, path: str, names: list[str]) -> None:
        self.preflights += 1
        asking = {
            "origin": self.origin,
            "access-control-request-method": method,
            "access-control-request-headers": ",".join(names),
        }
        answer = await self._client.options(path, headers=asking)
        self._check(answer)
        if not 200 <= answer.status_code < 300:
            raise Blocked(f"the preflight got {answer.status_code}")
        methods = _words(answer, "access-control-allow-methods")
        if method.lower() not in methods and not ("*" in methods and not self._credentials):
            raise Blocked(f"{method} is not allowed")
        allowed = _words(answer, "access-control-allow-headers")
        for name in names:
            wild = "*" in allowed and not self._credentials and name != "authorization"
            if name not in allowed and not wild:
                raise Blocked(f"the header {name} is not allowed")

    def _check(self, answer: httpx.Response) -> None:
        origins = answer.headers.get_list("access-control-allow-origin")
        if len(origins) != 1:
            raise Blocked(f"{len(origins)} allowed origins")
        if origins[0] == "*" and not self._credentials:
            return
        if origins[0] != self.origin:
            raise Blocked(f"{origins[0]} is another origin")
        if self._credentials and answer.headers.get("access-control-allow-credentials") != "true":
            raise Blocked("cookies are not allowed")

    def _exposed(self, answer: httpx.Response) -> set[str]:
        return _words(answer, "access-control-expose-headers") | SAFE_ANSWERS


class Shown:
    """What the page may see of an answer."""

    def __init__(self, answer: httpx.Response, exposed: set[str]) -> None:
        self._answer = answer
        self.status = answer.status_code
        self.headers = {n: v for n, v in answer.headers.items() if n in exposed}

    async def text(self) -> str:
        return (await self._answer.aread()).decode()

    async def blocks(self) -> list[str]:
        """As `response.body.getReader()` gives them."""
        return [block.decode() async for block in self._answer.aiter_raw()]


def _words(answer: httpx.Response, name: str) -> set[str]:
    return {word.strip().lower() for word in answer.headers.get(name, "").split(",") if word}


BODIES: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", OPENAI, {}),
    "OpenRouter": ("/api/v1/chat/completions", OPENAI | {"http-referer": PAGE, "x-title": "x"}, {}),
    "Anthropic": ("/v1/messages", ANTHROPIC, {"max_tokens": 20}),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_pages_sdk_reads_a_stream_as_it_comes(world: World, name: str) -> None:
    path, headers, more = BODIES[name]
    account = await world.account()
    key = {"x-api-key": account.key} if name == "Anthropic" else account.headers
    messages = [{"role": "user", "content": "hi"}]
    body = {"model": "sandbox/mock-n5-d5", "messages": messages, "stream": True} | more
    browser = Browser(world.client)
    async with browser.fetch("POST", path, {**headers, **key}, body) as shown:
        assert shown.status == 200 and browser.preflights == 1
        assert shown.headers["content-type"].startswith("text/event-stream")
        assert {"x-request-id", "x-generation-id", "x-provider"} <= set(shown.headers)
        blocks = await shown.blocks()
    assert len(blocks) > 2, "it came in one piece"
    assert "w4" in "".join(blocks)


async def test_a_page_reads_models_and_why_it_was_refused(world: World) -> None:
    browser = Browser(world.client)
    async with browser.fetch("GET", "/v1/models", {}) as shown:
        assert shown.status == 200 and "sandbox/echo" in await shown.text()
    assert browser.preflights == 0, "a plain GET asks for nothing first"
    bad = {"authorization": "Bearer gw_test_no", **OPENAI}
    async with browser.fetch("POST", "/v1/chat/completions", bad, {"model": "x"}) as shown:
        assert shown.status == 401 and "invalid_api_key" in await shown.text()


class TestCookies:
    @pytest.fixture
    def tune(self) -> Callable[[Settings], Settings]:
        def named(settings: Settings) -> Settings:
            http = replace(settings.http, cors_origins=PAGE, cors_credentials=True)
            return replace(settings, http=http)

        return named

    async def test_a_named_page_may_send_them_and_another_sees_nothing(self, world: World) -> None:
        account = await world.account()
        body = {"model": "sandbox/echo", "messages": [{"role": "user", "content": "hi"}]}
        headers = {**OPENAI, **account.headers}
        ours = Browser(world.client, credentials=True)
        async with ours.fetch("POST", "/v1/chat/completions", headers, body) as shown:
            assert shown.status == 200
        other = Browser(world.client, credentials=True)
        other.origin = "https://evil.example"
        with pytest.raises(Blocked):
            async with other.fetch("POST", "/v1/chat/completions", headers, body):
                pass
        await world.settle()
        assert len(await world.requests(account)) == 1, "the other's request was never sent"
