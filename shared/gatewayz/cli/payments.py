"""Stripe's events on the command line: seen, and applied once more. Twice is harmless."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gatewayz.billing.stripe.desk import Desk

stripe = typer.Typer(help="Stripe's events.", no_args_is_help=True)
_AGE = re.compile(r"(\d{1,5})([mhd])")
UNITS = {"m": "minutes", "h": "hours", "d": "days"}
PAGE = 500


def since_ms(text: str) -> int:
    """`90m`, `36h`, `7d`, or an ISO 8601 time, as Unix milliseconds."""
    from gatewayz.core import clock

    if found := _AGE.fullmatch(text):
        span = timedelta(**{UNITS[found[2]]: int(found[1])})
        return clock.now_ms() - span // timedelta(milliseconds=1)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time: 36h, 7d or 2026-11-25") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


@stripe.command()
def replay(
    event_id: Annotated[str, typer.Argument(help="One event: evt_…")] = "",
    since: Annotated[str, typer.Option(help="All that came since: 36h, 7d, 2026-11-25.")] = "",
    problems: Annotated[
        bool, typer.Option("--waiting", help="Of those only what was never applied.")
    ] = False,
) -> None:
    """Apply stored events again. An event that never came is fetched from Stripe first."""
    if bool(event_id) == bool(since):
        raise typer.BadParameter("Name one event, or --since.")
    asyncio.run(_replay(event_id, since_ms(since) if since else 0, waiting=problems))


async def _replay(event_id: str, from_ms: int, *, waiting: bool) -> None:
    from gatewayz.billing.stripe.events import apply_event

    failed = 0
    async with _desk() as desk:
        async for name in _names(desk, event_id, from_ms, waiting=waiting):
            try:
                outcome = await apply_event(desk, name)
            except Exception as error:
                print(f"{name}  failed  {error}")
                failed += 1
            else:
                print(f"{name}  {outcome.status}  {outcome.detail or ''}".rstrip())
    if failed:
        raise typer.Exit(1)


async def _names(desk: "Desk", event_id: str, from_ms: int, *, waiting: bool) -> AsyncIterator[str]:
    if event_id:
        await _fetch_unknown(desk, event_id)
        yield event_id
        return
    after = ""
    while True:
        rows = await desk.postgres.rpc(
            "list_events_since",
            {"since_ms": from_ms, "waiting": waiting, "after": after, "limit": PAGE},
        )
        for row in rows:
            yield row["event_id"]
        if len(rows) < PAGE:
            return
        after = rows[-1]["position"]


async def _fetch_unknown(desk: "Desk", event_id: str) -> None:
    from gatewayz.billing.stripe.check import store_event

    if await desk.postgres.rpc("find_missing_events", {"ids": [event_id]}):
        await store_event(desk, event_id)


@asynccontextmanager
async def _desk() -> "AsyncIterator[Desk]":
    from gatewayz.billing.stripe.client import open_client
    from gatewayz.billing.stripe.desk import Desk
    from gatewayz.cli.target import find_target
    from gatewayz.stores.open import open_stores

    target = find_target()
    stores = open_stores(target.settings)
    billing = target.settings.billing
    try:
        key = stores.secrets.find("STRIPE_SECRET_KEY")
        async with open_client(key, billing.stripe_url) as client:
            yield Desk(client, stores.postgres, billing, stores.redis)
    finally:
        await stores.close()
