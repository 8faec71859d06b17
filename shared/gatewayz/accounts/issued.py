"""Keys of an account: issue, change, rotate, delete. One implementation behind every API of ours.

Guarantees that a key's text is returned once and stored nowhere, and that who changes a key makes
its older principals stale (D13). Never decides how a key is shown.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gatewayz.accounts.keys import generate_key, hash_key
from gatewayz.core.errors import (
    Conflict,
    InsufficientCredits,
    NotFound,
    RateLimited,
)
from gatewayz.core.ids import new_id
from gatewayz.stores.postgres import Postgres

Row = dict[str, Any]
ENVIRONMENTS = {"live": "production", "test": "test", "staging": "staging", "development": "local"}
DAY_MS = 86_400_000
MOST_PER_HOUR = 10
_ID = re.compile(r"[!-~]{1,200}")


@dataclass(frozen=True, slots=True)
class Secret:
    """A key as it is stored, and the text of its secret: the only time it exists."""

    row: Row
    text: str


class Keys:
    """`push` makes an epoch known to the data plane; `actor` stands in the audit."""

    def __init__(
        self,
        postgres: Postgres,
        pepper: str,
        push: Callable[[str, int], Awaitable[None]],
        *,
        account: str,
        actor: str,
    ) -> None:
        self._postgres = postgres
        self._pepper = pepper.encode()
        self._push = push
        self._account = account
        self._actor = actor

    async def issue(
        self,
        name: str,
        environment: str,
        fields: Row,
        *,
        most_per_hour: int | None = None,
        needs_payment: bool = False,
    ) -> Secret:
        """A new key. `fields`: rules, limits, preferences, team, metadata, expires_at_ms,
        is_primary. Conflict (key_name_taken); RateLimited above `most_per_hour`;
        InsufficientCredits (payment_required) where `needs_payment`."""
        secret = generate_key(ENVIRONMENTS[environment])
        row = await self._call(
            "issue_key",
            fields
            | {
                "key_id": new_id("key_"),
                "name": name,
                "environment": environment,
                "hash": self._hash(secret.text),
                "prefix": secret.prefix,
                "most_per_hour": most_per_hour,
                "needs_payment": needs_payment,
            },
        )
        if row.get("refused"):
            wait_s = max(1, -(-row["wait_ms"] // 1000))
            raise RateLimited(
                f"At most {most_per_hour} keys are made within an hour.",
                headers={"Retry-After": str(wait_s)},
            )
        return Secret(row, secret.text)

    async def change(self, key_id: str, changes: Row) -> Row:
        """Only what `changes` names; rules and limits are merged. NotFound (key_not_found),
        InsufficientCredits (payment_required) for what becomes live without credit."""
        row = await self._call("change_key", {"key_id": key_id, "set": changes})
        await self._push(self._account, row["epoch"])
        return row

    async def rotate(self, rows: Sequence[Row], *, overlap_ms: int) -> list[Secret]:
        """New secrets for these keys; the old ones work for `overlap_ms` more."""
        secrets = [generate_key(ENVIRONMENTS[row["environment"]]) for row in rows]
        keys = [
            {"key_id": row["key_id"], "hash": self._hash(secret.text), "prefix": secret.prefix}
            for row, secret in zip(rows, secrets, strict=True)
        ]
        answer = await self._call("rotate_keys", {"keys": keys, "overlap_ms": overlap_ms})
        await self._push(self._account, answer["epoch"])
        return [Secret(r, s.text) for r, s in zip(answer["keys"], secrets, strict=True)]

    async def delete(self, key_id: str) -> Row:
        """Works from the next request; what the key used stays."""
        row = await self._call("delete_key", {"key_id": key_id})
        await self._push(self._account, row["epoch"])
        return row

    async def read(self, key_id: str) -> Row:
        """By id or public hash; NotFound (key_not_found) for every key that is not ours to see."""
        return await self._call("read_key", {"key_id": key_id})

    async def list(self, **wanted: Any) -> list[Row]:
        """`environment`, `disabled` (also those), `offset`, `limit`; oldest first."""
        rows: list[Row] = await self._postgres.rpc(
            "read_keys", {"account": self._account, **wanted}
        )
        return rows

    async def _call(self, name: str, params: Row) -> Row:
        params = {"account": self._account, "actor": self._actor, **params}
        if not _ID.fullmatch(params.get("key_id", "-")):
            raise NotFound("There is no such key.", code="key_not_found")
        try:
            row: Row = await self._postgres.rpc(name, params)
        except NotFound as error:
            if error.code != "key_not_found":
                raise
            raise NotFound("There is no such key.", code="key_not_found") from None
        except Conflict as error:
            if error.code != "key_name_taken":
                raise
            raise Conflict(
                "Another key of this account has the name.", code="key_name_taken", param="name"
            ) from None
        if row.get("refused") == "payment_required":
            raise InsufficientCredits(
                "Keys for live and staging need credit. Keys for test are free.",
                code="payment_required",
            )
        return row

    def _hash(self, text: str) -> str:
        return hash_key(text.encode(), self._pepper).hex()
