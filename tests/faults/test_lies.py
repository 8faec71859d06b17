"""Upstreams that lie: about usage, inside a stream, by redirects, echoes and look-alikes."""

import orjson
import pytest

from gatewayz.pricing.estimate import likely_tokens
from tests.fakes.upstream import RawRequest, RawUpstream, Step, answer, event_stream
from tests.faults.scene import INPUT, OUTPUT, Scene, content_of, error_of, frames_of
from tests.faults.upstreams import (
    EVENTS,
    FULL_CHARGE,
    ORDERED,
    SAID,
    SECRET,
    USAGE,
    ask,
    deaf,
    delta,
    providers_file,
    sse,
)

__all__ = ["deaf", "providers_file"]

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
    account, status, _ = await ask(world, "sandbox/mock-n40-nousage", stream=True, max_tokens=1)
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


async def test_F36_of_cumulative_usages_the_last_one_counts(world: Scene, raw: RawUpstream) -> None:
    events = [
        EVENTS[1] | {"usage": {"prompt_tokens": 60, "completion_tokens": 2}},
        EVENTS[2] | {"usage": {"prompt_tokens": 60, "completion_tokens": 5}},
        EVENTS[3] | {"usage": USAGE},
    ]
    raw.play = lambda request: [event_stream(), sse(events=events)]
    account, status, text = await ask(world, "raw/x", stream=True)
    assert status == 200 and not any(f.get("usage") for f in frames_of(text))
    assert (await world.one(account))["charge_nanos"] == FULL_CHARGE


async def test_F37_an_error_inside_a_stream(world: Scene, raw: RawUpstream) -> None:
    broken = b'data: {"error":{"message":"boom at 10.0.0.7","code":500}}\n\n'
    raw.play = lambda request: [event_stream(), sse(events=EVENTS[:1], done=False), broken]
    account, status, text = await ask(world, "raw/x", stream=True)
    assert status == 503 and orjson.loads(text)["error"]["code"] == "all_providers_failed"
    assert "boom" not in text
    row = await world.one(account)
    assert (row["outcome"], row["charge_nanos"]) == ("failed", 0)

    account, status, text = await ask(world, "raw-or-spare/d0", stream=True, provider=ORDERED)
    assert (status, text[-14:]) == (200, "data: [DONE]\n\n")
    row = await world.one(account)
    assert (row["provider"], row["outcome"]) == ("spare", "completed")

    raw.play = lambda request: [event_stream(), sse(events=EVENTS[:3], done=False), broken]
    account, status, text = await ask(world, "raw-or-spare/d0", stream=True, provider=ORDERED)
    assert status == 200 and content_of(text) == SAID
    error = error_of(text)
    assert error is not None and "[DONE]" not in text and "boom" not in text
    row = await world.one(account)
    assert (row["provider"], row["outcome"], row["estimated"]) == ("raw", "cut", True)
    assert row["charge_nanos"] > 0
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
    said = content_of(text) if stream else orjson.loads(text)["choices"][0]["message"]["content"]
    assert evil in said
    if stream:
        assert text.count("data: [DONE]\n\n") == 1 and text.endswith("data: [DONE]\n\n")
        assert error_of(text) is None
        assert {line[:6] for line in text.split("\n") if line} == {"data: "}
    assert (await world.one(account))["outcome"] == "completed"

    events = [delta(evil), EVENTS[3], EVENTS[4]]
    raw.play = lambda request: [event_stream(), sse(events=events)]
    if stream:
        account, status, text = await ask(world, "raw/x", stream=True)
        assert content_of(text) == evil
        ids = {frame["id"] for frame in frames_of(text)}
        assert len(ids) == 1 and ids.pop().startswith("chatcmpl-")
        assert {frame["model"] for frame in frames_of(text)} == {"raw/x"}
