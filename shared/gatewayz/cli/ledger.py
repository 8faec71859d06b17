"""Keys and credit from the command line. Everything goes through the same functions as HTTP."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson

from gatewayz.accounts.keys import STAGE_PREFIXES, generate_key, hash_key
from gatewayz.billing.credits import Credits
from gatewayz.billing.slot import RedisAway
from gatewayz.cli.target import Target, find_target, with_stores
from gatewayz.core.ids import new_id
from gatewayz.core.money import NANOS_PER_USD, usd_text
from gatewayz.local.errors import LocalError
from gatewayz.stores.open import Stores


def create_key(given: str, name: str) -> None:
    target = find_target()
    account = target.account(given)
    key = generate_key(target.settings.stage)
    key_id = new_id("key_")

    async def work(stores: Stores) -> None:
        await _open(target, stores, account)
        digest = hash_key(key.text.encode(), target.settings.keys.pepper.encode())
        await stores.postgres.rpc(
            "create_key",
            {
                "key_id": key_id,
                "account": account,
                "name": name,
                "hash": digest.hex(),
                "prefix": key.prefix,
            },
        )

    asyncio.run(with_stores(target, work))
    print(f"{key_id} of account {account}; the key is shown this once:")
    print(key.text)


def list_keys(given: str, *, as_json: bool) -> None:
    target = find_target()
    rows = _rpc(target, "list_keys", {"account": target.account(given)})
    if as_json:
        return _print_json(rows)
    lines = [("ID", "NAME", "KEY", "CREATED", "STATUS")]
    for row in rows:
        made = datetime.fromtimestamp(row["created_at_ms"] // 1000, tz=UTC)
        lines.append(
            (row["key_id"], row["name"], row["prefix"] + "…", f"{made:%Y-%m-%d}", row["status"])
        )
    _print_table(lines)


def revoke_key(given: str, key_id: str) -> None:
    target = find_target()
    account = target.account(given)

    async def work(stores: Stores) -> str:
        row = await stores.postgres.rpc("revoke_key", {"account": account, "key_id": key_id})
        credits = Credits(
            stores.postgres, stores.redis, lease_ttl_s=target.settings.credit.lease_ttl_s
        )
        try:
            await credits.push_epoch(account, row["epoch"])
        except RedisAway:
            return "Redis was away: it holds once the account's lease is renewed or swept"
        return "The revocation holds from the next request"

    print(f"Revoked {key_id}. {asyncio.run(with_stores(target, work))}.")


def grant_credit(given: str, usd: Decimal, *, reason: str, operation: str) -> None:
    nanos = usd * NANOS_PER_USD
    if not usd.is_finite() or nanos != nanos.to_integral_value() or nanos <= 0:
        raise LocalError(f"{usd} is no amount of whole nano-dollars above zero")
    target = find_target()
    account = target.account(given)

    async def work(stores: Stores) -> dict[str, Any]:
        await _open(target, stores, account)
        row: dict[str, Any] = await stores.postgres.rpc(
            "grant_credit",
            {
                "op_id": operation or new_id("op_"),
                "account": account,
                "amount_nanos": int(nanos),
                "reason": reason,
            },
        )
        return row

    row = asyncio.run(with_stores(target, work))
    did = "Granted" if row["posted"] else "Had granted"
    print(f"{did} ${usd_text(int(nanos))} to {account}; ", end="")
    print(f"its balance is ${usd_text(row['balance_nanos'])}.")


def show_balance(given: str, *, as_json: bool) -> None:
    target = find_target()
    account = target.account(given)
    row = _rpc(target, "get_balance", {"account": account})
    if as_json:
        return _print_json({"account": account, **row})
    _print_table(
        [
            ("account", account),
            ("balance", "$" + usd_text(row["balance_nanos"])),
            ("  held by leases", "$" + usd_text(row["held_nanos"])),
            ("granted or paid", "$" + usd_text(row["granted_nanos"])),
            ("charged", "$" + usd_text(row["charged_nanos"])),
        ]
    )


async def _open(target: Target, stores: Stores, account: str) -> None:
    stage = STAGE_PREFIXES[target.settings.stage]
    params = {"account": account, "name": account, "stage": stage}
    await stores.postgres.rpc("open_account", params)


def _rpc(target: Target, name: str, params: dict[str, Any]) -> Any:
    return asyncio.run(with_stores(target, lambda stores: stores.postgres.rpc(name, params)))


def _print_json(value: Any) -> None:
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def _print_table(rows: Iterable[tuple[str, ...]]) -> None:
    rows = list(rows)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        )
