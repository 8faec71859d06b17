"""Makes bundled.txt: the catalog that a first start shows before any listing was read.

    python -m gatewayz.catalog.build FOLDER     (recorded listings: tests/catalog/listings)

Reads recorded listings and feeds, never the network. What two sources disagree on widely is left
without a price, and named on the way out.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from gatewayz.catalog.assemble import (
    CONTEXT_VARIES,
    Listed,
    Policy,
    apart,
    entry_of,
    regroup,
    with_outputs,
)
from gatewayz.catalog.bundle import BUNDLED, About, write_bundle
from gatewayz.catalog.entries import Drafts, build, read_aliases, read_entries
from gatewayz.catalog.feeds import Feed, opinions
from gatewayz.catalog.gate import judge
from gatewayz.catalog.grouping import Index, facts, feed_name, place
from gatewayz.catalog.listings import SHAPES, Row, feeds_read
from gatewayz.catalog.listings.stream import read_whole
from gatewayz.catalog.model import Entry, Offer
from gatewayz.catalog.record import encode
from gatewayz.catalog.seed import policy_of
from gatewayz.catalog.soundness import made
from gatewayz.pricing.price import Price
from gatewayz.pricing.tiers import TieredPrice
from gatewayz.providers.config import Provider, load_providers

HERE = Path(__file__).parent
CURATED = (HERE / "curated.toml", HERE / "bundled_embeddings.toml")
ALIASES = HERE / "aliases.toml"
INDEX = "index.json"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded listing: whose, of which shape and unit, and of which day."""

    provider: str
    kind: str
    unit: str
    day: str
    body: bytes


@dataclass(slots=True)
class Report:
    """What was left without a price, and why: (offer, reason)."""

    unpriced: list[tuple[str, str]]
    # Offers placed by hand: offer id → model id.
    placed: Mapping[str, str] = field(default_factory=dict)


def read_recorded(folder: Path) -> tuple[list[Recorded], list[Feed]]:
    """Listings and feeds of a folder, as its index.json describes them."""
    index = orjson.loads((folder / INDEX).read_bytes())
    listings = [
        Recorded(
            item["provider"], item["kind"], item["unit"], item["day"],
            (folder / item["file"]).read_bytes(),
        )
        for item in index["listings"]
    ]  # fmt: skip
    feeds = [
        Feed.of(
            item["feed"], feeds_read(item["feed"], _body(folder, item), item["day"]), item["day"]
        )
        for item in index["feeds"]
    ]
    return listings, feeds


def _body(folder: Path, item: Mapping[str, Any]) -> bytes | None:
    """None: the feed's own package has it."""
    return (folder / item["file"]).read_bytes() if item["file"] else None


def rows_of(recorded: Recorded) -> list[Row]:
    shape = SHAPES[recorded.kind]
    rows: dict[str, Row] = {}
    for item in read_whole(recorded.body, shape.path):
        for row in shape.read(item, recorded.unit):
            rows.setdefault(row.native_id, row)
    return list(rows.values())


def listed_of(
    provider: str,
    rows: Iterable[Row],
    feeds: list[Feed],
    index: Index,
    *,
    day: str,
    report: Report,
) -> Iterator[Listed]:
    """Rows with their place and their price; ids are placed against `index`."""
    known = list(rows)
    natives = frozenset(row.native_id for row in known)
    for row in map(with_outputs, known):
        placed = place(provider, row, index, natives)
        price, source, checked = _priced(provider, row, feeds, day, report)
        yield Listed(provider, row, placed, price, source, checked)


def _priced(
    provider: str, row: Row, feeds: list[Feed], day: str, report: Report
) -> tuple[Price | None, str, str]:
    """(price, its source, its day): judged as a sync judges what it sees for the first time."""
    said = opinions(feeds, provider, row.native_id)
    verdict = judge(row, None, said)
    if verdict.held is not None:
        report.unpriced.append((f"{provider}/{row.native_id}", verdict.held.detail))
    days = {opinion.feed: opinion.day for opinion in said}
    return verdict.price, verdict.source, days.get(verdict.source, day)


def feed_rows(feeds: list[Feed], provider: Provider, known: set[str]) -> Iterator[tuple[Row, Feed]]:
    """Models of a provider without a recorded listing that two feeds know, or whose maker it is."""
    for native_id, found in _by_native(feeds, provider).items():
        if native_id not in known:
            yield found[0]


def _by_native(feeds: list[Feed], provider: Provider) -> Mapping[str, list[tuple[Row, Feed]]]:
    prefix = facts()["prefixes"].get(provider.slug, "")
    found: dict[str, list[tuple[Row, Feed]]] = {}
    for feed in feeds:
        named = feed_name(feed.name, provider.slug)
        for (owner, _), row in feed.rows.items():
            if owner == named:
                bare = row.native_id.removeprefix(prefix)
                native = row.native_id if row.native_id != bare else prefix + bare
                found.setdefault(native, []).append((replace(row, native_id=native), feed))
    return found


def curated(providers: Mapping[str, Provider]) -> dict[str, Entry]:
    drafts: Drafts = {}
    for file in CURATED:
        read_entries(file, drafts, providers, bundled=True)
    return {entry.model.id: entry for entry in build(drafts, providers)}


def assemble(
    listings: list[Recorded], feeds: list[Feed], providers: Mapping[str, Provider]
) -> tuple[dict[str, Entry], Report]:
    """Every model of the recorded listings and feeds, by id."""
    hand = curated(providers)
    report = Report([], {o.id: entry.model.id for entry in hand.values() for o in entry.offers})
    index = Index.of(hand)
    aliases = read_aliases(ALIASES)
    for target in aliases.values():
        index.add(target)
    index.rename(aliases)
    groups: dict[str, list[Listed]] = {}
    seen: dict[str, set[str]] = {}
    # Listings whose ids are the field's own come first: they say how a name is written.
    for recorded in sorted(
        listings, key=lambda r: SHAPES[r.kind].read is not SHAPES["openrouter"].read
    ):
        if recorded.provider not in providers:
            continue
        rows = [
            r
            for r in rows_of(recorded)
            if r.native_id not in seen.setdefault(recorded.provider, set())
        ]
        seen[recorded.provider] |= {row.native_id for row in rows}
        _collect(recorded.provider, rows, feeds, index, groups, day=recorded.day, report=report)
    for provider in providers.values():
        known = seen.setdefault(provider.slug, set())
        more = [
            replace(row, rates={}, tiers=())  # asked for again, in the order of belief
            for row, _ in feed_rows(feeds, provider, known)
            if _believed(row, provider, index, known)
        ]
        _collect(provider.slug, more, feeds, index, groups, day="", report=report)
    policies = {slug: policy_of(provider) for slug, provider in providers.items()}
    return _entries(groups, hand, policies), report


def _believed(row: Row, provider: Provider, index: Index, known: set[str]) -> bool:
    """A feed remembers what was taken off sale: there must be a second sign that it is on sale."""
    if row.deprecated_at is not None or ":" in row.native_id.rpartition("/")[2].partition("-v")[0]:
        return False
    placed = place(provider.slug, row, index)
    maker = facts()["makers"].get(provider.slug)
    # Feeds put a company's clouds together; a maker's own API has its own models.
    if maker is not None and not placed.model_id.startswith((maker + "/", provider.slug + "/")):
        return False
    return not known or placed.model_id in set(index.by_key.values())


def _collect(
    provider: str, rows: list[Row], feeds: list[Feed], index: Index,
    groups: dict[str, list[Listed]], *, day: str, report: Report,
) -> None:  # fmt: skip
    for listed in listed_of(provider, rows, feeds, index, day=day, report=report):
        known = report.placed.get(f"{provider}/{listed.row.native_id}")
        if known is not None:
            listed = replace(listed, placed=replace(listed.placed, model_id=known, how="curated"))
        index.add(listed.placed.model_id)
        groups.setdefault(listed.placed.model_id, []).append(listed)


def _entries(
    groups: dict[str, list[Listed]], hand: dict[str, Entry], policies: Mapping[str, Policy]
) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    leaving: list[Listed] = []
    for model_id, group in groups.items():
        stay, leave = regroup(group)
        leaving += [apart(listed) for listed in leave]
        if stay:
            entries[model_id] = entry_of(model_id, stay, policies)
    for listed in leaving:
        own = listed.placed.model_id
        entries.setdefault(own, entry_of(own, [listed], policies, flags=(CONTEXT_VARIES,)))
    for model_id, entry in hand.items():
        entries[model_id] = _corrected(entry, entries.get(model_id))
    return entries


def _corrected(entry: Entry, listed: Entry | None) -> Entry:
    """A curated entry with what listings add: tiers where they agree on the base, more facts."""
    if listed is None:
        return entry
    found = {offer.id: offer for offer in listed.offers}
    offers = [_merged(offer, found.pop(offer.id, None)) for offer in entry.offers]
    model = replace(
        listed.model,
        name=entry.model.name,
        created_s=entry.model.created_s or listed.model.created_s,
        # Listings seldom say that a model gives vectors, ranks or judgements, and never how long.
        input_modalities=_stated(entry.model.input_modalities, listed.model.input_modalities),
        output_modalities=_stated(entry.model.output_modalities, listed.model.output_modalities),
        dimensions=entry.model.dimensions or listed.model.dimensions,
        supported_parameters=tuple(
            dict.fromkeys((*entry.model.supported_parameters, *listed.model.supported_parameters))
        ),
    )
    return Entry(model, (*offers, *found.values()))


def _stated(hand: tuple[str, ...], listed: tuple[str, ...]) -> tuple[str, ...]:
    """What the hand says, unless that is only what every model is taken for."""
    return listed if hand == ("text",) else hand


def _merged(hand: Offer, listed: Offer | None) -> Offer:
    if listed is None or hand.price is None:
        return hand if listed is None else replace(listed, price=hand.price)
    tiers = listed.price.tiers if isinstance(listed.price, TieredPrice) else ()
    same = listed.price is not None and all(
        listed.price.of(name) == hand.price.of(name) for name in ("input", "output")
    )
    kept = replace(
        listed, price=hand.price, source=hand.source, checked=hand.checked,
        context_tokens=hand.context_tokens, max_output_tokens=hand.max_output_tokens,
        reasons=hand.reasons or listed.reasons,
    )  # fmt: skip
    if not (same and tiers):
        return kept
    return replace(
        kept,
        price=made(hand.price.nanos_per_million, tiers),
        context_tokens=listed.context_tokens or hand.context_tokens,
    )


def main(folder: Path, target: Path = BUNDLED) -> Report:
    providers = {s: p for s, p in load_providers().items() if not p.sandbox and not p.local}
    listings, feeds = read_recorded(folder)
    entries, report = assemble(listings, feeds, providers)
    offers = [offer for entry in entries.values() for offer in entry.offers]
    days = sorted({offer.checked for offer in offers if offer.checked})
    about = About(
        built=days[-1], oldest=days[0], models=len(entries), offers=len(offers),
        priced=sum(offer.price is not None for offer in offers),
    )  # fmt: skip
    aliases = {a: t for a, t in read_aliases(ALIASES).items() if t in entries}
    write_bundle(target, {i: encode(e) for i, e in entries.items()}, aliases, about)
    return report


if __name__ == "__main__":
    for offer, reason in main(Path(sys.argv[1])).unpriced:
        print(f"{offer}: {reason}", file=sys.stderr)
