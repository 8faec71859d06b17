"""Letters from the command line: what waits, what is dead, trying again."""

import asyncio
from typing import Annotated, Any

import orjson
import typer

from gatewayz.cli.target import find_target, with_stores

notices = typer.Typer(help="Letters to customers.", no_args_is_help=True)


def _call(name: str, params: dict[str, Any]) -> Any:
    return asyncio.run(with_stores(find_target(), lambda s: s.postgres.rpc(name, params)))


@notices.command("show")
def show() -> None:
    """Count what waits, was sent in the last 30 days, or is dead; as JSON."""
    print(orjson.dumps(_call("notice_stats", {}), option=orjson.OPT_INDENT_2).decode())


@notices.command("revive")
def revive(
    kind: Annotated[str, typer.Option(help="One kind alone.", show_default=False)] = "",
) -> None:
    """Try dead letters again, after what killed them was mended."""
    row = _call("revive_notices", {"kind": kind or None})
    print(f"{row['revived']} letters are tried again.")
