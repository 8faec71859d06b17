"""Provider keys of an account: add, change, delete, list. One implementation behind both APIs.

Guarantees that a key's text is sealed before it leaves this module and never comes back; that the
data plane stops using what was changed from the next request; that no address is ever a caller's.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from gatewayz.accounts.own import place_of
from gatewayz.accounts.sealing import NotSealed, Ring
from gatewayz.core.errors import Conflict, InvalidRequest, NotFound
from gatewayz.core.log import get_log
from gatewayz.stores.postgres import Postgres

log = get_log(__name__)
Row = dict[str, Any]
Push = Callable[[str, int], Awaitable[None]]
MOST = 50
PAGE = 100
LAST = 4
_SECRET = re.compile(r"[!-~]{8,4096}")


@dataclass(frozen=True, slots=True)
class ProviderKeys:
    """`push` makes an epoch known to the data plane; `actor` stands in the audit."""

    postgres: Postgres
    push: Push
    account: str
    actor: str

    async def add(self, provider: str, secret: str, fields: Mapping[str, Any], ring: Ring) -> Row:
        """A new one; `fields`: name, always, is_fallback, enabled, sort_order, models, api_keys,
        people. InvalidRequest for what cannot be a key; Conflict (provider_key_limit)."""
        key_id = str(uuid4())
        given = {**fields, **self._sealed(provider, key_id, secret, ring)}
        row = await self._call(
            "add_provider_key", {"id": key_id, "provider": provider, "most": MOST, "set": given}
        )
        if row.get("refused"):
            raise Conflict(
                f"An account keeps at most {MOST} provider keys.", code="provider_key_limit"
            )
        return row

    async def change(
        self, key_id: str, fields: Mapping[str, Any], secret: str | None, ring: Ring | None
    ) -> Row:
        """Only what `fields` names; a `secret` takes the place of the one before, at once."""
        given = dict(fields)
        if secret is not None:
            assert ring is not None
            known = await self.get(key_id)
            given |= self._sealed(known["provider"], known["id"], secret, ring)
        return await self._call("change_provider_key", {"id": _checked(key_id), "set": given})

    async def delete(self, key_id: str) -> Row:
        return await self._call("delete_provider_keys", {"id": _checked(key_id)})

    async def delete_all(self, provider: str) -> Row:
        """Every key of a provider; NotFound when there is none."""
        if not re.fullmatch(r"[a-z0-9-]{1,40}", provider):
            raise _unknown()
        return await self._call("delete_provider_keys", {"provider": provider})

    async def get(self, key_id: str) -> Row:
        return await self._call("get_provider_key", {"id": _checked(key_id)})

    async def list(self, *, provider: str | None = None, offset: int = 0, limit: int = 1000) -> Row:
        """{total, keys}: by provider, in the order in which they are tried."""
        wanted = {"provider": provider, "offset": offset, "limit": limit}
        return await self._call("list_provider_keys", wanted)

    def _sealed(self, provider: str, key_id: str, secret: str, ring: Ring) -> Row:
        text = secret.strip()
        if not _SECRET.fullmatch(text):
            raise InvalidRequest(
                "A provider's key is 8 to 4096 printable characters without spaces.", param="key"
            )
        return {
            "sealed": ring.seal(text, place_of(self.account, provider, key_id)),
            "ring": ring.current,
            "label": label_of(text),
            "last4": text[-LAST:],
        }

    async def _call(self, function: str, params: Row) -> Row:
        named = {"account": self.account, "actor": self.actor, **params}
        try:
            row: Row = await self.postgres.rpc(function, named)
        except NotFound as error:
            if error.code != "provider_key_not_found":
                raise
            raise _unknown() from None
        if row.get("epoch") is not None:
            await self.push(self.account, row["epoch"])
        return row


def label_of(secret: str) -> str:
    """How a person knows the key again: never enough of it to be of use to anybody else."""
    head = secret[:3] if len(secret) >= 16 and secret[:3].isascii() else ""
    return f"{head}...{secret[-LAST:]}"


def _checked(key_id: str) -> str:
    try:
        return str(UUID(key_id))
    except ValueError:
        raise _unknown() from None


def _unknown() -> NotFound:
    return NotFound("There is no such provider key.", code="provider_key_not_found")


async def reseal(postgres: Postgres, ring: Ring, push: Push) -> dict[str, int]:
    """Wrap every key anew that is not under the ring's current one: {resealed, damaged, moved}.

    What was changed meanwhile is sealed under the current one already.
    """
    done = {"resealed": 0, "damaged": 0, "moved": 0}
    after: str | None = None
    while True:
        rows: list[Row] = await postgres.rpc(
            "list_sealed_keys", {"ring": ring.current, "after": after, "limit": PAGE}
        )
        for row in rows:
            place = place_of(row["account"], row["provider"], row["id"])
            try:
                sealed = ring.rewrap(row["sealed"], place)
            except NotSealed:
                log.error("provider_key_damaged", provider_key=row["id"], ring=row["ring"])
                done["damaged"] += 1
                continue
            change = {
                "id": row["id"],
                "before": row["sealed"],
                "sealed": sealed,
                "ring": ring.current,
            }
            moved = await postgres.rpc("reseal_provider_key", change)
            if moved["epoch"] is None:
                done["moved"] += 1
            else:
                await push(moved["account"], moved["epoch"])
                done["resealed"] += 1
        if len(rows) < PAGE:
            return done
        after = rows[-1]["id"]
