"""An account with people in it, made without a sign-in's limits: an owner, a member, an open
invitation, a team, a session besides. For what needs one real id of each.
"""

import itertools
from dataclasses import dataclass
from typing import Any

from gatewayz.accounts.sessions import hash_secret, new_secret
from gatewayz.core.ids import new_id
from tests.world import Account, World

_numbers = itertools.count(1)
WEEK_MS = 7 * 86_400_000


async def sign_in(world: World, name: str, **more: Any) -> Account:
    """Somebody new with an account of their own; `key` is the secret of a session in it and
    `key_id` the person's id."""
    rpc = world.stores.postgres.rpc
    row = await rpc(
        "sign_in",
        {
            "issuer": "test", "subject": name, "method": "email", "name": name.title(),
            "email": f"{name}@people.example",
            "new": {"person": new_id("usr_"), "account": new_id("acct_"), "stage": "test"},
        } | more,
    )  # fmt: skip
    return await session_of(world, row["person"], row["account"])


async def session_of(world: World, person: str, account: str) -> Account:
    secret = new_secret()
    await world.stores.postgres.rpc(
        "open_session",
        {
            "session": new_id("ses_"), "person": person, "account": account, "ttl_ms": WEEK_MS,
            "hash": hash_secret(secret.encode(), world.settings.keys.pepper),
        },
    )  # fmt: skip
    return Account(account, secret, person)


async def invite(world: World, account: str, email: str, role: str = "developer") -> str:
    """The secret of an open invitation."""
    secret = new_secret()
    await world.stores.postgres.rpc(
        "invite_member",
        {
            "account": account, "actor": "system", "invitation": new_id("inv_"), "email": email,
            "role": role, "ttl_ms": WEEK_MS,
            "hash": hash_secret(secret.encode(), world.settings.keys.pepper),
        },
    )  # fmt: skip
    return secret


async def join(world: World, account: str, name: str, role: str) -> Account:
    """A member of the account with this role, in a session in it."""
    own = await sign_in(world, name)
    secret = await invite(world, account, f"{name}@people.example", role)
    await world.stores.postgres.rpc(
        "accept_invitation",
        {
            "account": account, "actor": "system", "person": own.key_id,
            "hash": hash_secret(secret.encode(), world.settings.keys.pepper),
        },
    )  # fmt: skip
    return await session_of(world, own.key_id, account)


@dataclass
class Household:
    """`ids`: one real id for every parameter of a path."""

    owner: Account
    member: Account
    ids: dict[str, str]


async def household(world: World) -> Household:
    number = next(_numbers)
    rpc = world.stores.postgres.rpc
    owner = await sign_in(world, f"owner{number}")
    member = await join(world, owner.id, f"member{number}", "developer")
    await invite(world, owner.id, f"guest{number}@people.example")
    team = {"account": owner.id, "actor": "system", "team": f"team-{number}"}
    await rpc("create_team", {**team, "name": "Research"})
    await rpc("set_team_member", {**team, "member": member.key_id, "present": True})
    await session_of(world, owner.key_id, owner.id)
    sessions = await rpc("list_sessions", {"person": owner.key_id})
    open_ones = await rpc("list_invitations", {"account": owner.id})
    ids = {
        "member_id": member.key_id,
        "team_id": f"team-{number}",
        "session": sessions[0]["session"],
        "invitation_id": next(i["invitation"] for i in open_ones if i["status"] == "pending"),
    }
    return Household(owner, member, ids)
