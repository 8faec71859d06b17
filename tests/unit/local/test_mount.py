"""All functions under one port: each path reaches its own function, and only one claims it."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from gatewayz.local.errors import LocalError
from gatewayz.local.mount import Mount, mount_functions

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Named:
    """An application that says its name; `failure` is what its startup says."""

    def __init__(self, name: str, log: list[str], failure: str | None = None) -> None:
        self.name, self.log, self.failure = name, log, failure

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.log.append(self.name)
            return
        while True:
            moment = (await receive())["type"].removeprefix("lifespan.")
            self.log.append(f"{self.name} {moment}")
            if self.failure:
                await send({"type": f"lifespan.{moment}.failed", "message": self.failure})
                return
            await send({"type": f"lifespan.{moment}.complete"})
            if moment == "shutdown":
                return


async def silent(scope: Message, receive: Receive, send: Send) -> None:
    """Knows no lifespan and says so, as ASGI has it, by raising."""
    raise NotImplementedError


async def reached(mount: Mount, log: list[str], path: str) -> str:
    async def nothing(*_: Any) -> Any:
        raise AssertionError("no function asks for anything here")

    await mount({"type": "http", "path": path}, nothing, nothing)
    return log.pop()


async def test_exact_paths_win_over_patterns_and_the_rest_falls_to_chat() -> None:
    log: list[str] = []
    mount = Mount()
    mount.add("chat", Named("chat", log), ["/v1/chat/completions"])
    mount.add("models", Named("models", log), ["/v1/models", "/v1/models/{id:path}"])
    mount.add("usage", Named("usage", log), ["/v1/generation/{id}/explain", "/v1/models/all"])
    assert await reached(mount, log, "/v1/chat/completions") == "chat"
    assert await reached(mount, log, "/v1/models") == "models"
    assert await reached(mount, log, "/v1/models/meta-llama/llama-3.3:free") == "models"
    assert await reached(mount, log, "/v1/models/all") == "usage"
    assert await reached(mount, log, "/v1/generation/gen-1/explain") == "usage"
    assert await reached(mount, log, "/v1/generation/a/b/explain") == "chat"
    assert await reached(mount, log, "/v1xmodels") == "chat"


def test_two_functions_cannot_claim_one_path() -> None:
    mount = Mount()
    mount.add("chat", silent, ["/v1/models"])
    with pytest.raises(LocalError, match="/v1/models is served by chat and by models"):
        mount.add("models", silent, ["/v1/models"])


async def test_an_id_may_hold_whatever_a_path_can_say() -> None:
    log: list[str] = []
    mount = Mount()
    mount.add("models", Named("models", log), ["/v1/models/{model:path}"])
    mount.add("chat", Named("chat", log), ["/v1/models/{model:path}:generateContent"])
    assert await reached(mount, log, "/v1/models/a/b\n(c:generateContent") == "chat"


async def live(mount: Mount) -> list[Message]:
    """The mount's own lifespan from start to stop; what it sent."""
    sent: list[Message] = []
    moments = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Message:
        return dict(next(moments))

    async def send(message: Message) -> None:
        sent.append(message)

    await mount({"type": "lifespan"}, receive, send)
    return sent


async def test_every_function_starts_and_stops_with_the_mount() -> None:
    log: list[str] = []
    mount = Mount()
    mount.add("chat", Named("chat", log), ["/a"])
    mount.add("silent", silent, ["/b"])
    mount.add("keys", Named("keys", log), ["/c"])
    sent = await live(mount)
    assert log == ["chat startup", "keys startup", "chat shutdown", "keys shutdown"]
    assert [m["type"] for m in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_function_that_cannot_start_stops_the_start_and_is_named() -> None:
    mount = Mount()
    mount.add("chat", Named("chat", [], failure="DATABASE_URL is not set"), ["/a"])
    [sent] = await live(mount)
    assert sent["type"] == "lifespan.startup.failed"
    assert mount.failure == "chat: DATABASE_URL is not set"


def test_the_functions_of_this_repository_mount_together() -> None:
    mount_functions()
