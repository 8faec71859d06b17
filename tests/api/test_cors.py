"""Browsers: what a page on another origin may do, on both planes."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from gatewayz.core.settings import Settings
from tests.world import World

PAGE = "https://app.example"
PATHS = ["/v1/chat/completions", "/api/v1/chat/completions", "/v1/credits", "/api/v1/models"]
ASKING = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-lang",
}


@pytest.mark.parametrize("path", PATHS)
async def test_a_browser_may_ask_first(world: World, path: str) -> None:
    answer = await world.client.options(path, headers=ASKING)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "x-stainless-lang" in answer.headers["access-control-allow-headers"]
    assert "authorization" in answer.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in answer.headers


async def test_a_page_can_read_a_stream_and_its_headers(world: World) -> None:
    account = await world.account()
    body = {"model": "sandbox/echo", "messages": [{"role": "user", "content": "x"}], "stream": True}
    headers = {**account.headers, "origin": PAGE}
    async with world.client.stream(
        "POST", "/v1/chat/completions", json=body, headers=headers
    ) as answer:
        assert answer.headers["access-control-allow-origin"] == "*"
        exposed = answer.headers["access-control-expose-headers"]
        for name in ("x-request-id", "x-generation-id", "x-provider"):
            assert name in exposed
            assert answer.headers[name]
        assert (await answer.aread()).endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/credits", "/v1/nothing"])
async def test_a_page_can_read_errors_too(world: World, path: str) -> None:
    answer = await world.client.get(path, headers={"origin": PAGE})
    assert answer.status_code in (401, 404, 405)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert len(answer.headers.get_list("x-request-id")) == 1
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


class TestNamedOrigins:
    @pytest.fixture
    def tune(self) -> Callable[[Settings], Settings]:
        def named(settings: Settings) -> Settings:
            http = replace(settings.http, cors_origins=PAGE, cors_credentials=True)
            return replace(settings, http=http)

        return named

    @pytest.mark.parametrize("path", PATHS)
    async def test_only_they_are_echoed_and_may_send_cookies(self, world: World, path: str) -> None:
        for origin, allowed in ((PAGE, True), ("https://evil.example", False)):
            for answer in (
                await world.client.options(path, headers={**ASKING, "origin": origin}),
                await world.client.get(path, headers={"origin": origin}),
            ):
                shown = answer.headers.get("access-control-allow-origin")
                assert shown == (PAGE if allowed else None)
                assert ("access-control-allow-credentials" in answer.headers) is allowed
                assert "origin" in answer.headers["vary"]
