"""The catalog on the command line: reading listings, and what an operator decides about prices."""

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar

import orjson
import typer

from gatewayz.local.errors import LocalError

catalog = typer.Typer(help="Models, prices, and what is held back.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
T = TypeVar("T")
BAR_CHARS = 24


def sync(
    provider: Annotated[
        list[str] | None, typer.Option(help="Only this provider; may be given more than once.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change; change nothing.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Publish even if more than a tenth of prices changed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read providers' listings, judge their prices, publish the catalog."""
    from gatewayz.catalog.load import load_own
    from gatewayz.catalog.results import RunResult
    from gatewayz.catalog.syncing import sync_catalog
    from gatewayz.cli.target import find_target, with_stores
    from gatewayz.stores.open import Stores

    target = find_target()
    bars = Bars(sys.stderr, shown=sys.stderr.isatty() and not as_json)

    async def work(stores: Stores) -> RunResult:
        known = load_own(target.settings.catalog, stores.secrets).providers
        for slug in provider or ():
            if slug not in known:
                raise LocalError(f"{slug!r} is no provider here")
        return await sync_catalog(
            stores, target.settings, provider or (), kind="command", force=force,
            dry_run=dry_run, progress=bars.show,
        )  # fmt: skip

    result = asyncio.run(with_stores(target, work))
    bars.done()
    if as_json:
        print(orjson.dumps(result.as_json(), option=orjson.OPT_INDENT_2).decode())
    else:
        print_result(result)
    if result.state not in ("done", "dry"):
        raise typer.Exit(1)


def print_result(result: Any) -> None:
    """A summary table, then what a person should see."""
    rows = [("PROVIDER", "STATE", "MODELS", "NEW", "CHANGED", "HELD", "MISSING", "SECONDS", "")]
    for one in result.providers:
        rows.append(
            (one.provider, one.state, str(one.fetched), str(one.added), str(one.changed),
             str(one.quarantined), str(one.missing), f"{one.took_ms / 1000:.1f}", one.error)
        )  # fmt: skip
    print_table(rows)
    for one in result.providers if result.state == "dry" else ():
        for native_id, before, after in one.changes:
            print(f"{one.provider}/{native_id}: {before} -> {after}")
        for native_id, reason, detail in one.held:
            print(f"{one.provider}/{native_id}: would be held back ({reason}: {detail})")
    for feed, said in result.feeds.items():
        print(f"feed {feed}: {said}")
    if result.published is not None:
        done = result.published
        what = "Published" if done.fresh else "Nothing changed:"
        print(f"{what} {done.models} models, {done.offers} offers, version {done.version}.")
    if result.detail:
        print(f"{result.state}: {result.detail}")


class Bars:
    """A line for each provider while it is read; on a terminal only."""

    def __init__(self, out: Any, *, shown: bool) -> None:
        self._out = out
        self._shown = shown
        self._states: dict[str, tuple[str, int]] = {}
        self._drawn = 0

    def show(self, provider: str, what: str, rows: int) -> None:
        """`what` happens at `provider`, with so many models read."""
        self._states[provider] = (what, rows)
        if not self._shown:
            return
        if self._drawn:
            self._out.write(f"\x1b[{self._drawn}A")
        for slug, (state, count) in self._states.items():
            full = BAR_CHARS if state != "reading" else min(BAR_CHARS - 1, count // 50 + 1)
            bar = "█" * full + "░" * (BAR_CHARS - full)
            self._out.write(f"\x1b[2K{slug:<26} {bar} {state:<8} {count}\n")
        self._drawn = len(self._states)
        self._out.flush()

    def done(self) -> None:
        self._drawn = 0


@catalog.command()
def about(as_json: Json = False) -> None:
    """Say which catalog is served here, and how old it is."""
    from gatewayz.catalog.bundle import open_bundle
    from gatewayz.catalog.snapshot import current_version

    bundled = open_bundle().about
    version = _ask(current_version)
    told = {
        "published": version or None,
        "bundled": {"built": bundled.built, "models": bundled.models, "offers": bundled.offers},
    }
    if as_json:
        return _print_json(told)
    if version:
        print(f"Published version {version}.")
    else:
        print("Nothing was published here: the bundled catalog is served. `gatewayz sync` reads")
        print("the providers' listings.")
    print(
        f"Bundled: {bundled.models} models, {bundled.offers} offers, {bundled.priced} with a "
        f"price; prices of {bundled.oldest} to {bundled.built}."
    )


@catalog.command("quarantine")
def list_quarantine(
    provider: Annotated[str, typer.Option(help="Only this provider's.")] = "",
    as_json: Json = False,
) -> None:
    """Show prices that were not believed."""
    params = {"provider": provider} if provider else {}
    rows = _rpc("catalog_list_quarantine", {"limit": 1000, **params})
    if as_json:
        return _print_json(rows)
    lines = [("ID", "OFFER", "REASON", "DETAIL")]
    lines += [(str(r["id"]), r["offer_id"], r["reason"], r["detail"]) for r in rows]
    print_table(lines)


@catalog.command()
def accept(number: Annotated[int, typer.Argument(help="As `quarantine` shows it.")]) -> None:
    """Believe a price that was held back."""
    _act(lambda operator: operator.decide(number, "accepted"))


@catalog.command()
def reject(number: Annotated[int, typer.Argument(help="As `quarantine` shows it.")]) -> None:
    """Refuse a price for good; the known one stays."""
    _act(lambda operator: operator.decide(number, "rejected"))


Enabled = Annotated[bool | None, typer.Option("--enable/--disable", help="Offer it or not.")]
Hidden = Annotated[bool | None, typer.Option("--hide/--show", help="Leave it out of lists.")]
Markup = Annotated[str, typer.Option(help="A factor, as in 1.25; `none` takes it back.")]


@catalog.command()
def offer(
    name: Annotated[str, typer.Argument(help="provider/native id")],
    enabled: Enabled = None, hidden: Hidden = None, markup: Markup = "",
    price: Annotated[
        str, typer.Option(help="USD per million, as in input=2.5,output=15; `none` or `free`.")
    ] = "",
    model: Annotated[str, typer.Option(help="The model it is an offer of; `none`.")] = "",
) -> None:  # fmt: skip
    """Enable, hide, mark up or price one offer; what is not named stays."""
    wanted = _wanted(enabled, hidden, markup)
    if price:
        wanted["price"] = read_price(price)
    if model:
        wanted["model"] = None if model == "none" else model
    _act(lambda operator: operator.set("offer", name, wanted))


@catalog.command()
def model(name: str, enabled: Enabled = None, hidden: Hidden = None, markup: Markup = "") -> None:
    """Enable, hide or mark up one model."""
    _act(lambda operator: operator.set("model", name, _wanted(enabled, hidden, markup)))


@catalog.command()
def provider(name: str, enabled: Enabled = None, markup: Markup = "") -> None:
    """Enable or mark up all offers of one provider."""
    _act(lambda operator: operator.set("provider", name, _wanted(enabled, None, markup)))


@catalog.command()
def alias(
    name: str,
    model: Annotated[str, typer.Argument(help="A canonical id; `none` takes the alias away.")],
    redirect: Annotated[
        bool, typer.Option("--redirect", help="From a retired model; answers will say so.")
    ] = False,
) -> None:
    """Give a model another name."""
    target = None if model == "none" else model
    kind = "redirect" if redirect else "alias"
    _act(lambda operator: operator.set_alias(name, target, kind))


@catalog.command()
def publish(
    force: Annotated[bool, typer.Option("--force", help="However much changed.")] = False,
) -> None:
    """Show what is stored, without reading any listing."""
    _act(lambda operator: operator.publish(force=force))


@catalog.command()
def alerts(as_json: Json = False) -> None:
    """Show what calls for somebody."""
    rows = _rpc("catalog_list_alerts", {"limit": 1000})
    if as_json:
        return _print_json(rows)
    lines = [("ID", "SEVERITY", "KIND", "SUBJECT", "DETAIL")]
    lines += [(str(r["id"]), r["severity"], r["kind"], r["subject"], r["detail"]) for r in rows]
    print_table(lines)


@catalog.command()
def audit(days: Annotated[int, typer.Option(min=1, max=365)] = 30) -> None:
    """Print the pricing audit of the last days as JSON."""
    from gatewayz.catalog.reports import pricing_audit
    from gatewayz.catalog.snapshot import load_snapshot
    from gatewayz.catalog.store import CatalogStore

    async def work(stores: Any) -> Any:
        snapshot = await load_snapshot(stores)
        return await pricing_audit(CatalogStore(stores.postgres), snapshot.entries, days)

    _print_json(_ask(work))


@catalog.command()
def unpriced() -> None:
    """Show offers that cannot be sold, because nobody knows their price."""
    rows = _rpc("catalog_unpriced", {"limit": 10000})
    print_table(
        [("OFFER", "MODEL", "HELD"), *((r["offer"], r["model"], r["held"] or "") for r in rows)]
    )


@catalog.command()
def trail(as_json: Json = False) -> None:
    """Show who changed what."""
    rows = _rpc("catalog_trail", {"limit": 1000})
    if as_json:
        return _print_json(rows)
    lines = [("WHO", "DID", "TO", "BEFORE", "AFTER")]
    lines += [
        (r["actor"], r["action"], r["subject"], _short(r["before"]), _short(r["after"]))
        for r in rows
    ]
    print_table(lines)


def read_price(text: str) -> dict[str, Any] | None:
    """`input=2.5,output=15`, `free` or `none` as operators.price_override takes it."""
    if text == "none":
        return None
    if text == "free":
        return {"free": True}
    pairs = (part.partition("=") for part in text.split(","))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _wanted(enabled: bool | None, hidden: bool | None, markup: str) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    if enabled is not None:
        wanted["enabled"] = enabled
    if hidden is not None:
        wanted["hidden"] = hidden
    if markup:
        wanted["markup"] = None if markup == "none" else markup
    return wanted


def _act(do: Callable[[Any], Awaitable[dict[str, Any]]]) -> None:
    """One change under the name of who is signed in at this machine."""
    from gatewayz.catalog.load import load_own
    from gatewayz.catalog.operators import Operator
    from gatewayz.catalog.views.pages import render_pages
    from gatewayz.cli.target import find_target, with_stores

    target = find_target()

    async def work(stores: Any) -> dict[str, Any]:
        own = load_own(target.settings.catalog, stores.secrets)
        operator = Operator(
            stores, f"{getpass.getuser()} (command line)",
            render=lambda snapshot: render_pages(snapshot, own.providers, own.ready),
        )  # fmt: skip
        return await do(operator)

    _print_json(asyncio.run(with_stores(target, work)))


def _ask(work: Callable[[Any], Awaitable[T]]) -> T:
    from gatewayz.cli.target import find_target, with_stores

    return asyncio.run(with_stores(find_target(), work))


def _rpc(name: str, params: dict[str, Any]) -> Any:
    return _ask(lambda stores: stores.postgres.rpc(name, params))


def _print_json(value: Any) -> None:
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode())


def _short(value: Any) -> str:
    return "" if value is None else orjson.dumps(value).decode()[:80]


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
