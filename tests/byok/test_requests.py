"""A request at a customer's own key: who is asked with which credential, and what it costs."""

from typing import Any

import pytest

from tests.byok.conftest import OURS, THEIRS, Lines, Owner, keys_seen
from tests.faults.scene import frames_of
from tests.routing.fleet import Fleet, refusal

# 10 input and 2 output tokens at 100 nano-USD × 1000 each (the fleet's price of $100 a million).
LISTED = 12 * 100_000
FEE = LISTED * 5 // 100


async def test_an_own_key_is_used_and_costs_the_fee_alone(owner: Owner, upstreams: Fleet) -> None:
    await owner.keep()
    before = await owner.world.balance(owner.account)
    answer = await owner.ask(path="/api/v1/chat/completions")
    assert answer.status_code == 200, answer.text
    assert keys_seen(upstreams.upstreams["one"]) == [THEIRS]
    usage = answer.json()["usage"]
    assert usage["is_byok"] is True
    assert usage["cost"] == FEE / 10**9
    assert usage["cost_details"]["upstream_inference_cost"] == LISTED / 10**9
    row = await owner.world.one(owner.account)
    assert (row["charge_nanos"], row["cost_nanos"]) == (FEE, 0)
    assert row["price_version"].endswith("-byok50000")
    assert row["attempts"][0]["byok"] is True
    after = await owner.world.balance(owner.account)
    assert before["balance_nanos"] - after["balance_nanos"] == FEE


async def test_a_stream_is_served_by_it_too(owner: Owner, upstreams: Fleet) -> None:
    await owner.keep()
    status, _, text = await owner.world.stream(
        owner.account, "f/m", path="/api/v1/chat/completions"
    )
    assert status == 200
    frames = frames_of(text)
    last = next(f for f in reversed(frames) if f.get("usage"))
    assert (last["usage"]["is_byok"], last["usage"]["cost"]) == (True, FEE / 10**9)
    assert keys_seen(upstreams.upstreams["one"]) == [THEIRS]
    assert (await owner.world.one(owner.account))["cost_nanos"] == 0


async def test_the_hold_is_sized_by_the_fee(owner: Owner, upstreams: Fleet) -> None:
    """A balance that pays for the fee and not for the list price is enough."""
    account = await owner.world.account(usd="0.02")
    poor = Owner(owner.world, account)
    refused = await poor.ask(max_tokens=1000)
    assert refused.status_code == 402
    await poor.keep()
    assert (await poor.ask(max_tokens=1000)).status_code == 200
    assert keys_seen(upstreams.upstreams["one"]) == [THEIRS]


@pytest.mark.fee("0")
async def test_without_a_fee_it_costs_nothing(owner: Owner, upstreams: Fleet) -> None:
    await owner.keep()
    assert (await owner.ask()).status_code == 200
    row = await owner.world.one(owner.account)
    assert (row["charge_nanos"], row["cost_nanos"]) == (0, 0)
    assert keys_seen(upstreams.upstreams["one"]) == [THEIRS]


async def test_the_generation_and_its_receipt_say_so(owner: Owner) -> None:
    await owner.keep()
    answer = await owner.ask()
    name = answer.json()["id"]
    await owner.world.settled(owner.account)
    shown = (await owner.call("GET", f"/api/v1/generation?id={name}")).json()["data"]
    assert (shown["is_byok"], shown["total_cost"]) == (True, FEE / 10**9)
    assert shown["upstream_inference_cost"] == LISTED / 10**9
    receipt = (await owner.call("GET", f"/v1/generation/{name}/explain")).json()["data"]
    assert receipt["matches"] is True
    assert receipt["is_byok"] is True
    assert receipt["byok_fee"] == 0.05
    assert receipt["lines"][0]["usd_per_million"] == 5
    assert receipt["price_version"].endswith("-byok50000")


async def test_a_quote_is_the_fee_and_the_charge_is_the_quote(owner: Owner) -> None:
    await owner.keep("one", mode="fallback")
    asked = {"model": "f/m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 100}
    quoted = (await owner.call("POST", "/v1/quote", asked)).json()
    first, *others = quoted["candidates"]
    assert (first["offer"], first["attempt"], first["is_byok"]) == ("one/m", 1, True)
    assert first["price_version"].endswith("-byok50000")
    house = next(c for c in others if c["offer"] == "one/m")
    assert house["is_byok"] is False
    assert house["max_nanos"] == 20 * first["max_nanos"]
    await owner.ask(max_tokens=100)
    row = await owner.world.one(owner.account)
    assert row["price_version"] == first["price_version"]
    await owner.call("DELETE", "/user/provider-keys/one")
    again = (await owner.call("POST", "/v1/quote", asked)).json()
    assert not any(c["is_byok"] for c in again["candidates"])


async def test_a_key_shows_what_it_used_of_both(owner: Owner) -> None:
    await owner.keep("one")
    for _ in range(2):
        await owner.ask()
    await owner.world.settled(owner.account)
    shown = (await owner.call("GET", "/api/v1/key")).json()["data"]
    assert (shown["usage"], shown["byok_usage"]) == (2 * FEE / 10**9, 2 * LISTED / 10**9)
    assert shown["byok_usage_daily"] == shown["byok_usage_monthly"] == shown["byok_usage"]
    await owner.call("DELETE", "/user/provider-keys/one")
    await owner.ask(provider={"only": ["one"]})
    await owner.world.settled(owner.account)
    again = (await owner.call("GET", "/api/v1/key")).json()["data"]
    assert again["byok_usage"] == shown["byok_usage"]
    assert again["usage"] == (2 * FEE + LISTED) / 10**9


async def test_a_trace_names_the_own_key(owner: Owner) -> None:
    key_id = await owner.keep()
    answer = await owner.ask(headers={"x-openrouter-metadata": "enabled"})
    told = answer.json()["openrouter_metadata"]
    assert told["is_byok"] is True
    assert told["attempts"][0]["provider_key"] == key_id
    assert THEIRS not in answer.text


# ------------------------------------------------------------------ whose key is asked when


async def test_an_own_key_goes_before_a_cheaper_offer_and_before_the_order(
    owner: Owner, upstreams: Fleet
) -> None:
    await owner.keep("two")
    assert (await owner.ask()).headers["x-provider"] == "two"
    ordered = await owner.ask(provider={"order": ["one"]})
    assert ordered.headers["x-provider"] == "two"
    assert keys_seen(upstreams.upstreams["two"]) == [THEIRS, THEIRS]
    assert keys_seen(upstreams.upstreams["one"]) == []


async def test_what_the_request_forbids_is_not_asked_with_an_own_key_either(
    owner: Owner, upstreams: Fleet
) -> None:
    await owner.keep("two", mode="fallback")
    answer = await owner.ask(provider={"ignore": ["two"]})
    assert answer.headers["x-provider"] == "one"
    assert keys_seen(upstreams.upstreams["one"]) == [OURS["one"]]


async def test_always_never_falls_back_to_ours(owner: Owner, upstreams: Fleet) -> None:
    await owner.keep("one", mode="always")
    upstreams.play("one", refusal(500), stream=[refusal(500)])
    answer = await owner.ask()
    assert answer.status_code == 503
    assert set(keys_seen(upstreams.upstreams["one"])) == {THEIRS}
    assert keys_seen(upstreams.upstreams["two"]) == []
    row = await owner.world.one(owner.account)
    assert (row["charge_nanos"], row["cost_nanos"], row["outcome"]) == (0, 0, "failed")


async def test_fallback_goes_on_with_ours_at_our_price(owner: Owner, upstreams: Fleet) -> None:
    await owner.keep("two", mode="fallback")
    upstreams.play("two", refusal(500))
    answer = await owner.ask(path="/api/v1/chat/completions", provider={"order": ["one"]})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-provider"] == "one"
    assert answer.json()["usage"]["is_byok"] is False
    assert keys_seen(upstreams.upstreams["one"]) == [OURS["one"]]
    row = await owner.world.one(owner.account)
    assert (row["charge_nanos"], row["cost_nanos"]) == (LISTED, LISTED)
    assert [a.get("byok", False) for a in row["attempts"]] == [True, False]


async def test_fallback_may_be_our_own_key_of_the_same_provider(
    owner: Owner, upstreams: Fleet
) -> None:
    await owner.keep("two", mode="fallback")
    upstreams.upstreams["two"].play = lambda request: (
        [refusal(401)] if THEIRS in request.headers["authorization"] else _good()
    )
    answer = await owner.ask("f/only-two")
    assert answer.status_code == 200, answer.text
    assert keys_seen(upstreams.upstreams["two"]) == [THEIRS, OURS["two"]]
    assert (await owner.world.one(owner.account))["charge_nanos"] == 2 * LISTED


async def test_a_refused_own_key_is_told_to_its_owner_and_harms_nobody_else(
    owner: Owner, upstreams: Fleet, lines: Lines
) -> None:
    await owner.keep("one")
    upstreams.upstreams["one"].play = lambda request: (
        [refusal(401)] if THEIRS in request.headers["authorization"] else _good()
    )
    for _ in range(4):
        answer = await owner.ask()
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "provider_key_refused"
        assert THEIRS not in answer.text
    other = Owner(owner.world, await owner.world.account())
    good = await other.ask(provider={"only": ["one"]})
    assert (good.status_code, good.headers["x-provider"]) == (200, "one")
    assert len(lines.of("attempt_failed")) == 4
    assert lines.of("provider_refuses_us") == []


async def test_a_throttled_own_key_does_not_rest_our_offer(owner: Owner, upstreams: Fleet) -> None:
    await owner.keep("one")
    upstreams.upstreams["one"].play = lambda request: (
        [refusal(429, None, "retry-after: 60")]
        if THEIRS in request.headers["authorization"] else _good()
    )  # fmt: skip
    assert (await owner.ask()).status_code == 429
    other = Owner(owner.world, await owner.world.account())
    assert (await other.ask(provider={"only": ["one"]})).status_code == 200


async def test_several_keys_of_a_provider_are_tried_in_their_order(
    owner: Owner, upstreams: Fleet
) -> None:
    names = {key: f"sk-key-{key}-0123456789" for key in ("last", "second", "first")}
    await owner.keep("one", names["last"], is_fallback=True)
    await owner.keep("one", names["second"], priority=5)
    await owner.keep("one", names["first"], priority=1)
    upstreams.play("one", refusal(500))
    assert (await owner.ask()).status_code == 503
    assert keys_seen(upstreams.upstreams["one"]) == [
        names["first"], names["second"], names["last"],
    ]  # fmt: skip


async def test_with_many_own_keys_ours_still_has_a_place_where_it_is_allowed(
    owner: Owner, upstreams: Fleet
) -> None:
    for number in range(4):
        await owner.keep("one", f"sk-key-number-{number}-xyz", mode="fallback")
    upstreams.upstreams["one"].play = lambda request: (
        [refusal(500)] if "sk-key" in request.headers["authorization"] else _good()
    )
    answer = await owner.ask(provider={"only": ["one"]})
    assert answer.status_code == 200
    assert keys_seen(upstreams.upstreams["one"])[-1] == OURS["one"]


async def test_no_fallbacks_means_one_attempt(owner: Owner, upstreams: Fleet) -> None:
    await owner.keep("one", mode="fallback")
    await owner.keep("one", "sk-another-key-0123456", mode="fallback")
    upstreams.play("one", refusal(500))
    answer = await owner.ask(provider={"allow_fallbacks": False})
    assert answer.status_code == 503
    assert keys_seen(upstreams.upstreams["one"]) == [THEIRS]


@pytest.mark.parametrize(
    ("limits", "used"),
    [
        ({"allowed_models": ["f/m"]}, True),
        ({"allowed_models": ["f/*"]}, True),
        ({"allowed_models": ["g/*"]}, False),
        ({"allowed_api_key_hashes": ["0" * 64]}, False),
        ({"allowed_user_ids": ["somebody"]}, False),
        ({"is_active": False}, False),
    ],
)
async def test_a_key_is_used_for_what_it_may_be_used_for(
    owner: Owner, upstreams: Fleet, limits: dict[str, Any], used: bool
) -> None:
    await owner.keep("one", **limits)
    assert (await owner.ask(provider={"only": ["one"]})).status_code == 200
    assert keys_seen(upstreams.upstreams["one"]) == [THEIRS if used else OURS["one"]]


async def test_changes_hold_from_the_next_request(owner: Owner, upstreams: Fleet) -> None:
    one = upstreams.upstreams["one"]
    only: dict[str, Any] = {"provider": {"only": ["one"]}}
    await owner.ask(**only)
    key_id = await owner.keep("one")
    await owner.ask(**only)
    anew = "sk-a-new-one-0123456789"
    await owner.call("PUT", f"/user/provider-keys/{key_id}", {"api_key": anew})
    await owner.ask(**only)
    await owner.call("DELETE", "/user/provider-keys/one")
    await owner.ask(**only)
    assert keys_seen(one) == [OURS["one"], THEIRS, anew, OURS["one"]]


async def test_another_account_is_not_served_by_it(owner: Owner, upstreams: Fleet) -> None:
    await owner.keep("one")
    other = Owner(owner.world, await owner.world.account())
    await other.ask(provider={"only": ["one"]})
    assert keys_seen(upstreams.upstreams["one"]) == [OURS["one"]]


async def test_F88_the_key_stands_in_no_store_log_or_answer(
    owner: Owner, upstreams: Fleet, lines: Lines
) -> None:
    await owner.keep("one")
    await owner.ask()
    upstreams.play("one", refusal(500, {"error": {"message": f"bad key {THEIRS}"}}))
    failed = await owner.ask()
    assert THEIRS not in failed.text
    listed = await owner.call("GET", "/user/provider-keys")
    audit = await owner.call("GET", "/user/audit")
    assert THEIRS not in listed.text + audit.text
    with owner.world.redis() as client:
        for name in client.keys("*"):
            assert THEIRS not in repr(client.dump(name))
    await owner.world.settled(owner.account)
    tables = await owner.world.sql(
        "select format('%I.%I', schemaname, tablename) as name from pg_tables"
        " where schemaname in ('ledger', 'tenancy', 'queue', 'health', 'catalog')"
    )
    for table in tables:
        rows = await owner.world.sql(f"select count(*) from {table['name']} t"
                                     " where t::text like $1", f"%{THEIRS}%")  # fmt: skip
        assert rows[0][0] == 0, table["name"]
    assert lines.of("attempt_failed")
    assert THEIRS not in repr(lines.written)


def _good() -> list[Any]:
    from tests.routing.fleet import good_answer

    return [good_answer()]
