"""What a run of the sync did, and the rows it stores: for the run, people and the log. Pure."""

from dataclasses import dataclass, field
from typing import Any

from gatewayz.catalog.assemble import Policy
from gatewayz.catalog.gate import Verdict, usd_text_of
from gatewayz.catalog.grouping import Placed
from gatewayz.catalog.listings.row import Row
from gatewayz.catalog.publish import Published
from gatewayz.catalog.store import KnownProvider, held_row, offer_row, price_in


@dataclass(slots=True)
class ProviderResult:
    """What one listing gave. `changes` and `held` are filled by a dry run, for people."""

    provider: str
    state: str = "good"
    fetched: int = 0
    added: int = 0
    changed: int = 0
    quarantined: int = 0
    missing: int = 0
    error: str = ""
    took_ms: int = 0
    changes: list[tuple[str, str, str]] = field(default_factory=list)
    held: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(slots=True)
class RunResult:
    """`state`: done, refused (nothing was published), running (out of time) or dry."""

    run_id: str
    state: str = "done"
    resumed: bool = False
    seeded: int = 0
    feeds: dict[str, str] = field(default_factory=dict)
    providers: list[ProviderResult] = field(default_factory=list)
    published: Published | None = None
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """For logs and answers."""
        published = self.published
        return {
            "run_id": self.run_id,
            "state": self.state,
            "resumed": self.resumed,
            "seeded": self.seeded,
            "feeds": self.feeds,
            "providers": [
                {
                    name: getattr(result, name)
                    for name in (
                        "provider", "state", "fetched", "added", "changed", "quarantined",
                        "missing", "error", "took_ms",
                    )
                }
                for result in self.providers
            ],
            "version": published.version if published else None,
            "models": published.models if published else None,
            "offers": published.offers if published else None,
            "detail": self.detail,
        }  # fmt: skip


def stored_row(
    row: Row, placed: Placed, policy: Policy, verdict: Verdict, now_ms: int
) -> dict[str, Any]:
    return offer_row(
        row, placed, policy, price=verdict.price, free=verdict.free, source=verdict.source,
        checked_ms=now_ms,
    )  # fmt: skip


def price_row(native_id: str, verdict: Verdict, now_ms: int) -> dict[str, Any]:
    whole = offer_row(
        Row(native_id), Placed("", "own"), Policy(), price=verdict.price, free=verdict.free,
        source=verdict.source, checked_ms=now_ms,
    )  # fmt: skip
    return {name: whole[name] for name in ("native_id", "price", "source", "checked_ms")}


def note_held(
    held: list[dict[str, Any]], result: ProviderResult, native_id: str, verdict: Verdict,
    known: KnownProvider,
) -> None:  # fmt: skip
    if verdict.held is None:
        return
    before = known.offers.get(native_id)
    held.append(held_row(native_id, verdict.held, before.price if before else None))
    result.held.append((native_id, verdict.held.reason, verdict.held.detail))


def count_dry(
    result: ProviderResult, offers: list[dict[str, Any]], held: list[dict[str, Any]],
    known: KnownProvider,
) -> None:  # fmt: skip
    """What a run would do, without doing it."""
    natives = {offer["native_id"] for offer in offers}
    result.quarantined = len(held)
    result.missing = sum(native_id not in natives for native_id in known.offers)
    for offer in offers:
        before = known.offers.get(offer["native_id"])
        result.added += before is None
        price = price_in(offer["price"])
        if before is None or before.price is None or price is None:
            continue
        if price.version != before.price.version:
            result.changed += 1
            result.changes.append(
                (offer["native_id"], usd_text_of(before.price), usd_text_of(price))
            )
