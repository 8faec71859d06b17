"""The audit from the command line: verify an account's chain, write it out whole."""

import asyncio
from typing import Annotated, Any

import orjson
import typer

from gatewayz.cli.target import find_target, with_stores
from gatewayz.local.errors import LocalError
from gatewayz.stores.open import Stores

audit = typer.Typer(help="Who changed what.", no_args_is_help=True)
Account = Annotated[
    str, typer.Option(help="The account; @house for what operators did.", show_default=False)
]
PAGE = 1000


@audit.command("verify")
def verify(account: Account = "") -> None:
    """Check the hash chain; names the first entry that is missing or was changed."""
    target = find_target()
    params = {"account": target.account(account)}
    row: dict[str, Any] = asyncio.run(
        with_stores(target, lambda stores: stores.postgres.rpc("verify_audit", params))
    )
    if not row["valid"]:
        raise LocalError(f"The audit of {row['account']} is broken at entry {row['first_broken']}.")
    print(f"The audit of {row['account']} is whole: {row['entries']} entries, head {row['head']}.")


@audit.command("export")
def export(account: Account = "") -> None:
    """Write every entry as a line of JSON, newest first."""
    target = find_target()
    name = target.account(account)

    async def work(stores: Stores) -> None:
        before: int | None = None
        while True:
            rows = await stores.postgres.rpc(
                "list_audit", {"account": name, "limit": PAGE, "before": before}
            )
            for row in rows:
                print(orjson.dumps(row).decode())
            if len(rows) < PAGE:
                return
            before = rows[-1]["seq"]

    asyncio.run(with_stores(target, work))
