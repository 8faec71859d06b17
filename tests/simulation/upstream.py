"""A provider that follows a script; it bills what its script says, and knows what it sent."""

import asyncio
import random
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from gatewayz.core.errors import UpstreamUnavailable
from gatewayz.net.http import ConnectionBroken
from tests.simulation.world import Process, World

End = Literal["ok", "no usage", "refusal", "cut", "stall", "empty"]
ENDS: list[End] = ["ok", "ok", "ok", "ok", "no usage", "refusal", "cut", "stall", "empty"]
PROMPT_TOKENS = 11


@dataclass(frozen=True)
class Script:
    """`words` of content, one token each, `gap_s` apart; `end` after `cut_after` of them."""

    words: int
    gap_s: float
    end: End
    cut_after: int

    @classmethod
    def draw(cls, chance: random.Random) -> "Script":
        words = chance.choice([1, 3, 12, 30])
        gap_s = chance.choice([0.0, 0.05, 0.7, 4.0])
        return cls(words, gap_s, chance.choice(ENDS), chance.randrange(words + 1))

    def limited(self, tokens: int | None) -> "Script":
        words = self.words if tokens is None else min(self.words, tokens)
        return Script(words, self.gap_s, self.end, min(self.cut_after, words))


def word(number: int) -> str:
    return f"word{number} "


def number_in(body: dict[str, Any]) -> int:
    """Which caller's request this is."""
    return int(body["messages"][0]["content"].split()[1])


class ScriptedClient:
    """In place of `ProviderClient`, for one process."""

    def __init__(self, world: World, process: Process, callers: list[Any]) -> None:
        self._world, self._process, self._callers = world, process, callers

    async def open(self, provider: Any, exchange: Any, **limits: Any) -> "ScriptedStream":
        script = self._script(exchange)
        await self._world.pass_through(self._process, "upstream", "open")
        if script.end == "refusal":
            raise UpstreamUnavailable("The script refuses.", provider=provider.slug)
        return ScriptedStream(self._world, self._process, script)

    async def send(self, provider: Any, exchange: Any, **limits: Any) -> bytes:
        script = self._script(exchange)
        spent_s = script.words * script.gap_s
        if script.end == "stall" or spent_s > limits["timeout_s"]:
            await asyncio.sleep(limits["timeout_s"])
            raise UpstreamUnavailable("The script stalls.", provider=provider.slug)
        await asyncio.sleep(spent_s)
        await self._world.pass_through(self._process, "upstream", "send")
        if script.end in ("refusal", "cut"):
            raise UpstreamUnavailable("The script refuses.", provider=provider.slug)
        words = 0 if script.end == "empty" else script.words
        text = "".join(map(word, range(words)))
        finish = None if script.end == "empty" else "stop"
        choice = {"index": 0, "message": {"role": "assistant", "content": text}}
        answer = {"id": "up", "object": "chat.completion", "created": 1, "model": "echo"}
        answer |= {"choices": [choice | {"finish_reason": finish}]}
        if script.end == "ok":
            answer["usage"] = usage(words)
        return orjson.dumps(answer)

    def _script(self, exchange: Any) -> Script:
        body = orjson.loads(exchange.request.body)
        caller = self._callers[number_in(body)]
        caller.reached_upstream = True
        script: Script = caller.script.limited(body.get("max_tokens"))
        caller.played = script
        return script


class ScriptedStream:
    """As `HttpStream`."""

    status = 200

    def __init__(self, world: World, process: Process, script: Script) -> None:
        self._world, self._process, self._script = world, process, script
        self._next = 0
        self._frames = frames(script)

    async def read(self, timeout_s: float | None = None) -> bytes:
        script = self._script
        if self._next < len(self._frames):
            await asyncio.sleep(script.gap_s)
        await self._world.pass_through(self._process, "upstream", "read")
        if self._next == script.cut_after and script.end in ("cut", "stall"):
            if script.end == "cut":
                raise ConnectionBroken("The script cuts.")
            await asyncio.get_running_loop().create_future()
        if self._next >= len(self._frames):
            return b""
        self._next += 1
        return self._frames[self._next - 1]

    async def aclose(self) -> None: ...


def frames(script: Script) -> list[bytes]:
    words = 0 if script.end == "empty" else script.words
    out = [_frame({"delta": {"content": word(n)}, "finish_reason": None}) for n in range(words)]
    if script.end != "empty":
        out.append(_frame({"delta": {}, "finish_reason": "stop"}))
    if script.end == "ok":
        out.append(_sse({"choices": [], "usage": usage(words)}))
    out.append(b"data: [DONE]\n\n")
    return out


def usage(words: int) -> dict[str, int]:
    total = PROMPT_TOKENS + words
    return {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": words, "total_tokens": total}


def _frame(choice: dict[str, Any]) -> bytes:
    return _sse({"choices": [{"index": 0} | choice]})


def _sse(body: dict[str, Any]) -> bytes:
    head = {"id": "up", "object": "chat.completion.chunk", "created": 1, "model": "echo"}
    return b"data: " + orjson.dumps(head | body) + b"\n\n"
