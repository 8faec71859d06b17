"""The ring that seals provider keys, from the command line: a new key for it, wrapping anew."""

import asyncio
import sys

import typer

from gatewayz.accounts.provider_keys import reseal
from gatewayz.accounts.sealing import RING, find_ring, new_ring
from gatewayz.billing.epochs import Epochs
from gatewayz.cli.target import find_target, with_stores
from gatewayz.core.settings import load_settings
from gatewayz.local.errors import LocalError
from gatewayz.stores.open import Stores
from gatewayz.stores.secrets import Secrets

ring = typer.Typer(help="The keys that seal provider keys (BYOK).", no_args_is_help=True)


@ring.command("new")
def new() -> None:
    """Print the ring with a new key in front; what is sealed stays readable."""
    before = Secrets().find(RING) or ""
    try:
        made = new_ring(before)
    except ValueError as error:
        raise LocalError(str(error)) from None
    print(made)
    print(f"Set it as {RING} where the providers' credentials are, deploy, then `gatewayz ring "
          "reseal`.", file=sys.stderr)  # fmt: skip


@ring.command("reseal")
def reseal_all() -> None:
    """Wrap every provider key under the ring's newest key; then the older ones may go."""
    target = find_target()

    async def work(stores: Stores) -> dict[str, int]:
        held = find_ring(stores.secrets.find)
        return await reseal(stores.postgres, held, Epochs(stores, load_settings()).push)

    done = asyncio.run(with_stores(target, work))
    print(f"{done['resealed']} provider keys are sealed anew.")
    if done["damaged"]:
        raise LocalError(f"{done['damaged']} could not be opened: is a key of the ring missing?")
