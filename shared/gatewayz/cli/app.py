"""The commands and their options; what they do stands in their own modules, loaded at use."""

import asyncio
import dataclasses
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer

from gatewayz.cli.audit import audit
from gatewayz.cli.catalog import catalog, sync
from gatewayz.cli.document import openapi
from gatewayz.cli.legacy import import_keys
from gatewayz.cli.notices import notices
from gatewayz.cli.payments import stripe
from gatewayz.cli.queue import queue
from gatewayz.cli.release import release
from gatewayz.cli.ring import ring
from gatewayz.cli.smoke import smoke
from gatewayz.cli.verify import verify
from gatewayz.core.errors import GatewayError
from gatewayz.core.settings import Settings, SettingsError, load_settings
from gatewayz.local.environment import load_env_file
from gatewayz.local.errors import LocalError

app = typer.Typer(
    help="One API key, every AI model, one bill: run and look after a gateway.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
keys = typer.Typer(help="API keys.", no_args_is_help=True)
credits = typer.Typer(help="Credit of an account.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(credits, name="credits")
app.add_typer(queue, name="queue")
app.add_typer(stripe, name="stripe")
app.add_typer(catalog, name="catalog")
app.add_typer(audit, name="audit")
app.add_typer(verify, name="verify")
app.add_typer(release, name="release")
app.add_typer(notices, name="notices")
app.add_typer(ring, name="ring")
keys.command("import")(import_keys)
app.command()(sync)
app.command()(openapi)
app.command()(smoke)

Account = Annotated[str, typer.Option(help="The account; on a local stack its own when not given.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def run() -> int:
    """Parse the command line and do it; the exit code."""
    try:
        load_env_file()
        app(prog_name="gatewayz")
    except (LocalError, SettingsError) as error:
        print(f"gatewayz: {error}", file=sys.stderr)
    except GatewayError as error:
        print(f"gatewayz: {error.message}", file=sys.stderr)
    return 1


@app.command()
def dev(
    show_key: Annotated[
        bool, typer.Option("--show-key", help="Print the key also when no terminal reads it.")
    ] = False,
    port: Annotated[int | None, typer.Option(help="Instead of PORT.", min=1, max=65535)] = None,
) -> None:
    """Run everything on this machine, stores included."""
    from gatewayz.local.dev import run_dev

    settings = _with_port(load_settings(), port)
    run_dev(settings, show_key=show_key or sys.stdout.isatty())


@app.command()
def demo() -> None:
    """A minute in the terminal: streams, a kill, and a ledger that comes out even."""
    from gatewayz.local.demo import main

    raise typer.Exit(asyncio.run(main()))


@app.command()
def serve(
    everything: Annotated[
        bool, typer.Option("--all", help="Run the workers beside it, as `work` does.")
    ] = False,
    port: Annotated[int | None, typer.Option(help="Instead of PORT.", min=1, max=65535)] = None,
) -> None:
    """Serve HTTP over the environment's stores."""
    settings = _with_port(load_settings(), port)
    if everything:
        from gatewayz.local.together import run_all

        run_all(settings)
    else:
        from gatewayz.local.serve import run_http

        run_http(settings)


@app.command()
def work() -> None:
    """Run the queue workers and schedules."""
    from gatewayz.local.serve import load_work, run_work

    run_work(load_settings(), load_work())


@app.command()
def migrate(
    folder: Annotated[
        Path | None, typer.Option(help="Where the .sql files are, instead of the bundled ones.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Name what would be applied, and change nothing.")
    ] = False,
) -> None:
    """Bring the database to the newest schema."""
    from gatewayz.cli.target import find_target
    from gatewayz.local.migrate import apply_migrations, pending_migrations

    url = find_target().settings.stores.database_url
    if not url:
        raise LocalError("Migrating needs DATABASE_URL: a connection that owns the schema.")
    if dry_run:
        for name in asyncio.run(pending_migrations(url, folder)):
            print(f"would apply {name}")
        return
    applied = apply_migrations(url, folder)
    for name in applied:
        print(f"applied {name}")
    if not applied:
        print("The database is up to date.")


@keys.command("create")
def create_key(
    account: Account = "",
    name: Annotated[str, typer.Option(help="What the key is for.")] = "key",
) -> None:
    """Make a key and print it, once: only its hash is kept. Opens the account if it is new."""
    from gatewayz.cli import ledger

    ledger.create_key(account, name)


@keys.command("list")
def list_keys(account: Account = "", as_json: Json = False) -> None:
    """Show an account's keys."""
    from gatewayz.cli import ledger

    ledger.list_keys(account, as_json=as_json)


@keys.command("revoke")
def revoke_key(key_id: str, account: Account = "") -> None:
    """Make a key useless from the next request on."""
    from gatewayz.cli import ledger

    ledger.revoke_key(account, key_id)


@credits.command("grant")
def grant_credit(
    usd: Annotated[str, typer.Argument(help="Dollars, as in 10 or 0.50.")],
    account: Account = "",
    reason: Annotated[str, typer.Option(help="Kept with the grant.")] = "granted by hand",
    operation: Annotated[
        str, typer.Option(help="An id of your own: the same id grants once, however often.")
    ] = "",
) -> None:
    """Give an account credit. Opens the account if it is new."""
    from gatewayz.cli import ledger

    try:
        amount = Decimal(usd.removeprefix("$"))
    except InvalidOperation:
        raise typer.BadParameter(f"{usd!r} is not an amount") from None
    ledger.grant_credit(account, amount, reason=reason, operation=operation)


@credits.command("balance")
def show_balance(account: Account = "", as_json: Json = False) -> None:
    """Show what an account has, holds and has used."""
    from gatewayz.cli import ledger

    ledger.show_balance(account, as_json=as_json)


@app.command()
def env(
    tool: Annotated[str, typer.Argument(help="Only this tool's variables.")] = "",
    key: Annotated[str, typer.Option(help="The key to use, instead of the local one.")] = "",
    url: Annotated[str, typer.Option(help="The gateway, instead of the local one.")] = "",
) -> None:
    """Print exports for other tools: eval "$(gatewayz env)"."""
    from gatewayz.cli.tools import print_exports

    print_exports(tool, key=key, url=url)


@app.command()
def doctor() -> None:
    """Say what is wrong and how to mend it."""
    from gatewayz.cli.doctor import examine

    raise typer.Exit(examine())


def _with_port(settings: Settings, port: int | None) -> Settings:
    if port is None:
        return settings
    return dataclasses.replace(settings, http=dataclasses.replace(settings.http, port=port))
