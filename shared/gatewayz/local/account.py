"""The account of this machine: made once, with credit to try everything and one key.

Guarantees the same key at every start; every step is idempotent, so a kill in between is mended
by the next start.
"""

import asyncio

from gatewayz.accounts.keys import generate_key, hash_key, well_formed
from gatewayz.core.errors import GatewayError
from gatewayz.core.money import NANOS_PER_USD
from gatewayz.local import files
from gatewayz.local.errors import LocalError
from gatewayz.local.home import Home
from gatewayz.stores.direct_postgres import DirectPostgres

ACCOUNT = "local"
STAGE = "local"
GRANT_NANOS = 10 * NANOS_PER_USD
TIMEOUT_S = 10.0


def prepare_account(home: Home, database_url: str, pepper: str) -> str:
    """The dev key; account, grant and key exist in the ledger when this returns."""
    text = _key(home)
    try:
        asyncio.run(_prepare(database_url, text, pepper))
    except GatewayError as error:
        raise LocalError(f"Cannot make the local account: {error.message}") from error
    return text


def _key(home: Home) -> str:
    """The key kept in the home, made when there is none."""
    try:
        kept = home.key_file.read_text().strip()
    except FileNotFoundError:
        kept = ""
    if well_formed(kept.encode()):
        return kept
    fresh = generate_key(STAGE).text
    files.write_private(home.key_file, fresh + "\n")
    return fresh


async def _prepare(database_url: str, text: str, pepper: str) -> None:
    postgres = DirectPostgres(database_url, timeout_s=TIMEOUT_S, pooled=False)
    digest = hash_key(text.encode(), pepper.encode()).hex()
    try:
        await postgres.rpc("open_account", {"account": ACCOUNT, "name": "Local", "stage": "dev"})
        await postgres.rpc(
            "grant_credit",
            {
                "op_id": "local-welcome",
                "account": ACCOUNT,
                "amount_nanos": GRANT_NANOS,
                "reason": "credit of the local stack",
            },
        )
        await postgres.rpc(
            "create_key",
            {
                # Another secret is another key: its id follows from what is kept of it.
                "key_id": "key_local_" + digest[:12],
                "account": ACCOUNT,
                "name": "Development key",
                "hash": digest,
                "prefix": text[:13],
            },
        )
    finally:
        await postgres.close()
