"""What people take out of service for a while, and whether the schedule may probe.

Guarantees that an offer in maintenance is in no plan of any process until its time is over or
somebody ends it, also when Redis forgot it: the schedule tells it again every minute.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gatewayz.health.rows import Page, text_of
from gatewayz.routing.board import Board
from gatewayz.stores.open import Stores

Row = Mapping[str, Any]
HIDE, SHOW = "H2", "H0"


async def begin(
    stores: Stores, model: str, offers: Sequence[str], *, provider: str | None, hours: float | None,
    note: str | None, actor: str,
) -> Page:  # fmt: skip
    """Out of every plan from now on; for so many hours, or until somebody ends it."""
    row = await stores.postgres.rpc(
        "begin_maintenance",
        {"model": model, "provider": provider or "", "offers": list(offers), "note": note,
         "actor": actor, "for_ms": None if hours is None else round(hours * 3_600_000)},
    )  # fmt: skip
    await _tell(stores, row["offers"], HIDE)
    return page_of(row)


async def end(stores: Stores, model: str, *, provider: str | None) -> Page | None:
    """Back in service; None when it was not in maintenance."""
    row = await stores.postgres.rpc("end_maintenance", {"model": model, "provider": provider or ""})
    if row is None:
        return None
    await _tell(stores, row["offers"], SHOW)
    return page_of(row)


async def keep_up(stores: Stores, board: Board) -> frozenset[str]:
    """Tell all processes what is in maintenance and what is no more; the offers that are."""
    found = await stores.postgres.rpc("list_maintenance", {"forget": True})
    for row in found["over"]:
        for offer in row["offers"]:
            board.tell(offer, SHOW)
    current = frozenset(offer for row in found["current"] for offer in row["offers"])
    for offer in current:
        board.tell(offer, HIDE)
    return current


async def current(stores: Stores) -> list[Page]:
    found = await stores.postgres.rpc("list_maintenance", {})
    return [page_of(row) for row in found["current"]]


async def probing(stores: Stores) -> Page:
    """Does the schedule probe, and how often did it today?"""
    state = await stores.postgres.rpc("probing_state", {})
    return {
        "monitoring_active": state["on"],
        "changed_at": text_of(state["changed_at_ms"]),
        "probes_today": state["probes_today"],
    }


def page_of(row: Row) -> Page:
    return {
        "model": row["model"],
        "provider": row["provider"],
        "offers": row["offers"],
        "note": row["note"],
        "by": row["actor"],
        "started_at": text_of(row["begun_at_ms"]),
        "until": text_of(row["until_ms"]),
    }


def in_maintenance(rows: Iterable[Page], *, model: str, provider: str) -> bool:
    return any(row["model"] == model and row["provider"] in (None, provider) for row in rows)


async def _tell(stores: Stores, offers: Iterable[str], event: str) -> None:
    board = Board(stores.redis)
    for offer in offers:
        board.tell(offer, event)
    await board.finish_background()
