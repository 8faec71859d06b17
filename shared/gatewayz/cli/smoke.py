"""`gatewayz smoke URL KEY`: a deployment examined from outside, as a caller sees it.

Owns the checks and their lines. Guarantees that the key is printed nowhere, and that a wrong cost,
a buffered stream or a receipt that does not add up fails. Never touches a store.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Annotated, Any

import typer

from gatewayz.core import clock
from gatewayz.dialects.sse import SseParser
from gatewayz.net.http import HttpAnswer, HttpClient, NetError

CHAT = "/v1/chat/completions"
PROMPT = "Count from one to thirty in words, separated by commas."
MAX_TOKENS = 256
TIMEOUT_S = 120.0
MAX_BYTES = 32 * 1024 * 1024
POLL_S = 0.5
# Below this an answer says nothing about buffering: the network has that much jitter.
TELLING_MS = 200
WRONG_KEY = "gw_live_" + "0" * 43
WRONG_MODEL = "no-such/model-for-smoke"
NAME_CHARS = 12


class Failed(Exception):
    """A check that did not hold; the message says what was seen."""


def smoke(
    url: Annotated[str, typer.Argument(help="Address of the deployment.")],
    key: Annotated[
        str, typer.Argument(help="A key that nothing else uses now.", envvar="GATEWAYZ_API_KEY")
    ],
    model: Annotated[str, typer.Option(help="Instead of the cheapest with a price.")] = "",
    wait_s: Annotated[float, typer.Option(help="How long settling may take.", min=0)] = 90.0,
) -> None:
    """Test a deployment from outside: answers, streams, errors, and that the cost is charged.

    Makes four small requests at its own cost; no other request may use the account meanwhile.
    """
    held = asyncio.run(Smoke(url, key, model=model, wait_s=wait_s).run())
    raise typer.Exit(0 if held else 1)


class Smoke:
    """One examination. `costs` is what the answers said, by generation id."""

    def __init__(self, url: str, key: str, *, model: str = "", wait_s: float = 90.0) -> None:
        self._key = key
        self._model = model
        self._wait_s = wait_s
        self._spread_ms = 0.0
        self._stream_id = ""
        self._spent_before: Decimal | None = None
        self._costs: dict[str, Decimal | None] = {}
        self._settled: dict[str, dict[str, Any]] = {}
        self._url = url.rstrip("/").removesuffix("/v1")
        self._http = HttpClient()

    async def run(self) -> bool:
        """Do every check, print a line for each; whether all held."""
        checks: dict[str, Callable[[], Awaitable[str]]] = {
            "health": self._health,
            "models": self._models,
            "credits": self._credits,
            "answer": self._answer,
            "stream": self._stream,
            "messages": self._messages,
            "embeddings": self._embeddings,
            "wrong key": self._wrong_key,
            "wrong model": self._wrong_model,
            "wrong body": self._wrong_body,
            "settled": self._settle,
            "receipts": self._receipts,
            "arrival": self._arrival,
            "charged": self._charged,
        }
        try:
            held = [await self._do(name, check) for name, check in checks.items()]
        finally:
            await self._http.aclose()
        self._say(f"{held.count(True)} of {len(held)} checks hold.")
        return all(held)

    async def _do(self, name: str, check: Callable[[], Awaitable[str]]) -> bool:
        try:
            line, held = await check(), True
        except Failed as failure:
            line, held = str(failure), False
        except NetError as error:
            line, held = f"{type(error).__name__}: {error}", False
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:
            line, held = f"an answer of another shape ({type(error).__name__}: {error})", False
        self._say(f"{'ok  ' if held else 'FAIL'}  {name:{NAME_CHARS}}{line}")
        return held

    def _say(self, line: str) -> None:
        print(line.replace(self._key, "…") if self._key else line, flush=True)

    def _headers(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        own = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        return own | dict(more or {})

    async def _get(self, path: str) -> HttpAnswer:
        return await self._http.request(
            "GET", self._url + path, headers=self._headers(), timeout_s=TIMEOUT_S,
            max_bytes=MAX_BYTES,
        )  # fmt: skip

    async def _post(
        self, path: str, body: dict[str, Any], more: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        return await self._http.request(
            "POST", self._url + path, headers=self._headers(more), body=_dump(body),
            timeout_s=TIMEOUT_S, max_bytes=MAX_BYTES,
        )  # fmt: skip

    async def _ask(self, body: dict[str, Any], more: Mapping[str, str] | None = None) -> HttpAnswer:
        return await self._post(CHAT, body, more)

    # ------------------------------------------------------------ what is there

    async def _health(self) -> str:
        body = _body(await self._get("/health"))
        stores = ", ".join(f"{name} {state}" for name, state in body["stores"].items())
        _must(body["status"] == "ok", f"{body['status']}: {stores}")
        return f"version {body['version']}; {stores}"

    async def _models(self) -> str:
        listed = _body(await self._get("/v1/models"))["data"]
        _must(bool(listed), "the list is empty")
        priced = {
            item["id"]: price
            for item in listed
            if (price := Decimal(item["pricing"]["completion"])) > 0
            and "text" in item["architecture"]["output_modalities"]
        }
        if not self._model:
            _must(bool(priced), "no model has a price: name one with --model")
            self._model = min(priced, key=lambda name: priced[name])
        return f"{len(listed)} listed; {self._model} is asked"

    async def _credits(self) -> str:
        body = _body(await self._get("/v1/credits"))["data"]
        self._spent_before = Decimal(body["total_usage"])
        _must(Decimal(body["balance"]) > 0, f"nothing to spend: balance ${body['balance']}")
        return f"balance ${body['balance']}"

    # ------------------------------------------------------------ requests that cost

    async def _answer(self) -> str:
        answer = await self._ask(self._question())
        body = _body(answer)
        generation = _check_headers(answer)
        _must(body["object"] == "chat.completion", f"object is {body['object']!r}")
        _must("message" in body["choices"][0], "no message")
        cost = _cost_of(body["usage"])
        self._costs[generation] = cost
        return f"{body['usage']['completion_tokens']} tokens, ${cost:f}, by {_provider(answer)}"

    async def _stream(self) -> str:
        events = await self._events()
        _must(events[-1:] == [b"[DONE]"], "it does not end with [DONE]")
        chunks = [_parse(data) for data in events[:-1]]
        _must(not any("error" in chunk for chunk in chunks), "it holds an error")
        usages = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
        _must(len(usages) == 1, f"{len(usages)} usages, not one")
        cost = _cost_of(usages[0])
        self._costs[self._stream_id] = cost
        return f"{len(chunks)} events in {self._spread_ms:.0f} ms, usage, ${cost:f}, [DONE]"

    async def _events(self) -> list[bytes]:
        """The data of a stream's events; notes whose it was and how far apart they came."""
        body = self._question() | {"stream": True, "stream_options": {"include_usage": True}}
        stream = await self._http.open(
            "POST", f"{self._url}{CHAT}", headers=self._headers(), body=_dump(body),
            timeout_s=TIMEOUT_S,
        )  # fmt: skip
        parser, events, arrived_s = SseParser(MAX_BYTES), list[bytes](), list[float]()
        text = b""
        try:
            while block := await stream.read(TIMEOUT_S):
                text += block
                found = [event.data for event in parser.feed(block)]
                events += found
                arrived_s += [clock.monotonic_s()] * len(found)
        finally:
            await stream.aclose()
        answer = HttpAnswer(stream.status, stream.headers, text)
        _must(stream.status == 200, _what(answer))
        self._stream_id = _check_headers(answer)
        kind = stream.headers.get("content-type", "")
        _must(kind.startswith("text/event-stream"), f"content type {kind!r}")
        _must(bool(events), "it is empty")
        self._spread_ms = (arrived_s[-1] - arrived_s[0]) * 1000
        return events

    async def _messages(self) -> str:
        more = {"x-api-key": self._key}
        answer = await self._post("/v1/messages", self._question(), more)
        body = _body(answer)
        self._costs[_check_headers(answer)] = None  # told by the look-up
        _must(body["type"] == "message", f"type is {body['type']!r}")
        _must(isinstance(body["content"], list), "no content")
        return f"{body['usage']['output_tokens']} tokens, {body['stop_reason']}"

    async def _embeddings(self) -> str:
        """The cheapest embedding model there is; a deployment may have none."""
        listed = _body(await self._get("/v1/embeddings/models"))["data"]
        prices = {item["id"]: Decimal(item["pricing"]["prompt"]) for item in listed}
        priced = {name: price for name, price in prices.items() if price > 0}
        if not priced:
            return "no model with a price is listed, so none is asked"
        model = min(priced, key=lambda name: priced[name])
        answer = await self._post("/v1/embeddings", {"model": model, "input": PROMPT})
        body = _body(answer)
        generation = _check_headers(answer)
        vector = body["data"][0]["embedding"]
        _must(len(vector) > 1 and isinstance(vector[0], Decimal | int), "no vector")
        cost = _cost_of(body["usage"])
        self._costs[generation] = cost
        return f"{len(vector)} numbers, ${cost:f}, by {_provider(answer)}"

    def _question(self) -> dict[str, Any]:
        _must(bool(self._model), "no model is known")
        message = {"role": "user", "content": PROMPT}
        return {"model": self._model, "max_tokens": MAX_TOKENS, "messages": [message]}

    # ------------------------------------------------------------ errors

    async def _wrong_key(self) -> str:
        answer = await self._ask(self._question(), {"authorization": f"Bearer {WRONG_KEY}"})
        return _check_error(answer, 401)

    async def _wrong_model(self) -> str:
        answer = await self._ask(self._question() | {"model": WRONG_MODEL})
        return _check_error(answer, 404)

    async def _wrong_body(self) -> str:
        answer = await self._ask({"model": self._model})
        return _check_error(answer, 400)

    # ------------------------------------------------------------ the books

    async def _settle(self) -> str:
        _must(bool(self._costs), "no request to look up")
        started_s = clock.monotonic_s()
        waiting = set(self._costs)
        while waiting:
            for generation in sorted(waiting):
                row = _body(await self._get(f"/v1/generation?id={generation}"))["data"]
                if row["state"] == "settled":
                    self._settled[generation] = row
            waiting -= self._settled.keys()
            passed_s = clock.monotonic_s() - started_s
            _must(
                not waiting or passed_s < self._wait_s,
                f"{len(waiting)} of {len(self._costs)} not settled after {passed_s:.0f} s:"
                " does the settle worker run?",
            )
            if waiting:
                await clock.sleep(POLL_S)
        for generation, cost in self._costs.items():
            charged = Decimal(self._settled[generation]["total_cost"])
            _must(cost in (None, charged), f"{generation}: told ${cost}, charged ${charged}")
        return f"{len(self._settled)} requests, each at the cost that was told"

    async def _receipts(self) -> str:
        _must(bool(self._settled), "nothing is settled")
        for generation in self._settled:
            receipt = _body(await self._get(f"/v1/generation/{generation}/explain"))["data"]
            _must(receipt["matches"] is True, f"{generation}: the receipt does not add up")
        return "units × price is what was charged"

    async def _arrival(self) -> str:
        """Did the stream's events arrive as they were made, or at once at the end?"""
        _must(self._stream_id in self._settled, "no stream is settled")
        made_ms = self._settled[self._stream_id]["generation_time"] or 0
        if made_ms < TELLING_MS:
            return f"made in {made_ms} ms, too quick to tell whether something buffers"
        _must(
            self._spread_ms * 2 > made_ms,
            f"made in {made_ms} ms, arrived in {self._spread_ms:.0f} ms: something buffers it",
        )
        return f"made in {made_ms} ms, arrived in {self._spread_ms:.0f} ms"

    async def _charged(self) -> str:
        _must(self._spent_before is not None, "the credits before are not known")
        _must(self._settled.keys() == self._costs.keys(), "not everything is settled")
        body = _body(await self._get("/v1/credits"))["data"]
        moved = Decimal(body["total_usage"]) - (self._spent_before or 0)
        told = sum((Decimal(row["total_cost"]) for row in self._settled.values()), Decimal(0))
        _must(moved == told, f"credits moved by ${moved:f}, the requests cost ${told:f}")
        return f"credits moved by ${moved:f}, which is what the requests cost"


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Failed(otherwise)


def _dump(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def _parse(text: bytes) -> Any:
    return json.loads(text, parse_float=Decimal)


def _what(answer: HttpAnswer) -> str:
    return f"HTTP {answer.status}: {answer.body[:200].decode(errors='replace')!r}"


def _body(answer: HttpAnswer) -> dict[str, Any]:
    """The object of a 200; money in it is exact."""
    _must(answer.status == 200, _what(answer))
    body = _parse(answer.body)
    _must(isinstance(body, dict), "not an object")
    return body  # type: ignore[no-any-return]


def _check_headers(answer: HttpAnswer) -> str:
    """The generation id; every answer has three headers that belong together."""
    request = answer.headers.get("x-request-id", "")
    generation: str = answer.headers.get("x-generation-id", "")
    _must(request.startswith("req_"), f"X-Request-ID is {request!r}")
    _must(generation == "gen-" + request[4:], f"X-Generation-Id is {generation!r}")
    _must(bool(answer.headers.get("x-provider")), "no X-Provider")
    return generation


def _provider(answer: HttpAnswer) -> str:
    return str(answer.headers["x-provider"])


def _cost_of(usage: dict[str, Any]) -> Decimal:
    _must("cost" in usage, "usage tells no cost")
    return Decimal(usage["cost"])


def _check_error(answer: HttpAnswer, status: int) -> str:
    """An error as the SDKs expect it: object with message, type and code; an id to ask about."""
    _must(answer.status == status, _what(answer))
    error = _parse(answer.body)["error"]
    missing = {"message", "type", "code"} - error.keys()
    _must(not missing, f"the error lacks {', '.join(sorted(missing))}")
    _must(bool(answer.headers.get("x-request-id")), "no X-Request-ID")
    return f"{status} {error['code']}"
