"""Opt-in continuation: a stream that is cut goes on at another offer, and says so."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gatewayz.billing.credits import Credits, Hold
from tests.fakes.upstream import Act, Step, event_stream
from tests.faults.scene import Scene, content_of, error_of, frames_of
from tests.routing.fleet import (
    COUNT,
    DIALECTS,
    DONE,
    ROLE,
    STOP,
    USAGE,
    Dialect,
    Fleet,
    chunk,
    fleet,
    refusal,
    tool_chunk,
)

HEAD = event_stream()
ORDER = {"order": ["one", "two", "six"], "fallback_max_price_ratio": "any"}


@pytest.fixture
def three() -> Iterator[Fleet]:
    yield from fleet("one", "two", "six")


@pytest.fixture
def providers_file(three: Fleet, tmp_path: Path) -> str:
    three.model("f/m", ("one", 1), ("two", 2), ("six", 6))
    file = tmp_path / "providers.toml"
    file.write_text(three.text)
    return str(file)


def cut(*words: str) -> list[Any]:
    return [HEAD, ROLE, *[chunk({"content": word}) for word in words], Act.CUT]


def rest(*words: str) -> list[Any]:
    return [HEAD, ROLE, *[chunk({"content": word}) for word in words], STOP + COUNT + DONE]


async def stream(world: Scene, account: Any, **body: Any) -> str:
    asked = {"provider": ORDER, "stream_continuation": True} | body
    status, _, text = await world.stream(account, "f/m", **asked)
    assert status == 200
    return text


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/chat/completions"])
async def test_the_answer_goes_on_at_another_offer(world: Scene, three: Fleet, path: str) -> None:
    account = await world.account()
    three.play("one", stream=cut("Once ", "upon "))
    three.play("two", stream=rest("a ", "time."))
    text = await stream(
        world, account, path=path, max_tokens=100, stream_options={"include_usage": True}
    )
    assert content_of(text) == "Once upon a time." and text.endswith("data: [DONE]\n\n")
    assert error_of(text) is None
    frames = frames_of(text)
    (mark,) = [f["gatewayz_continuation"] for f in frames if "gatewayz_continuation" in f]
    assert mark == {"from": "one", "to": "two", "reason": "UpstreamBroken", "leg": 2}
    assert len({f["id"] for f in frames}) == 1
    sent = three.upstreams["two"].requests[-1].json["messages"]
    assert sent[-2] == {"role": "assistant", "content": "Once upon "}
    assert sent[-1]["role"] == "user", "a user's turn at the end: no prefill"
    assert three.upstreams["two"].requests[-1].json["max_tokens"] < 100
    row = await world.one(account)
    assert (row["outcome"], row["offer"], row["finish"]) == ("completed", "two/m", "stop")
    assert [a.get("cut") for a in row["attempts"]] == ["UpstreamBroken", None]
    # Each leg at its own offer's price; the second by its own usage.
    prices = {line[2] for line in row["lines"]}
    assert prices == {10**9, 2 * 10**9}
    second = [line for line in row["lines"] if line[2] == 2 * 10**9]
    assert {line[0]: line[1] for line in second} == {"input": 10, "output": 2}
    usage = next(f["usage"] for f in frames if f.get("usage"))
    assert usage["cost"] == pytest.approx(row["charge_nanos"] / 10**9)
    shown = usage["prompt_tokens"] + usage["completion_tokens"]
    assert shown == sum(line[1] for line in row["lines"])


async def test_it_may_be_cut_twice(world: Scene, three: Fleet) -> None:
    account = await world.account()
    three.play("one", stream=cut("a "))
    three.play("two", stream=cut("b "))
    three.play("six", stream=rest("c"))
    text = await stream(world, account)
    assert content_of(text) == "a b c" and text.endswith("data: [DONE]\n\n")
    row = await world.one(account)
    assert [a["provider"] for a in row["attempts"]] == ["one", "two", "six"]
    assert len({line[2] for line in row["lines"]}) == 3


async def test_when_nobody_goes_on_it_ends_as_a_cut_does(world: Scene, three: Fleet) -> None:
    account = await world.account()
    three.play("one", stream=cut("a ", "b "))
    three.play("two", refusal(500))
    three.play("six", refusal(500))
    text = await stream(world, account)
    assert error_of(text) is not None and content_of(text) == "a b " and "[DONE]" not in text
    row = await world.one(account)
    assert (row["outcome"], row["offer"]) == ("cut", "one/m")
    assert {line[2] for line in row["lines"]} == {10**9}
    assert [a.get("cut") for a in row["attempts"]] == ["UpstreamBroken", None, None]


@pytest.mark.parametrize(
    ("body", "first"),
    [
        ({"stream_continuation": False}, cut("a ")),
        ({"response_format": {"type": "json_object"}}, cut('{"a":')),
        ({"tools": [{"type": "function", "function": {"name": "look"}}]}, cut("a ")),
        ({}, [HEAD, ROLE, tool_chunk("", first=True), tool_chunk('{"a'), Act.CUT]),
    ],
)
async def test_tool_calls_and_structured_output_are_never_continued(
    world: Scene, three: Fleet, body: dict[str, Any], first: list[Any]
) -> None:
    account = await world.account()
    three.play("one", stream=first)
    text = await stream(world, account, **body)
    assert error_of(text) is not None and three.calls == ["one"]
    assert (await world.one(account))["outcome"] == "cut"


# ------------------------------------------------------------------ every client's dialect

COMPLETIONS = Dialect(
    "completions", lambda model, stream: "/v1/completions",
    lambda model, stream: {"model": model, "stream": stream, "prompt": "hi"},
    lambda text: text.rstrip().endswith("data: [DONE]"),
    lambda text: bool(frames_of(text)[-1].get("error")),
    lambda text, stream: "".join(
        c.get("text") or "" for f in frames_of(text) for c in f.get("choices") or ()
    ),
)  # fmt: skip
ARRAY = Dialect(
    "google array",
    lambda model, stream: f"/v1beta/models/{model}:streamGenerateContent",
    DIALECTS[4].body,
    lambda text: json.loads(text)[-1]["candidates"][0].get("finishReason") == "STOP",
    lambda text: "error" in json.loads(text)[-1],
    lambda text, stream: "".join(
        part.get("text", "")
        for f in json.loads(text)
        for c in f.get("candidates") or ()
        for part in c["content"].get("parts") or ()
    ),
)
EVERY = (*DIALECTS, COMPLETIONS, ARRAY)


async def ask(world: Scene, account: Any, dialect: Dialect, **more: Any) -> str:
    body = dialect.body("f/m", True) | {"provider": ORDER, "stream_continuation": True} | more
    path = dialect.path("f/m", True)
    got = await world.client.post(path, json=body, headers=account.headers)
    assert got.status_code == 200, got.text
    return str(got.text)


async def test_every_dialects_answer_goes_on_as_one_answer(world: Scene, three: Fleet) -> None:
    three.play("one", stream=cut("Once ", "upon "))
    three.play("two", stream=rest("a ", "time."))
    for dialect in EVERY:
        account = await world.account()
        text = await ask(world, account, dialect)
        assert dialect.said(text, True) == "Once upon a time.", dialect.name
        assert dialect.done(text) and not dialect.failed(text), dialect.name
        assert text.count('"gatewayz_continuation"') == 1, dialect.name
        sent = three.upstreams["two"].requests[-1].json["messages"]
        assert [m["role"] for m in sent[-2:]] == ["assistant", "user"], "no prefill"
        assert sent[-2]["content"] in ("Once upon ", [{"type": "text", "text": "Once upon "}])
        row = await world.one(account)
        assert (row["outcome"], row["offer"]) == ("completed", "two/m")
        assert {line[2] for line in row["lines"]} == {10**9, 2 * 10**9}, "both legs are priced"


async def test_the_events_of_a_continued_message_are_those_of_one_message(
    world: Scene, three: Fleet
) -> None:
    account = await world.account()
    three.play("one", stream=cut("Once ", "upon "))
    three.play("two", stream=rest("a ", "time."))
    kinds = [f["type"] for f in frames_of(await ask(world, account, DIALECTS[2]))]
    assert [kind for kind in kinds if kind != "ping"] == [
        "message_start", "content_block_start", *["content_block_delta"] * 4,
        "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip


async def test_the_events_of_a_continued_response_are_numbered_through(
    world: Scene, three: Fleet
) -> None:
    account = await world.account()
    three.play("one", stream=cut("Once ", "upon "))
    three.play("two", stream=rest("a ", "time."))
    frames = frames_of(await ask(world, account, DIALECTS[3]))
    ours = [f for f in frames if f["type"] != "gatewayz.continuation"]
    assert [f["sequence_number"] for f in ours] == list(range(len(ours)))
    assert [f["type"] for f in ours].count("response.output_item.added") == 1
    whole = ours[-1]["response"]["output"][0]
    assert whole["content"][0]["text"] == "Once upon a time."
    (item,) = {f["item_id"] for f in ours if f["type"] == "response.output_text.delta"}
    assert whole["id"] == item


async def test_what_a_next_leg_thinks_is_not_said(world: Scene, three: Fleet) -> None:
    first: list[Step] = [chunk({"reasoning_content": "hm"}), chunk({"content": "Once "}), Act.CUT]
    again = [chunk({"reasoning_content": "secret"}), chunk({"content": "more"}), STOP + COUNT]
    three.play("one", stream=[HEAD, ROLE, *first])
    three.play("two", stream=[HEAD, ROLE, *again, DONE])
    for dialect in DIALECTS:
        account = await world.account()
        text = await ask(world, account, dialect)
        assert dialect.said(text, True).removeprefix("hm") == "Once more", dialect.name
        assert "secret" not in text and dialect.done(text), dialect.name


PLAIN_ONLY = [
    (DIALECTS[2], {"tools": [{"name": "look", "input_schema": {"type": "object"}}]}),
    (DIALECTS[2], {"output_config": {"format": {"type": "json_schema", "schema": {
        "type": "object", "properties": {}, "additionalProperties": False}}}}),
    (DIALECTS[3], {"tools": [{"type": "function", "name": "look", "parameters": {}}]}),
    (DIALECTS[3], {"text": {"format": {"type": "json_object"}}}),
    (DIALECTS[4], {"tools": [{"functionDeclarations": [{"name": "look"}]}]}),
    (DIALECTS[4], {"generationConfig": {"responseMimeType": "application/json"}}),
]  # fmt: skip


async def test_no_dialects_tools_and_structures_are_continued(world: Scene, three: Fleet) -> None:
    three.play("one", stream=cut("a "))
    for dialect, more in PLAIN_ONLY:
        account = await world.account()
        three.calls.clear()
        text = await ask(world, account, dialect, **more)
        assert dialect.failed(text) and three.calls == ["one"], (dialect.name, more)
        assert (await world.one(account))["outcome"] == "cut"


async def test_nobody_to_go_on_ends_every_dialect_honestly(world: Scene, three: Fleet) -> None:
    three.play("one", stream=cut("a "))
    three.play("two", refusal(500))
    three.play("six", stream=[HEAD, ROLE, Act.CUT])
    for dialect in EVERY:
        account = await world.account()
        text = await ask(world, account, dialect)
        assert dialect.failed(text) and "gatewayz_continuation" not in text, dialect.name
        assert (await world.one(account))["offer"] == "one/m"


# ------------------------------------------------------------------ what the legs cost together

LONG = [f"word{n} " for n in range(300)]


class Ledger:
    """Every checkpoint as it was stored, and the hold that it was made for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.records: list[dict[str, Any]] = []
        self.asked: list[tuple[str, int, int]] = []  # offer, held before, more that was wanted
        self.holds: list[Hold] = []
        self.seen = threading.Event()  # a checkpoint of the second offer was stored
        real = Credits.checkpoint

        async def checkpoint(credits: Credits, hold: Hold, record: str, more: int) -> int:
            told = json.loads(record)
            self.records.append(told)
            self.asked.append((told["offer"], hold.amount_nanos, more))
            self.holds.append(hold)
            grown = await real(credits, hold, record, more)
            if told["offer"] == "two/m":
                self.seen.set()
            return grown

        monkeypatch.setattr(Credits, "checkpoint", checkpoint)

    def of(self, offer: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record["offer"] == offer]

    def leg(self, *end: Step) -> Iterator[Step]:
        """A stream that says more until a checkpoint of its own was stored, then ends so."""
        yield HEAD
        yield ROLE
        for _ in range(2000):
            yield chunk({"content": "more "})
            yield 0.005
            if self.seen.is_set():
                break
        yield from end


def stated(prompt_tokens: int, *words: str) -> list[Any]:
    """A stream that is cut after it said what it used."""
    usage = USAGE | {"prompt_tokens": prompt_tokens}
    head = cut(*words)
    return [*head[:-1], chunk(usage=usage), head[-1]]


@pytest.mark.parametrize("more", [{}, {"max_tokens": 5}], ids=["", "above its hold"])
async def test_a_continuation_that_fails_bills_what_none_would(
    world: Scene, three: Fleet, more: dict[str, Any]
) -> None:
    """Neither a prompt that nobody read, nor up to a hold that grew for nothing."""
    three.play("one", stream=cut(*LONG))
    three.play("two", refusal(500))
    three.play("six", refusal(500))
    billed = []
    for wanted in (True, False):
        account = await world.account()
        await stream(world, account, stream_continuation=wanted, **more)
        row = await world.one(account)
        billed.append([row[name] for name in ("lines", "charge_nanos", "outcome", "cap_nanos")])
        assert row["reason"] == ("cap" if more else None)
    assert billed[0] == billed[1]


async def test_a_second_continuation_that_fails_leaves_the_prompt_of_the_first(
    world: Scene, three: Fleet
) -> None:
    three.play("one", stream=cut("a "))
    three.play("two", stream=cut(*LONG))
    three.play("six", refusal(500))
    billed = []
    for order in (["one", "two", "six"], ["one", "two"]):
        account = await world.account()
        await stream(world, account, provider=ORDER | {"order": order, "only": order})
        row = await world.one(account)
        billed.append((row["lines"], row["charge_nanos"], row["offer"]))
    assert billed[0] == billed[1] and billed[0][2] == "two/m"
    assert {line[2] for line in billed[0][0]} == {10**9, 2 * 10**9}


@pytest.mark.tuned(checkpoint_chunks=1)
async def test_a_checkpoint_of_a_later_leg_holds_the_earlier_ones(
    world: Scene, three: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed in the second leg leaves both owed (D6)."""
    ledger = Ledger(monkeypatch)
    account = await world.account()
    three.play("one", stream=cut(*LONG))
    play: Any = lambda request: ledger.leg(STOP, DONE)  # noqa: E731
    three.upstreams["two"].play = play
    await stream(world, account)
    row = await world.one(account)
    first = [line for line in row["lines"] if line[2] == 10**9]
    read = next(line for line in row["lines"] if line[0] == "input" and line[2] == 2 * 10**9)
    assert read[1] > sum(line[1] for line in first) // 2, "the first leg's text was read again"
    later = ledger.of("two/m")
    assert later
    for record in later:
        assert [line for line in record["lines"] if line[2] == 10**9] == first
        assert read in record["lines"], "the prompt that this leg read"
        assert record["charge_nanos"] == sum(line[1] * line[2] for line in record["lines"]) // 10**6
        assert record["charge_nanos"] == record["cost_nanos"]
    charges = [record["charge_nanos"] for record in ledger.records] + [row["charge_nanos"]]
    assert charges == sorted(charges)


async def test_what_a_further_leg_must_hold_counts_every_leg_before(
    world: Scene, three: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    three.play("two", stream=cut("b "))
    three.play("six", stream=rest("c"))
    needed, first = [], []
    for prompt_tokens in (10, 5010):
        ledger = Ledger(monkeypatch)
        account = await world.account()
        three.play("one", stream=stated(prompt_tokens, "a "))
        assert content_of(await stream(world, account, max_tokens=20)) == "a b c"
        row = await world.one(account)
        leg = [line for line in row["lines"] if line[2] == 10**9]
        assert ["input", prompt_tokens, 10**9] in leg
        first.append(sum(line[1] for line in leg) * 1000)
        _, held, more = ledger.asked[-1]
        assert more > 0 and ledger.records[-1]["offer"] == "two/m"
        assert leg == [line for line in ledger.records[-1]["lines"] if line[2] == 10**9]
        needed.append(held + more)
    assert needed[1] - needed[0] == first[1] - first[0] == 5000 * 1000


@pytest.mark.tuned(checkpoint_chunks=1)
async def test_the_hold_grows_by_what_all_legs_used(
    world: Scene, three: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first leg used most of the hold; the second one, itself cheap, makes it grow."""
    ledger = Ledger(monkeypatch)
    account = await world.account()
    three.play("one", stream=stated(100_000, "a "))
    play: Any = lambda request: ledger.leg(STOP, DONE)  # noqa: E731
    three.upstreams["two"].play = play
    await stream(world, account)
    _, held, more = next(asked for asked in ledger.asked if asked[0] == "two/m")
    assert more == held, "it doubles"
    assert (await world.one(account))["outcome"] == "completed"


@pytest.mark.tuned(checkpoint_chunks=10**9, checkpoint_s=10.0**9)
async def test_an_estimated_leg_is_capped_by_what_earlier_legs_leave_of_the_hold(
    world: Scene, three: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(monkeypatch)
    account = await world.account()
    three.play("one", stream=stated(40_000, "a "))
    words = [" ".join(LONG) for _ in range(20)]
    three.play("two", stream=[*rest(*words)[:-1], STOP + DONE])
    await stream(world, account)
    row = await world.one(account)
    held_nanos = ledger.holds[-1].amount_nanos
    total_nanos = sum(line[1] * line[2] for line in row["lines"]) // 10**6
    assert total_nanos > held_nanos, "else the cap shows nothing"
    assert row["charge_nanos"] == row["cap_nanos"] == held_nanos
    assert row["reason"] == "cap"


@pytest.mark.tuned(checkpoint_chunks=10**9, checkpoint_s=10.0**9)
async def test_a_leg_that_was_capped_stays_so_when_another_goes_on(
    world: Scene, three: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(monkeypatch)
    account = await world.account()
    three.play("one", stream=cut(*LONG))
    three.play("two", stream=rest("end"))
    await stream(world, account, max_tokens=5)
    row = await world.one(account)
    held_nanos = ledger.asked[0][1]
    first = sum(line[1] for line in row["lines"] if line[2] == 10**9) * 1000
    second = sum(line[1] for line in row["lines"] if line[2] == 2 * 10**9) * 2000
    assert first > held_nanos, "else the cap shows nothing"
    assert second == 12 * 2000
    assert row["charge_nanos"] == row["cap_nanos"] == held_nanos + second
    assert row["reason"] == "cap"
    assert row["charge_nanos"] <= ledger.holds[-1].amount_nanos
