"""Limits within the admission call, against what they mean (reference.py)."""

import asyncio

import hypothesis
import pytest
import redis
from hypothesis import strategies as st

from gatewayz.stores.redis import RespRedis
from tests.limits.conftest import NOON_MS, A, Slot
from tests.limits.reference import Limit, label

LIVE_MS = 60_000
KINDS = st.sampled_from(
    ["rm", "rh", "rD", "rM", "rT", "tm", "tD", "nD", "nW", "nM", "nT", "uT", "rc"]
)
STEP = st.one_of(
    st.tuples(st.just("ask"), st.integers(1, 40), st.integers(0, 60)),
    st.tuples(st.just("end"), st.integers(0, 9), st.integers(0, 90)),
    st.tuples(st.just("wait"), st.sampled_from([1, 700, 5_000, 61_000, 3_600_000, 90_000_000]),
              st.just(0)),
)  # fmt: skip


def _made(kinds: list[str], sizes: list[int]) -> list[Limit]:
    limits = []
    for number, (what, size) in enumerate(zip(kinds, sizes, strict=False)):
        unit, kind = what
        scope = f"key{number}" if kind == "c" else f"s:{number}"
        limits.append(Limit(unit, kind, size, scope))
    return limits


@hypothesis.settings(
    max_examples=40, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(
    kinds=st.lists(KINDS, min_size=1, max_size=4),
    sizes=st.lists(st.integers(1, 120), min_size=4, max_size=4),
    steps=st.lists(STEP, min_size=1, max_size=30),
)
def test_every_answer_is_the_one_of_an_exact_reference(
    redis_url: str, kinds: list[str], sizes: list[int], steps: list[tuple[str, int, int]]
) -> None:
    asyncio.run(_compare(redis_url, _made(kinds, sizes), steps))


async def _compare(redis_url: str, limits: list[Limit], steps: list[tuple[str, int, int]]) -> None:
    scripts = RespRedis(redis_url, timeout_s=10.0)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.flushall()
        slot = Slot(scripts, client)
        await slot.open()
        lines = "\n".join(limit.line for limit in limits)
        running: dict[str, tuple[int, int, int]] = {}
        for number, (what, first, second) in enumerate(steps):
            if what == "wait":
                slot.now_ms += first
            elif what == "ask":
                amount, tokens, request = first, second, f"r{number}"
                costs = [limit.cost(amount, tokens, tokens + 5) for limit in limits]
                fits = all(
                    limit.has_room(slot.now_ms, cost)
                    for limit, cost in zip(limits, costs, strict=True)
                )
                reply = await slot.admit(
                    request, lines, amount=amount, tokens=(tokens, tokens + 5), live_ms=LIVE_MS
                )
                assert (reply[0] == "OK") == fits, (reply, limits)
                if fits:
                    running[request] = (slot.now_ms, amount, tokens)
                    for limit, cost in zip(limits, costs, strict=True):
                        limit.take(slot.now_ms, cost, request, LIVE_MS)
            elif running:
                request = list(running)[first % len(running)]
                at_ms, amount, tokens = running.pop(request)
                await slot.end(request, second, second)
                for limit in limits:
                    cost = limit.cost(amount, tokens, tokens + 5)
                    limit.end(slot.now_ms, at_ms, request, cost=cost, more=second - cost)
        for limit in limits:
            for period, used in limit.used.items():
                gone = period == "total" or period >= label("D", slot.now_ms - 8 * 86_400_000)
                if gone:
                    assert slot.used(f"{limit.scope}|{period}") == used
    await scripts.close()


async def test_a_bucket_gives_its_limit_at_once_and_then_one_each_part_of_a_minute(
    slot: Slot,
) -> None:
    await slot.open()
    line = "rm 6 - requests:key:1"
    for number in range(6):
        assert (await slot.admit(f"a{number}", line))[0] == "OK"
    refused = await slot.admit("b", line)
    assert refused[:3] == ["LIMIT", "rm 6 requests:key:1", "10000"]
    slot.now_ms += 9_999
    assert (await slot.admit("c", line))[2] == "1"
    slot.now_ms += 1
    assert (await slot.admit("d", line))[0] == "OK"
    assert (await slot.admit("e", line))[0] == "LIMIT"
    slot.now_ms += 60_000
    replies = [await slot.admit(f"f{number}", line) for number in range(6)]
    assert [reply[6].split()[1] for reply in replies] == ["5", "4", "3", "2", "1", "0"]


async def test_a_request_is_counted_once_however_often_it_is_sent(slot: Slot) -> None:
    await slot.open()
    lines = "rm 5 - requests:key:1\nnT 100 - key:1:total"
    for _ in range(4):
        reply = await slot.admit("same", lines, amount=10)
    assert reply[0] == "DUP" and reply[5] == "key:1:total|total"
    assert slot.used("key:1:total|total") == 10
    assert (await slot.admit("next", lines))[6].split()[1] == "3"


async def test_what_is_refused_takes_nothing_of_any_limit(slot: Slot) -> None:
    await slot.open()
    lines = "rm 100 - requests:key:1\nrD 100 - requests:key:1\nnT 50 - key:1:total\nrc 9 - key1"
    assert (await slot.admit("r1", lines, amount=51))[:3] == ["BUDGET", "nT 50 key:1:total", "50"]
    reply = await slot.admit("r2", lines, amount=50)
    assert reply[0] == "OK" and reply[6].split()[:2] == ["100", "99"]
    assert slot.used(f"requests:key:1|{label('D', NOON_MS)}") == 1


async def test_a_rate_goes_before_a_budget_and_the_longest_wait_is_told(slot: Slot) -> None:
    await slot.open()
    lines = "rm 1 - requests:key:1\nrh 1 - requests:key:1\nnT 1 - key:1:total"
    await slot.admit("r1", lines)
    assert (await slot.admit("r2", lines))[:3] == ["LIMIT", "rh 1 requests:key:1", "3600000"]


async def test_periods_are_those_of_the_utc_calendar(slot: Slot) -> None:
    await slot.open()
    ends = {"D": 12, "W": 24 * 5 + 12, "M": 24 * 5 + 12}  # Sunday is the last of November 2025
    for kind, hours in ends.items():
        line = f"r{kind} 1 - requests:key:{kind}"
        slot.now_ms = NOON_MS
        assert (await slot.admit(f"a{kind}", line))[0] == "OK"
        reply = await slot.admit(f"b{kind}", line)
        assert (reply[0], int(reply[2])) == ("LIMIT", hours * 3_600_000)
        slot.now_ms += hours * 3_600_000 - 1
        assert (await slot.admit(f"c{kind}", line))[0] == "LIMIT"
        slot.now_ms += 1
        assert (await slot.admit(f"d{kind}", line))[0] == "OK"


@pytest.mark.parametrize("kind", ["D", "W", "M"])
@hypothesis.settings(
    max_examples=60, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(moment=st.integers(0, 4_102_444_800_000))
def test_the_script_has_the_calendar_of_everybody_else(
    redis_url: str, kind: str, moment: int
) -> None:
    async def work() -> None:
        scripts = RespRedis(redis_url, timeout_s=10.0)
        with redis.Redis.from_url(redis_url, decode_responses=True) as client:
            client.flushall()
            slot = Slot(scripts, client)
            slot.now_ms = moment or 1
            await slot.open()
            await slot.admit("r", f"r{kind} 5 - s")
            assert slot.used(f"s|{label(kind, slot.now_ms)}") == 1
            left = int((await slot.call("limits", f"r{kind} 5 - s"))[1])
            assert label(kind, slot.now_ms + left) != label(kind, slot.now_ms)
            assert label(kind, slot.now_ms + left - 1) == label(kind, slot.now_ms)
        await scripts.close()

    asyncio.run(work())


async def test_tokens_are_taken_by_estimate_and_corrected_at_the_end(slot: Slot) -> None:
    await slot.open()
    line = "tD 100 - tokens:key:1"
    field = f"tokens:key:1|{label('D', NOON_MS)}"
    assert (await slot.admit("r1", line, tokens=(60, 90)))[7].split()[:2] == ["100", "40"]
    assert (await slot.admit("r2", line, tokens=(60, 90)))[0] == "LIMIT"
    await slot.end("r1", 5, 20)
    assert slot.used(field) == 20
    assert (await slot.admit("r3", line, tokens=(60, 90)))[0] == "OK"
    await slot.end("r3", 5, 300)
    assert slot.used(field) == 320
    await slot.end("r3", 5, 300)
    assert slot.used(field) == 320
    assert (await slot.admit("r4", line, tokens=(1, 1)))[0] == "LIMIT"


async def test_an_estimate_above_the_limit_passes_when_nothing_is_used_and_is_paid_off(
    slot: Slot,
) -> None:
    await slot.open()
    line = "tm 60 - tokens:key:1"
    assert (await slot.admit("r1", line, tokens=(120, 120)))[0] == "OK"
    reply = await slot.admit("r2", line, tokens=(1, 1))
    assert reply[:3] == ["LIMIT", "tm 60 tokens:key:1", "61000"]
    slot.now_ms += 61_000
    assert (await slot.admit("r3", line, tokens=(1, 1)))[0] == "OK"


async def test_requests_at_once_are_leases_that_end_with_the_request_or_by_themselves(
    slot: Slot,
) -> None:
    await slot.open()
    line = "rc 2 - key1"
    assert (await slot.admit("r1", line))[0] == "OK"
    assert (await slot.admit("r2", line))[0] == "OK"
    assert (await slot.admit("r3", line))[:3] == ["LIMIT", "rc 2 key1", "1000"]
    assert (await slot.admit("x", "rc 2 - key2"))[0] == "OK"
    await slot.end("r1")
    assert (await slot.admit("r4", line))[0] == "OK"
    # The processes of r2 and r4 died.
    slot.now_ms += LIVE_MS
    assert (await slot.admit("r5", line))[0] == "OK"


async def test_an_account_counts_all_of_its_requests_at_once(slot: Slot) -> None:
    await slot.open()
    for number in range(3):
        assert (await slot.admit(f"r{number}", "rc 3 - account"))[0] == "OK"
    assert (await slot.admit("r3", "rc 3 - account"))[0] == "LIMIT"
    await slot.end("r0")
    assert (await slot.admit("r4", "rc 3 - account"))[0] == "OK"


async def test_a_seed_counts_for_its_own_period_and_once(slot: Slot) -> None:
    await slot.open()
    today = label("D", NOON_MS)
    line = f"rD 10 {today}=8 requests:key:1"
    assert (await slot.admit("r1", line))[6].split()[1] == "1"
    assert (await slot.admit("r2", line))[0] == "OK"
    assert (await slot.admit("r3", line))[0] == "LIMIT"
    slot.now_ms += 86_400_000
    assert (await slot.admit("r4", line))[6].split()[1] == "9"


async def test_budgets_are_loaded_before_the_first_of_them_is_judged(slot: Slot) -> None:
    await slot.call("refill", "L1", "op1", 1000, 10**9)
    line = "nT 100 - key:1:total"
    assert (await slot.admit("r0", "rm 5 - requests:key:1"))[0] == "OK"
    assert (await slot.admit("r1", line))[0] == "LOAD"
    await slot.call("load", "key:1:total|total", 99)
    assert (await slot.admit("r1", line, amount=2))[0] == "BUDGET"
    assert (await slot.admit("r1", line, amount=1))[0] == "OK"


async def test_fields_of_periods_long_past_are_forgotten(slot: Slot) -> None:
    await slot.open()
    for day in range(40):
        slot.now_ms = NOON_MS + day * 86_400_000
        assert (await slot.admit(f"r{day}", "rD 5 - s\nrm 5 - s\nnM 9999 - m"))[0] == "OK"
        await slot.end(f"r{day}")
    fields = slot.client.hkeys(f"budgets:{{{A}}}")
    assert len([name for name in fields if name.startswith("s|")]) <= 10
    assert f"m|{label('M', slot.now_ms)}" in fields


async def test_of_names_that_callers_choose_only_so_many_are_counted(slot: Slot) -> None:
    await slot.open()
    slot.client.hset(
        f"budgets:{{{A}}}", mapping={f"user:{n}:total|total": "1" for n in range(100_000)}
    )
    known = await slot.admit("r1", "nT 100 - user:5:total", amount=1)
    assert known[0] == "OK"
    assert (await slot.admit("r2", "nT 100 - user:new:total", amount=1))[0] == "BUDGET"
    assert (await slot.admit("r3", "nT 100 - key:new:total", amount=1))[0] == "OK"
