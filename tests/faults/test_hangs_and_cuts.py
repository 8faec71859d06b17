"""Upstreams that hang, break off or chatter: a true status before content, a true end after it."""

import asyncio
from typing import Any

import orjson
import pytest

from gatewayz.pricing.estimate import likely_tokens
from tests.fakes.upstream import Act, RawRequest, RawUpstream, Step, answer, chunk, event_stream
from tests.faults.scene import INPUT, OUTPUT, Scene, content_of, error_of, frames_of
from tests.faults.upstreams import (
    EVENTS,
    FULL_CHARGE,
    ORDERED,
    SAID,
    USAGE,
    ask,
    deaf,
    providers_file,
    sse,
)

__all__ = ["deaf", "providers_file"]


def brief(**choice: Any) -> dict[str, Any]:
    return {"id": "c", "object": "o", "model": "m", "choices": [{"index": 0} | choice]}


# What EVENTS says in fewer bytes: each of them is a request.
BRIEF = [
    brief(delta={"content": "Hé \n"}),
    brief(delta={"content": "wörld"}),
    brief(delta={}, finish_reason="stop"),
    {"choices": [], "usage": USAGE},
]

# ------------------------------------------------------------------ F31


async def ask_all(world: Scene, asked: list[tuple[str, bool]], **fields: Any) -> list[Any]:
    """(account, status, text) of each (model, stream), all at once."""
    accounts = [await world.account() for _ in asked]

    async def one(account: Any, model: str, stream: bool) -> tuple[Any, int, str]:
        if stream:
            status, _, text = await world.stream(account, model, **fields)
            return account, status, text
        got = await world.post(account, model, **fields)
        return account, got.status_code, got.text

    return await asyncio.gather(
        *[one(account, *what) for account, what in zip(accounts, asked, strict=True)]
    )


async def test_F31_a_hang_before_content_has_its_own_class(world: Scene, raw: RawUpstream) -> None:
    raw.play = lambda request: [Act.HANG]
    stages = {
        ("full/x", True): "connect",
        ("full/x", False): "connect",
        ("mute/x", True): "connect",
        ("mute/x", False): "connect",
        ("slow/x", True): "first_token",
        ("slow/x", False): "total",
    }
    asked = list(stages)
    got = await ask_all(world, asked, path="/api/v1/chat/completions")
    for what, (account, status, text) in zip(asked, got, strict=True):
        told = orjson.loads(text)["error"]["metadata"]
        assert (status, told["code"]) == (504, "upstream_timeout"), what
        assert told["stage"] == stages[what], what
        row = await world.one(account)
        assert (row["outcome"], row["charge_nanos"]) == ("failed", 0)
        assert [attempt["error"] for attempt in row["attempts"]] == ["UpstreamTimeout"]


async def test_F31_a_hang_before_content_goes_to_the_next_offer(
    world: Scene, raw: RawUpstream
) -> None:
    raw.play = lambda request: [Act.HANG]
    asked = [(f"{n}-or-spare/d0", s) for n in ("full", "mute", "slow") for s in (True, False)]
    for account, status, text in await ask_all(world, asked, provider=ORDERED):
        assert status == 200, text
        row = await world.one(account)
        assert row["outcome"] == "completed" and row["provider"] == "spare"
        assert [a["error"] for a in row["attempts"]] == ["UpstreamTimeout", None]
        units = {line[0]: line[1] for line in row["lines"]}
        assert row["charge_nanos"] == units["input"] * INPUT + 3 * OUTPUT


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/chat/completions"])
async def test_F31_a_hang_between_chunks_ends_with_an_error_and_a_partial_charge(
    world: Scene, path: str
) -> None:
    account, status, text = await ask(world, "quick/mock-n9-stall3", stream=True, path=path)
    error = error_of(text.removesuffix("data: [DONE]\n\n"))
    assert status == 200 and error is not None
    assert (text[-14:] == "data: [DONE]\n\n") == path.startswith("/api")
    assert "upstream_timeout" in (error["code"], error.get("metadata", {}).get("code"))
    row = await world.one(account)
    assert (row["outcome"], row["estimated"]) == ("cut", True)
    units = {line[0]: line[1] for line in row["lines"]}
    assert units["output"] == likely_tokens(content_of(text)) > 0
    assert row["charge_nanos"] == units["input"] * INPUT + units["output"] * OUTPUT


# ------------------------------------------------------------------ F32


@pytest.mark.parametrize("how", ["chunked", "to the end of the connection"])
async def test_F32_a_stream_cut_at_every_byte(world: Scene, raw: RawUpstream, how: str) -> None:
    """No exception escapes, what was said is a prefix, the charge is at most the full one."""
    stream = sse(events=BRIEF)
    full = SAID

    def play(request: RawRequest) -> list[Step]:
        part = stream[: int(request.json["model"].removeprefix("cut"))]
        if how == "chunked":
            return [event_stream(chunked=True), chunk(part) if part else b"", Act.CUT]
        return [event_stream(), part]

    raw.play = play
    account = await world.account(usd=1000)
    room = asyncio.Semaphore(32)

    async def one(offset: int) -> tuple[int, int, str]:
        async with room:
            status, _, text = await world.stream(account, f"raw/cut{offset}")
            return offset, status, text

    finish = stream.index(b'"stop"')
    whole = stream.index(b"\n\n", finish) + 2
    for offset, status, text in await asyncio.gather(*[one(n) for n in range(len(stream))]):
        if status != 200:
            assert status == 502, (offset, text)
            assert orjson.loads(text)["error"]["code"] == "upstream_invalid_response"
            assert offset < stream.index(b"w\xc3\xb6rld")
            continue
        said = content_of(text)
        assert full.startswith(said) and said, (offset, text)
        complete = text.endswith("data: [DONE]\n\n")
        assert complete == (error_of(text) is None), (offset, text)
        assert complete == (offset >= whole) or offset in (whole - 2, whole - 1), (offset, text)
        if complete:
            assert said == full
    await world.quiet()
    assert await world.settle() == len(stream)
    rows = await world.sql("select charge_nanos, outcome from ledger.requests")
    assert len(rows) == len(stream)
    assert max(row["charge_nanos"] for row in rows) <= FULL_CHARGE
    assert {row["outcome"] for row in rows} <= {"failed", "cut", "completed"}


# ------------------------------------------------------------------ F33, F34, F35-like


NO_ANSWERS = {
    "HTML": answer(b"<html>welcome</html>", kind="text/html"),
    "empty": answer(b""),
    "wrong type": answer(b'["no", "completion"]'),
    "a number": answer(b"42"),
    "no choices": answer(b'{"id":"x","choices":[]}'),
    "half JSON": answer(b'{"id":"x","choices":[{"message":{"content":"he'),
    "invalid UTF-8": answer(b'{"choices":[{"message":{"content":"\xff\xfe"}}]}'),
    "no answer at all": b"",
    "no HTTP": b"220 smtp ready\r\n\r\n",
}
NO_STREAMS = {
    "HTML": answer(b"<html>welcome</html>", kind="text/html"),
    "JSON": answer(b'{"choices":[]}'),
    "empty": event_stream(),
    "wrong type": event_stream() + b'data: ["no"]\n\n',
    "HTML as events": event_stream() + b"<html>\n\nwelcome\n\n",
    "invalid UTF-8": event_stream() + b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
    "only done": event_stream() + b"data: [DONE]\n\n",
    "no answer at all": b"",
}


@pytest.mark.parametrize("stream", [False, True])
async def test_F33_what_is_no_answer_is_never_delivered_nor_charged(
    world: Scene, raw: RawUpstream, stream: bool
) -> None:
    for name, bytes_ in (NO_STREAMS if stream else NO_ANSWERS).items():
        raw.play = lambda request, b=bytes_: [b]
        account, status, text = await ask(world, "raw/x", stream=stream)
        if name == "only done":
            # The upstream ended properly and said nothing: an empty answer, free of charge.
            row = await world.one(account)
            assert (row["charge_nanos"], row["outcome"]) == (0, "empty"), name
            continue
        assert status == 502, (name, text)
        body = orjson.loads(text)
        assert body["error"]["code"] == "upstream_invalid_response", name
        assert body["request_id"].startswith("req_")
        assert "welcome" not in text and "smtp" not in text
        row = await world.one(account)
        assert (row["charge_nanos"], row["outcome"]) == (0, "failed"), name
        assert [a["error"] for a in row["attempts"]] == ["UpstreamBroken"], name

        account, status, text = await ask(world, "raw-or-spare/d0", stream=stream, provider=ORDERED)
        assert status == 200, (name, text)
        row = await world.one(account)
        assert (row["provider"], row["outcome"]) == ("spare", "completed"), name


def _variants() -> dict[str, list[Step]]:
    plain = sse()
    head = event_stream()
    halves = "".join(
        "data: " + part + "\n"
        for event in EVENTS
        for part in (*orjson.dumps(event, option=orjson.OPT_INDENT_2).decode().split("\n"), "\0")
    ).replace("data: \0\n", "\n")
    return {
        "plain": [head, plain],
        "every byte alone": [head, *[plain[i : i + 1] for i in range(len(plain))]],
        "CRLF": [head, sse(end="\r\n\r\n")],
        "CR": [head, sse(end="\r\r")],
        "CRLF, every byte alone": [head, *[bytes([b]) for b in sse(end="\r\n\r\n")]],
        "BOM": [head, b"\xef\xbb\xbf", plain],
        "comments": [head, b": hi\n\n" + plain.replace(b"\n\n", b"\n\n: ping\n\n", 3)],
        "other fields": [head, b"retry: 10\nid: 7\n" + plain.replace(b"data:", b"event: x\ndata:")],
        "no space": [head, plain.replace(b"data: ", b"data:")],
        "multi-line data": [head, halves.encode() + b"data: [DONE]\n\n"],
        "no [DONE]": [head, sse(done=False)],
        "no last blank line": [head, sse(done=False)[:-1]],
        "chunked": [event_stream(chunked=True), chunk(plain[:99]), chunk(plain[99:]), chunk(b"")],
    }


async def test_F34_one_parse_however_the_events_are_written(world: Scene, raw: RawUpstream) -> None:
    seen = {}
    for name, steps in _variants().items():
        raw.play = lambda request, steps=steps: steps
        account, status, text = await ask(
            world, "raw/x", stream=True, stream_options={"include_usage": True}
        )
        assert status == 200 and text.endswith("data: [DONE]\n\n"), (name, text)
        assert content_of(text) == SAID, name
        row = await world.one(account)
        assert (row["outcome"], row["charge_nanos"]) == ("completed", FULL_CHARGE), name
        frames = frames_of(text)
        assert len({frame.pop("id") for frame in frames}) == 1
        seen[name] = frames
    for name, frames in seen.items():
        assert frames == seen["plain"], name
