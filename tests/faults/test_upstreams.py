"""Upstreams that hang, break, lie or chatter: a true status before content, a true end after it."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gatewayz.pricing.estimate import likely_tokens
from tests.fakes.upstream import Act, RawRequest, RawUpstream, Step, answer, chunk, event_stream
from tests.faults.scene import INPUT, OUTPUT, Scene, content_of, error_of, frames_of

SECRET = "zq9X8w7V6u5T4s3R2q1P0o9N8m7L"
PROVIDERS = """
[raw]
name = "Raw"
dialect = "openai_chat"
base_url = "{raw}/v1"
credential = "TEST_RAW_KEY"
local = true
[quick]
name = "Quick"
dialect = "openai_chat"
base_url = "{sandbox}/v1"
local = true
timeouts = {{ idle_s = 0.3 }}
[slow]
name = "Slow"
dialect = "openai_chat"
base_url = "{raw}/v1"
local = true
timeouts = {{ first_token_s = 0.3, total_s = 0.3 }}
[full]
name = "Full"
dialect = "openai_chat"
base_url = "http://127.0.0.1:{full}/v1"
local = true
[mute]
name = "Mute"
dialect = "openai_chat"
base_url = "https://127.0.0.1:{mute}/v1"
local = true
[spare]
name = "Spare"
dialect = "openai_chat"
base_url = "{sandbox}/v1"
local = true
[[models]]
id = "raw/*"
provider = "raw"
native_id = "*"
input = 0.5
output = 1.5
[[models]]
id = "quick/*"
provider = "quick"
native_id = "*"
input = 0.5
output = 1.5
"""
PAIR = """
[[models]]
id = "{first}-or-spare/*"
[[models.offers]]
provider = "{first}"
native_id = "mock-hang-*"
input = 50
output = 50
[[models.offers]]
provider = "spare"
native_id = "mock-n3-b{number}-*"
input = 0.5
output = 1.5
"""
ALONE = """
[[models]]
id = "{first}/x"
provider = "{first}"
native_id = "x"
input = 0.5
output = 1.5
"""


@pytest.fixture
def deaf() -> Iterator[tuple[int, int]]:
    """Two ports: one whose backlog is full, so that connecting hangs; one that takes connections
    and never says a word, so that TLS hangs."""
    full, mute = socket.socket(), socket.socket()
    fillers = []
    for made in (full, mute):
        made.bind(("127.0.0.1", 0))
    full.listen(0)
    mute.listen(64)
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
        fillers.append(filler)
    yield full.getsockname()[1], mute.getsockname()[1]
    for made in (full, mute, *fillers):
        made.close()


@pytest.fixture
def providers_file(
    raw: RawUpstream,
    sandbox: tuple[Any, str],
    deaf: tuple[int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    monkeypatch.setenv("TEST_RAW_KEY", SECRET)
    file = tmp_path / "providers.toml"
    text = PROVIDERS.format(raw=raw.url, sandbox=sandbox[1], full=deaf[0], mute=deaf[1])
    for number, first in enumerate(("raw", "slow", "full", "mute"), 1):
        text += PAIR.format(first=first, number=number)
    for first in ("slow", "full", "mute"):
        text += ALONE.format(first=first)
    file.write_text(text)
    return str(file)


# ------------------------------------------------------------------ a recorded stream


def _event(**fields: Any) -> dict[str, Any]:
    return {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m"} | fields


def _delta(text: str | None, finish: str | None = None) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    return _event(choices=[{"index": 0, "delta": delta, "finish_reason": finish}])


USAGE = {"prompt_tokens": 60, "completion_tokens": 9, "total_tokens": 69}
EVENTS = [
    _delta(""),
    _delta("Hé \n"),
    _delta("wörld"),
    _delta(None, "stop"),
    _event(choices=[], usage=USAGE),
]
SAID = "Hé \nwörld"
FULL_CHARGE = 60 * INPUT + 9 * OUTPUT


def _sse(*, end: str = "\n\n", done: bool = True, events: list[Any] = EVENTS) -> bytes:
    text = "".join("data: " + orjson.dumps(event).decode() + end for event in events)
    return (text + ("data: [DONE]" + end if done else "")).encode()


async def ask(world: Scene, model: str, *, stream: bool, **fields: Any) -> tuple[Any, int, str]:
    """(account, status, text) of one request by a new account."""
    account = await world.account()
    if stream:
        status, _, text = await world.stream(account, model, **fields)
        return account, status, text
    got = await world.post(account, model, **fields)
    return account, got.status_code, got.text


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


async def test_F31_a_hang_before_content_has_its_own_class(
    world: Scene, raw: RawUpstream
) -> None:
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
    for account, status, text in await ask_all(world, asked):
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
    stream = _sse()
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

        account, status, text = await ask(world, "raw-or-spare/d0", stream=stream)
        assert status == 200, (name, text)
        row = await world.one(account)
        assert (row["provider"], row["outcome"]) == ("spare", "completed"), name


def _variants() -> dict[str, list[Step]]:
    plain = _sse()
    head = event_stream()
    halves = "".join(
        "data: " + part + "\n"
        for event in EVENTS
        for part in (*orjson.dumps(event, option=orjson.OPT_INDENT_2).decode().split("\n"), "\0")
    ).replace("data: \0\n", "\n")
    return {
        "plain": [head, plain],
        "every byte alone": [head, *[plain[i : i + 1] for i in range(len(plain))]],
        "CRLF": [head, _sse(end="\r\n\r\n")],
        "CR": [head, _sse(end="\r\r")],
        "CRLF, every byte alone": [head, *[bytes([b]) for b in _sse(end="\r\n\r\n")]],
        "BOM": [head, b"\xef\xbb\xbf", plain],
        "comments": [head, b": hi\n\n" + plain.replace(b"\n\n", b"\n\n: ping\n\n", 3)],
        "other fields": [head, b"retry: 10\nid: 7\n" + plain.replace(b"data:", b"event: x\ndata:")],
        "no space": [head, plain.replace(b"data: ", b"data:")],
        "multi-line data": [head, halves.encode() + b"data: [DONE]\n\n"],
        "no [DONE]": [head, _sse(done=False)],
        "no last blank line": [head, _sse(done=False)[:-1]],
        "chunked": [event_stream(chunked=True), chunk(plain[:99]), chunk(plain[99:]), chunk(b"")],
    }


async def test_F34_one_parse_however_the_events_are_written(
    world: Scene, raw: RawUpstream
) -> None:
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


# ------------------------------------------------------------------ F36, F37


USAGES = {
    # behaviour: (estimated, output tokens billed or None for the meter's)
    "nousage": (True, None),
    "usage.null": (True, None),
    "zerousage": (False, 0),
    "usage.neg": (True, None),
    "usage.str": (True, None),
    "usage.huge": (True, None),
    "usage.cum": (False, 6),
    "usage.finish": (False, 6),
    "usage.choice": (False, 6),
    "usage.groq": (False, 6),
}
INVALID = {"usage.neg", "usage.str", "usage.huge"}


@pytest.mark.parametrize("stream", [False, True])
async def test_F36_usage_that_is_missing_zero_or_nonsense(world: Scene, stream: bool) -> None:
    for name, (estimated, output) in USAGES.items():
        if not stream and name in ("usage.cum", "usage.choice", "usage.groq"):
            continue
        before = len(world.logs.lines("usage_invalid"))
        account, status, text = await ask(
            world, f"sandbox/mock-n6-{name}", stream=stream, stream_options={"include_usage": True}
        )
        assert status == 200
        row = await world.one(account)
        units = {line[0]: line[1] for line in row["lines"]}
        shown = frames_of(text)[-1]["usage"] if stream else orjson.loads(text)["usage"]
        assert (row["outcome"], row["estimated"]) == ("completed", estimated), name
        assert shown.get("estimated", False) == estimated, name
        if output == 0:
            assert (row["lines"], row["charge_nanos"]) == ([], 0)
        elif output is not None:
            assert units["output"] == output, name
        else:
            assert units["output"] == likely_tokens("[Gatewayz sandbox] w1 w2 w3 w4 w5 "), name
        assert round(shown["cost"] * 10**9) == row["charge_nanos"] == await world.charged(account)
        alarms = world.logs.lines("usage_invalid")[before:]
        assert len(alarms) == (name in INVALID), name
        assert all(line["level"] == "ERROR" for line in alarms)


async def test_F36_an_estimate_is_never_above_the_hold_and_a_statement_may_be(
    world: Scene,
) -> None:
    """A stated usage above the hold is paid, the excess from lease or wallet, under a name."""
    account, status, _ = await ask(
        world, "sandbox/mock-n40-nousage", stream=True, max_tokens=1
    )
    assert status == 200
    row = await world.one(account)
    assert row["estimated"] and row["charge_nanos"] <= 1000 * INPUT

    account, status, _ = await ask(
        world, "sandbox/mock-n3-in900-out70000", stream=True, max_tokens=3
    )
    row = await world.one(account)
    assert row["charge_nanos"] == 900 * INPUT + 70_000 * OUTPUT == await world.charged(account)
    assert row["cap_nanos"] is None and not row["estimated"]


async def test_F36_more_than_the_wallet_is_overage_under_its_name(world: Scene) -> None:
    account = await world.account(usd="0.0001")
    status, _, _ = await world.stream(account, "sandbox/mock-n3-in900-out900", max_tokens=3)
    assert status == 200
    row = await world.one(account)
    assert row["charge_nanos"] == 900 * INPUT + 900 * OUTPUT > 100_000
    assert row["cause"] == "overage" and row["from_wallet_nanos"] > 0
    refused = await world.post(account, "sandbox/mock-n3", max_tokens=1)
    assert refused.status_code == 402


async def test_F36_of_cumulative_usages_the_last_one_counts(
    world: Scene, raw: RawUpstream
) -> None:
    events = [
        EVENTS[1] | {"usage": {"prompt_tokens": 60, "completion_tokens": 2}},
        EVENTS[2] | {"usage": {"prompt_tokens": 60, "completion_tokens": 5}},
        EVENTS[3] | {"usage": USAGE},
    ]
    raw.play = lambda request: [event_stream(), _sse(events=events)]
    account, status, text = await ask(world, "raw/x", stream=True)
    assert status == 200 and not any(f.get("usage") for f in frames_of(text))
    assert (await world.one(account))["charge_nanos"] == FULL_CHARGE


async def test_F37_an_error_inside_a_stream(world: Scene, raw: RawUpstream) -> None:
    broken = b'data: {"error":{"message":"boom at 10.0.0.7","code":500}}\n\n'
    raw.play = lambda request: [event_stream(), _sse(events=EVENTS[:1], done=False), broken]
    account, status, text = await ask(world, "raw/x", stream=True)
    assert status == 503 and orjson.loads(text)["error"]["code"] == "all_providers_failed"
    assert "boom" not in text
    row = await world.one(account)
    assert (row["outcome"], row["charge_nanos"]) == ("failed", 0)

    account, status, text = await ask(world, "raw-or-spare/d0", stream=True)
    assert (status, text[-14:]) == (200, "data: [DONE]\n\n")
    row = await world.one(account)
    assert (row["provider"], row["outcome"]) == ("spare", "completed")

    raw.play = lambda request: [event_stream(), _sse(events=EVENTS[:3], done=False), broken]
    account, status, text = await ask(world, "raw-or-spare/d0", stream=True)
    assert status == 200 and content_of(text) == SAID
    error = error_of(text)
    assert error is not None and "[DONE]" not in text and "boom" not in text
    row = await world.one(account)
    assert (row["provider"], row["outcome"], row["estimated"]) == ("raw", "cut", True)
    assert 0 < row["charge_nanos"]
    assert len(row["attempts"]) == 1


async def test_F37_an_error_inside_a_whole_answer(world: Scene, raw: RawUpstream) -> None:
    raw.play = lambda request: [answer(b'{"error":{"message":"boom","code":"server_error"}}')]
    account, status, text = await ask(world, "raw/x", stream=False)
    assert status in (502, 503) and "boom" not in text
    assert (await world.one(account))["charge_nanos"] == 0


# ------------------------------------------------------------------ F43, F44, F45


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status_line", ["302 Found", "307 Temporary Redirect"])
async def test_F43_a_redirect_is_not_followed(
    world: Scene, raw: RawUpstream, stream: bool, status_line: str
) -> None:
    other = RawUpstream()
    try:
        head = f"HTTP/1.1 {status_line}\r\nlocation: {other.url}/v1/chat/completions\r\n"
        raw.play = lambda request: [head.encode() + b"content-length: 0\r\n\r\n"]
        account, status, text = await ask(world, "raw/x", stream=stream)
        assert status == 502
        assert orjson.loads(text)["error"]["code"] == "upstream_invalid_response"
        assert (other.connections, len(raw.requests)) == (0, 1)
        assert raw.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    finally:
        other.stop()
    assert (await world.one(account))["charge_nanos"] == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_F44_our_credential_echoed_by_an_upstream_stays_inside(
    world: Scene, raw: RawUpstream, stream: bool
) -> None:
    def play(request: RawRequest) -> list[Step]:
        sent = request.headers["authorization"]
        bare = sent.removeprefix("Bearer ")
        said = f"Bad request with {sent}; key '{bare}' (auth={bare}) is wrong"
        body = {"error": {"message": said, "param": bare, "code": bare, "type": sent}}
        code = request.json["model"].removeprefix("err")
        if code == "200":
            return [answer(orjson.dumps(body))]
        return [answer(orjson.dumps(body), status=f"{code} No")]

    raw.play = play
    for code in (200, 400, 401, 403, 404, 422, 429, 500):
        account, status, text = await ask(world, f"raw/err{code}", stream=stream)
        assert status >= 400
        assert SECRET[:12] not in text, code
        row = await world.one(account)
        assert row["charge_nanos"] == 0 and SECRET[:12] not in str(row), code
    assert SECRET[:12] not in world.logs.getvalue()


@pytest.mark.parametrize("stream", [False, True])
async def test_F45_output_that_looks_like_our_framing_stays_one_string(
    world: Scene, raw: RawUpstream, stream: bool
) -> None:
    evil = 'x\n\ndata: [DONE]\n\ndata: {"error":{"code":"upstream_timeout"}}\r\n\r\nevent: error\n'
    evil += '"},"finish_reason":"stop"}]}\n\n: ' + '","id":"c-1","model":"m'
    account, status, text = await ask(
        world, "sandbox/echo", stream=stream, messages=[{"role": "user", "content": evil}]
    )
    assert status == 200
    said = (
        content_of(text) if stream else orjson.loads(text)["choices"][0]["message"]["content"]
    )
    assert evil in said
    if stream:
        assert text.count("data: [DONE]\n\n") == 1 and text.endswith("data: [DONE]\n\n")
        assert error_of(text) is None
        assert {line[:6] for line in text.split("\n") if line} == {"data: "}
    assert (await world.one(account))["outcome"] == "completed"

    events = [_delta(evil), EVENTS[3], EVENTS[4]]
    raw.play = lambda request: [event_stream(), _sse(events=events)]
    if stream:
        account, status, text = await ask(world, "raw/x", stream=True)
        assert content_of(text) == evil
        ids = {frame["id"] for frame in frames_of(text)}
        assert len(ids) == 1 and ids.pop().startswith("chatcmpl-")
        assert {frame["model"] for frame in frames_of(text)} == {"raw/x"}
