"""What snapshots are made of: records, the bundled file, prices with tiers and markup."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.catalog.bundle import About, Bundle, open_bundle, write_bundle
from gatewayz.catalog.model import Entry, Model, Offer, offer_id
from gatewayz.catalog.record import DamagedRecord, decode, encode
from gatewayz.catalog.snapshot import bundled_snapshot, pack_snapshot, unpack
from gatewayz.catalog.soundness import Unsound, made, price_from
from gatewayz.pricing.charge import amount_nanos, lines_of
from gatewayz.pricing.markup import MAX_PPM, PPM, markup_of, sale_price
from gatewayz.pricing.price import Price
from gatewayz.pricing.tiers import Tier, TieredPrice
from gatewayz.pricing.usage import CLASSES, Usage

nanos = st.dictionaries(st.sampled_from(CLASSES), st.integers(0, 10**13), max_size=5)
tiers = st.lists(
    st.tuples(st.integers(1, 10**6), nanos), max_size=3, unique_by=lambda tier: tier[0]
).map(lambda known: tuple(Tier(above, rates) for above, rates in sorted(known, key=lambda t: t[0])))
prices = st.builds(made, nanos, tiers)
words = st.lists(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), max_size=3).map(tuple)
ids = st.from_regex(r"[a-z]{1,8}/[a-z0-9.-]{1,12}", fullmatch=True)


@st.composite
def entries(draw: Any) -> Entry:
    model_id = draw(ids)
    natives = draw(st.lists(st.from_regex(r"[A-Za-z0-9:@/._-]{1,20}", fullmatch=True),
                            max_size=3, unique=True))  # fmt: skip
    model = Model(
        model_id, draw(st.text(max_size=20)),
        context_tokens=draw(st.none() | st.integers(1, 10**7)),
        capabilities=draw(words), benchmarks={"a": 1.5} if draw(st.booleans()) else {},
    )  # fmt: skip
    offers = tuple(
        Offer(
            offer_id("p", native), model_id, "p", native, draw(st.none() | prices),
            supported_parameters=draw(words), zdr=draw(st.booleans()),
            trains=draw(st.none() | st.booleans()), cost=draw(st.none() | prices),
        )
        for native in natives
    )  # fmt: skip
    return Entry(model, offers)


@given(entries())
def test_reading_gives_back_what_was_written(entry: Entry) -> None:
    assert decode(encode(entry)) == entry
    assert b"\n" not in encode(entry)


@given(st.binary(max_size=60))
def test_junk_is_refused_never_half_read(junk: bytes) -> None:
    with pytest.raises(DamagedRecord):
        decode(junk)


def test_a_cut_or_foreign_record_is_refused() -> None:
    text = encode(next(open_bundle().entries()))
    for damaged in (text[:-1], text.replace(b'"v":1', b'"v":2'), b"[]", b"null", b'{"v":1}'):
        with pytest.raises(DamagedRecord):
            decode(damaged)


def test_a_snapshot_is_whole_or_refused() -> None:
    snapshot = bundled_snapshot()
    packed = pack_snapshot(snapshot)
    assert unpack(packed, "bundled") == snapshot
    for damaged in (packed[:-9], b"", b"x" * 50, packed[:40] + b"\0" * 9 + packed[49:]):
        with pytest.raises(ValueError, match=r"."):
            unpack(damaged, "blob")


# ---------------------------------------------------------------- the bundled file


def test_every_name_of_the_bundle_is_found_and_no_other() -> None:
    bundle = open_bundle()
    names = bundle.names()
    assert names == sorted(names)
    for name in names:
        entry = bundle.find(name)
        assert entry is not None and entry.model.id == name
        assert bundle.find(name[:-1] + "\x7f") is None
    for alias, model_id in bundle.aliases().items():
        assert bundle.alias(alias) == model_id
        assert bundle.find(alias) is None
    for name in ("", "a", "~", "zzzz", "!", "\t", names[0].upper(), "ä"):
        assert bundle.find(name) is None
        assert bundle.alias(name) is None


NAMES = st.lists(st.from_regex(r"[a-zA-Z0-9/.:-]{1,12}", fullmatch=True), unique=True, max_size=9)


@given(NAMES)
def test_a_file_of_any_names_finds_each(folder: Path, names: list[str]) -> None:
    path = folder / "bundle.txt"
    made_of = {name: encode(Entry(Model(name, name), ())) for name in names}
    write_bundle(path, made_of, {}, About("2026-01-01", "2026-01-01", len(names), 0, 0))
    bundle = Bundle(path)
    assert bundle.names() == sorted(names, key=str.encode)
    for name in names:
        found = bundle.find(name)
        assert found is not None and found.model.id == name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


# ---------------------------------------------------------------- markup and tiers


@given(prices, st.integers(0, MAX_PPM))
def test_a_sale_price_is_the_cost_times_the_markup_never_below(cost: Price, ppm: int) -> None:
    price = sale_price(cost, ppm)
    for name, value in cost.nanos_per_million.items():
        sold = price.nanos_per_million[name]
        assert sold * PPM >= value * ppm
        assert (sold - 1) * PPM < value * ppm or sold == 0
    assert (price.version == cost.version) == (ppm == PPM)


@given(prices, st.integers(0, 2 * 10**6), st.integers(0, 10**6))
def test_one_function_charges_every_tier(cost: Price, prompt: int, answer: int) -> None:
    units = {"input": prompt, "output": answer}
    prompt = prompt if cost.at(prompt).of("input") is not None else 0
    known = {name: count for name, count in units.items() if cost.at(prompt).of(name) is not None}
    lines = lines_of(Usage(known), cost)
    rates = cost.at(known.get("input", 0))
    assert amount_nanos(lines) == min(
        -(-sum(count * (rates.of(name) or 0) for name, count in known.items()) // 10**6),
        10**4 * 10**9,
    )


def test_the_narrowest_markup_counts() -> None:
    assert markup_of(None, None, None) == PPM
    assert markup_of(None, 2, 3) == 2
    assert markup_of(0, 2, 3) == 0


def test_tiers_rise_and_keep_what_they_do_not_name() -> None:
    price = TieredPrice("v", {"input": 1, "output": 2}, tiers=(Tier(10, {"input": 3}),))
    assert price.at(10) is price
    assert (price.at(11).of("input"), price.at(11).of("output")) == (3, 2)
    with pytest.raises(ValueError, match="tiers must rise"):
        TieredPrice("v", {}, tiers=(Tier(10, {}), Tier(10, {})))
    with pytest.raises(ValueError, match="tiers must rise"):
        TieredPrice("v", {}, tiers=())


def test_an_embedding_needs_no_price_of_output_and_a_writer_does() -> None:
    from decimal import Decimal

    price = price_from({"input": Decimal("0.02")}, outputs=("embeddings",))
    assert price is not None and price.of("output") is None
    for outputs in ((), ("text",), ("text", "image")):
        with pytest.raises(Unsound):
            price_from({"input": Decimal("0.02")}, outputs=outputs)


def test_versions_name_content_alike_everywhere() -> None:
    from gatewayz.catalog.entries import price_of

    plain = made({"input": 500_000_000, "output": 10**9})
    assert plain.version == price_of({"input": "0.5", "output": "1"}).version
    tiered = made({"input": 500_000_000, "output": 10**9}, (Tier(5, {"input": 1}),))
    assert tiered.version != plain.version
    assert replace(plain, version="x").nanos_per_million == plain.nanos_per_million
