"""An account with people in it, and a mailbox for what they are sent."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from gatewayz.core.settings import Settings
from gatewayz.notify.mail import Mail, MailFailed
from gatewayz.notify.send import Sender
from gatewayz.stores.open import Stores, open_stores
from tests import world as worlds

sandbox, world, tune = worlds.sandbox, worlds.world, worlds.tune
APP_URL = "https://app.example"


class Box:
    """A way to send mail that keeps it; `failure` is what happens instead."""

    def __init__(self) -> None:
        self.letters: list[Mail] = []
        self.failure: MailFailed | None = None

    async def send(self, mail: Mail) -> None:
        if self.failure is not None:
            raise self.failure
        self.letters.append(mail)

    async def close(self) -> None:
        pass

    def to(self, address: str) -> list[str]:
        return [mail.subject for mail in self.letters if mail.to == address]


@dataclass
class Office:
    """The account acme, its members, and who sends."""

    stores: Stores
    url: str
    box: Box = field(default_factory=Box)

    async def rpc(self, function: str, /, **params: Any) -> Any:
        return await self.stores.postgres.rpc(function, params)

    async def open(self, account: str = "acme") -> None:
        await self.rpc("open_account", account=account, name=account.title(), stage="test")

    async def member(self, person: str, role: str, *, email: str | None = None) -> None:
        """Somebody whose address was verified at a sign-in."""
        await self.sql(
            "insert into tenancy.people (person, email, method, created_at)"
            " values ($1, $2, 'email', now())",
            person,
            email or f"{person}@acme.example",
        )
        await self.sql(
            "insert into tenancy.members (account, person, role, joined_at)"
            " values ('acme', $1, $2, now())",
            person,
            role,
        )

    async def sql(self, statement: str, *values: Any) -> list[Any]:
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetch(statement, *values)
        finally:
            await connection.close()

    async def later(self, **span: int) -> None:
        """Move all that was said into the past: so much time has passed."""
        for name, hours in span.items():
            assert name == "hours"
            move = f"interval '{hours} hours'"
            await self.sql(f"update tenancy.notices set created_at = created_at - {move}")
            await self.sql(
                f"update tenancy.notice_deliveries set next_at = next_at - {move},"
                f" ended_at = ended_at - {move}"
            )

    async def event(self, kind: str, once: str, **data: Any) -> bool:
        to = {name: data.pop(name) for name in ("email", "member") if name in data}
        row = await self.rpc(
            "enqueue_notice", kind=kind, once=once, account="acme", data=data, **to
        )
        return bool(row["enqueued"])

    async def send(self, **more: Any) -> dict[str, int]:
        return await Sender(self.stores.postgres, self.box, APP_URL).step(**more)


@pytest.fixture
async def office(settings: Settings, database_url: str) -> AsyncIterator[Office]:
    stores = open_stores(settings)
    made = Office(stores, database_url)
    await made.open()
    try:
        yield made
    finally:
        await stores.close()
