"""Keys of an older system, from a file. No plaintext is stored, and none is printed."""

import asyncio
import csv
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from gatewayz.accounts.keys import STAGE_PREFIXES, hash_key, legacy_form, shown_part
from gatewayz.cli.target import find_target, with_stores
from gatewayz.core.errors import RequestError
from gatewayz.core.ids import new_id
from gatewayz.local.errors import LocalError
from gatewayz.stores.open import Stores

_SHA256 = re.compile(r"[0-9a-f]{64}")
File = Annotated[Path, typer.Argument(help="CSV with the columns account, name, key or sha256.")]


def import_keys(file: File) -> None:
    """Bring keys over from a CSV file: whole ones, or SHA-256 hashes of salt and key.

    Hashes need GATEWAYZ_LEGACY_KEY_SALT where requests are served. Accounts are opened where they
    are missing; what is there already is left alone.
    """
    target = find_target()
    pepper = target.settings.keys.pepper.encode()
    rows = [_read(row, line, pepper) for line, row in enumerate(_rows(file), start=2)]
    if any(row["legacy"] for row in rows) and not target.settings.keys.legacy_salt:
        raise LocalError("The file has hashes: set GATEWAYZ_LEGACY_KEY_SALT to their salt.")
    stage = STAGE_PREFIXES[target.settings.stage]

    async def work(stores: Stores) -> int:
        rpc, done = stores.postgres.rpc, 0
        for row in rows:
            account = row["account"]
            try:
                await rpc("open_account", {"account": account, "name": account, "stage": stage})
                done += (await rpc("import_key", row))["imported"]
            except RequestError as error:
                raise LocalError(f"{account}: {error.message}. {done} keys came before.") from None
        return done

    done = asyncio.run(with_stores(target, work))
    print(f"Brought {done} keys over; {len(rows) - done} were there already.")


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8") as text:
            return list(csv.DictReader(text))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LocalError(f"Cannot read {file}: {type(error).__name__}.") from None


def _read(row: dict[str, str], line: int, pepper: bytes) -> dict[str, Any]:
    account, key = (row.get("account") or "").strip(), (row.get("key") or "").strip()
    digest = (row.get("sha256") or "").strip().lower()
    common = {"account": account, "key_id": new_id("key_"), "name": row.get("name") or "Imported"}
    if not account or bool(key) is bool(digest):
        raise LocalError(f"Line {line} has no account, or not one of key and sha256.")
    if key:
        if not legacy_form(key.encode()):
            raise LocalError(f"The key of line {line} is no key: 16 to 128 visible characters.")
        prefix = shown_part(key.encode())
        hashed = hash_key(key.encode(), pepper).hex()
        return common | {"hash": hashed, "prefix": prefix, "legacy": False}
    if not _SHA256.fullmatch(digest):
        raise LocalError(f"The hash of line {line} is not 64 hexadecimal digits.")
    return common | {"hash": digest, "prefix": "imported", "legacy": True}
