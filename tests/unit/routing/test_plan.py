import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.catalog.model import Model, Offer
from gatewayz.core.errors import InvalidRequest
from gatewayz.routing.filters import REASONS
from gatewayz.routing.needs import Needs
from gatewayz.routing.plan import Plan, plan
from gatewayz.routing.preferences import Preferences
from gatewayz.routing.refusal import refusal_of
from gatewayz.routing.view import Health, View
from tests.unit.routing.offers import USD, group, offer, providers

NEEDS = Needs(1000)
MATES = (offer("a", 1), offer("b", 1.5), offer("c", 2))


def made(*offers: Offer, needs: Needs = NEEDS, **wanted: Any) -> Plan:
    known = {k: wanted.pop(k) for k in ("view", "seed", "pin", "preferences") if k in wanted}
    if wanted:
        known["preferences"] = Preferences(**wanted)
    return plan(needs, (group(*offers),), **known)


def reasons(plan: Plan) -> dict[str, str]:
    assert all(e.reason in REASONS for e in plan.excluded)
    return {e.provider: e.reason for e in plan.excluded}


def view(**entries: Health) -> View:
    """Health by provider; an underscore stands for its offer."""
    return View(1000.0, {n.strip("_") + "/m" if n[-1] == "_" else n: h for n, h in entries.items()})


# ------------------------------------------------------------------ the default order


def test_first_tries_are_shared_by_the_inverse_square_of_the_price() -> None:
    offers = (offer("cheap", 1), offer("twice", 2), offer("thrice", 3))
    seeds = random.Random(1)
    firsts = Counter(made(*offers, seed=seeds.getrandbits(64)).offers[0].provider
                     for _ in range(4000))  # fmt: skip
    total = 1 + 1 / 4 + 1 / 9
    for name, weight in (("cheap", 1), ("twice", 1 / 4), ("thrice", 1 / 9)):
        assert firsts[name] / 4000 == pytest.approx(weight / total, abs=0.03)


def test_a_plan_has_at_most_three_offers_and_knows_who_comes_next() -> None:
    got = made(*(offer(name) for name in "abcde"))
    assert len(got.offers) == 3 and len(got.spare) == 2
    assert {*providers(got.offers), *providers(got.spare)} == set("abcde")


def test_the_same_inputs_give_the_same_plan() -> None:
    assert made(*MATES, seed=7) == made(*MATES, seed=7)
    assert len({made(*MATES, seed=s).offers[0].id for s in range(50)}) > 1


def test_what_is_free_comes_first_and_never_leads_to_what_is_paid() -> None:
    for seed in range(20):
        got = made(offer("paid", 1), offer("free", 0), seed=seed)
        assert providers(got.offers) == ["free"]
        assert reasons(got) == {"paid": "fallback_price"}


def test_a_fallback_costs_at_most_twice_as_much_unless_allowed() -> None:
    cheap, dear = offer("cheap", 1), offer("dear", 2.5)
    assert reasons(made(cheap, dear, sort="price")) == {"dear": "fallback_price"}
    for allowed in ({"fallback_price_ratio": 3.0}, {"order": ("cheap", "dear")}):
        assert providers(made(cheap, dear, sort="price", **allowed).offers) == ["cheap", "dear"]


def test_an_aggregator_is_a_fallback_only() -> None:
    for seed in range(20):
        got = made(offer("resold", 0.5, aggregator=True), offer("direct", 1), seed=seed)
        assert providers(got.offers) == ["direct", "resold"]
    alone = made(offer("resold", aggregator=True))
    assert providers(alone.offers) == ["resold"]
    named = made(offer("resold", aggregator=True), offer("direct"), order=("resold",))
    assert providers(named.offers)[0] == "resold"


# ------------------------------------------------------------------ what does not fit


def test_offers_too_small_for_the_prompt_are_left_out() -> None:
    got = made(
        offer("small", context_tokens=100), offer("large", context_tokens=5000), offer("unknown")
    )
    assert set(providers(got.offers)) == {"large", "unknown"}
    assert reasons(got) == {"small": "context_length"}


def test_a_prompt_that_may_fit_is_tried_because_the_estimate_errs_upwards() -> None:
    got = made(offer("small", context_tokens=100), offer("large", context_tokens=500))
    assert providers(got.offers) == ["large"]


def test_a_prompt_that_cannot_fit_is_the_callers_to_shorten() -> None:
    tiny = offer("a", context_tokens=333)
    got = made(tiny, needs=Needs(1002))
    refusal = refusal_of(got, [group(tiny)])
    assert isinstance(refusal, InvalidRequest) and refusal.code == "context_length_exceeded"


@pytest.mark.parametrize(
    ("needs", "unfit", "reason"),
    [
        (Needs(10, 900), {"max_output_tokens": 100}, "output_length"),
        (Needs(600, 600), {"context_tokens": 1000}, "output_length"),
        (Needs(600), {"max_prompt_tokens": 500}, "context_length"),
        (Needs(10, input_modalities=frozenset({"image"})), {"input_modalities": ("text",)},
         "input_modality"),
        (Needs(10, output_modalities=frozenset({"audio"})), {"output_modalities": ("text",)},
         "output_modality"),
    ],
)  # fmt: skip
def test_what_cannot_do_it_all_is_used_only_when_nothing_else_can(
    needs: Needs, unfit: dict[str, Any], reason: str
) -> None:
    seen = {"input_modalities": ("text", "image"), "output_modalities": ("text", "audio")}
    fit, poor = offer("fit", 9, **seen), offer("poor", 1, **{**seen, **unfit})
    got = made(fit, poor, needs=needs)
    assert (providers(got.offers), reasons(got)) == (["fit"], {"poor": reason})
    assert providers(made(poor, needs=needs).offers) == ["poor"]


def test_an_offer_that_would_drop_what_decides_the_answer_comes_last() -> None:
    lacking = offer("lacking", 0.5, supported_parameters=("temperature",))
    got = made(lacking, offer("able", 1), needs=Needs(10, parameters=frozenset({"tools"})))
    assert providers(got.offers) == ["able", "lacking"]
    assert [(d.offer, d.reasons) for d in got.demoted] == [("lacking/m", ("lacks_parameters",))]


# ------------------------------------------------------------------ preferences


@pytest.mark.parametrize(
    ("wanted", "offers", "expected", "why"),
    [
        ({"only": ("b",)}, MATES, ["b"], {"a": "only", "c": "only"}),
        ({"ignore": ("a", "b")}, MATES, ["c"], {"a": "ignore", "b": "ignore"}),
        ({"order": ("c", "a")}, MATES, ["c", "a", "b"], {}),
        ({"order": ("c", "a"), "allow_fallbacks": False}, MATES, ["c", "a"],
         {"b": "no_fallbacks"}),
        ({"sort": "price", "allow_fallbacks": False}, MATES, ["a"], {}),
        ({"sort": "price"}, MATES, ["a", "b", "c"], {}),
        ({"max_price": {"input": USD}}, MATES, ["a"], {"b": "max_price", "c": "max_price"}),
        ({"max_price": {"output": 5 * USD}, "sort": "price"}, MATES, ["a", "b"],
         {"c": "max_price"}),
        ({"quantizations": frozenset({"fp8"})},
         (offer("a", quantization="fp8"), offer("b", quantization="int4"), offer("c")), ["a"],
         {"b": "quantization", "c": "quantization"}),
        ({"quantizations": frozenset({"unknown"})},
         (offer("a", quantization="fp8"), offer("c")), ["c"], {"a": "quantization"}),
        ({"deny_training": True},
         (offer("a", trains=False), offer("b", trains=True), offer("c")), ["a"],
         {"b": "data_policy:training", "c": "data_policy:training"}),
        ({"zdr": True}, (offer("a", zdr=True), offer("b", retains=False)), ["a"],
         {"b": "data_policy:zdr"}),
        ({"regions": ("eu",)},
         (offer("a", region="eu-west-1"), offer("b", region="us"), offer("c")), ["a"],
         {"b": "region", "c": "region"}),
        ({"order": ("b/eu",)}, (offer("a"), offer("b", region="eu")), ["b", "a"], {}),
        ({"only": ("b/fp8",)}, (offer("a"), offer("b", quantization="fp8")), ["b"],
         {"a": "only"}),
        ({"free_only": True}, (offer("a", 0), offer("b", 1)), ["a"], {"b": "not_free"}),
    ],
)  # fmt: skip
def test_a_preference_decides(
    wanted: dict[str, Any], offers: tuple[Offer, ...], expected: list[str], why: dict[str, str]
) -> None:
    got = made(*offers, **wanted)
    assert (providers(got.offers), reasons(got)) == (expected, why)


def test_required_parameters_are_a_condition_not_a_wish() -> None:
    needs = Needs(10, parameters=frozenset({"tools", "seed"}))
    knows = offer("a", supported_parameters=("tools", "seed"))
    lacks = offer("b", supported_parameters=("tools",))
    assert len(made(knows, lacks, needs=needs).offers) == 2
    got = made(knows, lacks, needs=needs, require_parameters=True)
    assert (providers(got.offers), reasons(got)) == (["a"], {"b": "require_parameters"})
    silent = Model("v/m", "M")
    basics = Needs(10, parameters=frozenset({"temperature"}))
    unknown = plan(
        basics, (group(offer("x"), model=silent),),
        preferences=Preferences(require_parameters=True),
    )  # fmt: skip
    assert unknown.offers


def test_sorting_by_speed_uses_what_was_measured_and_puts_the_unknown_last() -> None:
    seen = view(
        a_=Health(latency={"p50": 0.9}, throughput={"p50": 50.0}),
        b_=Health(latency={"p50": 0.2}, throughput={"p50": 90.0}),
    )
    assert providers(made(*MATES, view=seen, sort="latency").offers) == ["b", "a", "c"]
    assert providers(made(*MATES, view=seen, sort="throughput").offers) == ["b", "a", "c"]


def test_the_balanced_order_weighs_price_against_speed() -> None:
    seen = view(a_=Health(latency={"p50": 2.0}), c_=Health(latency={"p50": 0.1}))
    offers = (offer("a", 1), offer("c", 1.8))
    for weights, first in (({"price": 1.0}, "a"), ({"latency": 1.0}, "c")):
        got = made(*offers, view=seen, sort="balanced", weights=weights, fallback_price_ratio=9.0)
        assert got.offers[0].provider == first


def test_careless_tool_calls_cost_the_first_place_in_the_exacto_order() -> None:
    seen = view(a_=Health(tools_valid=0.9), b_=Health(tools_valid=1.0))
    assert made(*MATES[:2], view=seen, sort="exacto").offers[0].provider == "b"


def test_a_split_shares_first_tries_by_percent_and_keeps_the_others_as_fallbacks() -> None:
    seeds = random.Random(2)
    split = {"a": 70.0, "c": 30.0}
    plans = [made(*MATES, split=split, seed=seeds.getrandbits(64)) for _ in range(3000)]
    firsts = Counter(p.offers[0].provider for p in plans)
    assert firsts["a"] / 3000 == pytest.approx(0.7, abs=0.03)
    assert firsts["b"] == 0
    assert all(len(p.offers) == 3 for p in plans if p.offers[0].provider == "c")


def test_slower_than_preferred_is_behind_but_not_out() -> None:
    seen = view(a_=Health(latency={"p90": 5.0}), b_=Health(throughput={"p50": 3.0}))
    got = made(*MATES, view=seen, sort="price", max_latency={"p90": 2.0},
               min_throughput={"p50": 10.0})  # fmt: skip
    assert got.offers[0].provider == "c"
    assert {d.offer: d.reasons for d in got.demoted} == {
        "a/m": ("slower_than_preferred",), "b/m": ("slower_than_preferred",)
    }  # fmt: skip


# ------------------------------------------------------------------ health


OPEN = Health(open_until_s=1010.0)


def test_an_open_breaker_excludes_while_two_others_are_left() -> None:
    got = made(*MATES, view=view(a_=OPEN))
    assert set(providers(got.offers)) == {"b", "c"}
    assert reasons(got) == {"a": "breaker_open"}


def test_with_one_healthy_offer_the_one_that_opens_first_is_its_fallback() -> None:
    got = made(*MATES, view=view(a_=OPEN, b=Health(open_until_s=1005.0)))
    assert providers(got.offers) == ["c", "b"]
    assert reasons(got) == {"a": "breaker_open"}
    assert [(d.offer, d.reasons) for d in got.demoted] == [("b/m", ("breaker_open",))]


def test_the_last_offer_is_never_ejected() -> None:
    last = made(*MATES[:2], view=view(a_=OPEN, b_=Health(open_until_s=1005.0)))
    assert providers(last.offers) == ["b"]
    assert reasons(last) == {"a": "breaker_open"}


def test_one_offer_is_enough_to_find_out_whether_all_are_still_down() -> None:
    got = made(*MATES, view=view(a_=OPEN, b_=OPEN, c_=OPEN))
    assert len(got.offers) == 1


def test_a_half_open_offer_comes_first_and_asks_for_the_probe() -> None:
    got = made(*MATES, view=view(c_=Health(open_until_s=999.0)))
    assert (got.offers[0].provider, got.probes) == ("c", ("c/m",))


def test_a_cooling_offer_is_out_and_a_short_pause_of_the_only_one_is_waited_for() -> None:
    cooling = Health(cooling_until_s=1001.5)
    got = made(*MATES, view=view(a_=cooling))
    assert reasons(got) == {"a": "cooling_down"} and got.wait_s == 0
    alone = made(MATES[0], view=view(a_=cooling))
    assert (providers(alone.offers), alone.wait_s) == (["a"], 1.5)
    long = made(MATES[0], view=view(a_=Health(cooling_until_s=1100.0)))
    assert not long.offers
    refusal = refusal_of(long, [group(MATES[0])])
    assert (refusal.status, refusal.headers["Retry-After"]) == (429, "100")


def test_what_does_not_exist_any_more_is_never_the_last_resort() -> None:
    got = made(MATES[0], view=view(a_=Health(hidden=True)))
    assert not got.offers and reasons(got) == {"a": "hidden"}


@pytest.mark.parametrize(
    ("health", "why"),
    [
        ({"a_": Health(requests=20, errors=2)}, "error_rate"),
        ({"a_": Health(shaky=True)}, "error_rate"),
        ({"a_": Health(outage_at_s=980.0)}, "recent_outage"),
        ({"a": Health(low_credit=True)}, "provider_low_credit"),
    ],
)
def test_trouble_puts_an_offer_behind_the_healthy_ones(health: dict[str, Health], why: str) -> None:
    for seed in range(20):
        got = made(*MATES, view=view(**health), seed=seed)
        assert got.offers[-1].provider == "a"
        assert [d.reasons for d in got.demoted] == [(why,)]


@pytest.mark.parametrize(
    "health",
    [Health(requests=19, errors=19), Health(requests=21, errors=2), Health(outage_at_s=969.0)],
)
def test_little_or_old_trouble_does_not(health: Health) -> None:
    assert not made(*MATES, view=view(a_=health)).demoted


# ------------------------------------------------------------------ more than one model


SECOND = Model("v/second", "S")


def two(needs: Needs = NEEDS, **wanted: Any) -> Plan:
    first = group(*MATES)
    second = group(offer("x", 9, model="v/second"), offer("y", 9, model="v/second"), model=SECOND)
    return plan(needs, (first, second), preferences=Preferences(**wanted))


def test_every_listed_model_has_a_place_before_the_first_has_a_third() -> None:
    got = two()
    assert [o.model_id for o in got.offers] == ["v/m", "v/m", "v/second"]


def test_without_partition_all_offers_are_one_market() -> None:
    got = two(sort="price", partition="none", fallback_price_ratio=100.0)
    assert [o.model_id for o in got.offers] == ["v/m"] * 3


def test_free_is_asked_of_each_model_by_its_own_name() -> None:
    free = group(offer("a", 0), offer("b", 1), variants=("free",))
    paid = group(offer("x", 1, model="v/second"), model=SECOND)
    got = plan(NEEDS, (free, paid))
    assert providers(got.offers) == ["a", "x"]
    assert reasons(got) == {"b": "not_free"}


@pytest.mark.parametrize(("suffix", "first"), [("floor", "a"), ("nitro", "c")])
def test_a_suffix_is_a_sort(suffix: str, first: str) -> None:
    seen = view(c_=Health(throughput={"p50": 99.0}))
    got = plan(NEEDS, (group(*MATES, variants=(suffix,)),), view=seen)
    assert got.offers[0].provider == first


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [
        ({"zdr": True}, 404, "privacy_restricted"),
        ({"regions": ("eu",)}, 403, "region_restricted"),
        ({"only": ("nobody",)}, 404, "constraint_filtered"),
        ({"max_price": {"input": 1}}, 404, "constraint_filtered"),
    ],
)
def test_a_refusal_names_what_excluded_each_offer(
    wanted: dict[str, Any], status: int, code: str
) -> None:
    got = made(*MATES, **wanted)
    refusal = refusal_of(got, [group(*MATES)])
    assert (refusal.status, refusal.code) == (status, code)
    assert [e["provider"] for e in refusal.metadata["excluded"]] == ["a", "b", "c"]


# ------------------------------------------------------------------ whatever comes


names = st.sampled_from("abcdef")
healths = st.builds(
    Health,
    open_until_s=st.sampled_from([0.0, 990.0, 1010.0]),
    cooling_until_s=st.sampled_from([0.0, 1001.0, 1200.0]),
    outage_at_s=st.sampled_from([0.0, 985.0]),
    hidden=st.booleans(),
    requests=st.integers(0, 60),
    errors=st.integers(0, 30),
)
wants = st.builds(
    Preferences,
    order=st.none() | st.lists(names, min_size=1, max_size=3, unique=True).map(tuple),
    only=st.none() | st.lists(names, min_size=1, max_size=4, unique=True).map(tuple),
    ignore=st.none() | st.lists(names, min_size=1, max_size=2, unique=True).map(tuple),
    allow_fallbacks=st.none() | st.booleans(),
    sort=st.sampled_from([None, "price", "latency", "throughput", "balanced", "exacto"]),
    free_only=st.none() | st.booleans(),
)


@given(
    st.lists(st.tuples(names, st.integers(0, 5)), unique_by=lambda pair: pair[0], min_size=1),
    st.dictionaries(names.map(lambda n: n + "/m") | names, healths),
    wants,
    st.integers(0, 2**64 - 1),
)
def test_a_plan_never_repeats_an_offer_nor_loses_one(
    pairs: list[tuple[str, int]], entries: dict[str, Health], wanted: Preferences, seed: int
) -> None:
    offers = tuple(offer(name, usd) for name, usd in pairs)
    got = plan(NEEDS, (group(*offers),), preferences=wanted, view=View(1000.0, entries), seed=seed)
    known = [o.id for o in (*got.offers, *got.spare)]
    out = [e.offer for e in got.excluded]
    assert len(known) == len(set(known)) and len(got.offers) <= 3
    if wanted.allow_fallbacks is not False:
        assert sorted(known + out) == sorted(o.id for o in offers)
    if wanted.free_only:
        assert all(o.free for o in got.offers)
    if wanted.only is not None:
        assert all(o.provider in wanted.only for o in got.offers)
    assert not set(providers(got.offers)) & set(wanted.ignore or ())
    if not got.offers:
        assert refusal_of(got, [group(*offers)]).status in (400, 403, 404, 429, 503)
