"""What the operations of people need before they can be called as their examples say: a token, a
link, somebody who is signed in, and an account with people in it, fresh for each call.
"""

from typing import Any

from gatewayz.accounts.sessions import hash_secret, new_secret
from gatewayz.api.operation import Operation
from tests.identity.household import Household, household, invite, join, sign_in
from tests.world import Account, World

TAG = "people"
REQUESTS: dict[tuple[str, str], dict[str, Any]] = {
    ("post", "/auth"): {"token": "eyJhbGciOiJFUzI1NiJ9.e30.c2ln"},
    ("post", "/auth/email"): {"email": "ada@people.example"},
    ("post", "/auth/register"): {"email": "ada@people.example", "username": "Ada"},
    ("post", "/auth/link"): {"token": "gws_0123456789abcdef"},
    ("post", "/v1/auth/refresh"): {},
    ("post", "/v1/auth/invalidate"): {"all": False},
    ("put", "/user/profile"): {"name": "Ada", "settings": {"routing_mode": "cheap"}},
    ("patch", "/user/account"): {"name": "Ada's"},
    ("delete", "/user/account"): {"confirmation": "DELETE_ACCOUNT"},
    ("post", "/user/account/transfer"): {
        "member_id": "usr_01M89HHCC", "confirmation": "TRANSFER_OWNERSHIP",
    },
    ("patch", "/user/members/{member_id}"): {"role": "viewer"},
    ("post", "/user/invitations"): {"email": "grace@people.example", "role": "developer"},
    ("post", "/user/invitations/accept"): {"token": "gws_0123456789abcdef"},
    ("post", "/user/teams"): {"name": "Research"},
    ("patch", "/user/teams/{team_id}"): {"name": "Applied research"},
}  # fmt: skip
# Wrong wherever it is read; `confirmation` is wrong already.
WRONG = {
    name: [5] for name in ("token", "email", "name", "account", "all", "role", "member_id")
}  # fmt: skip


class Door:
    """Who calls an operation of people, with which ids and which fields."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._house: Household | None = None
        self._calls = 0

    async def caller(self, operation: Operation, usual: Account) -> Account:
        """Somebody signed in, for operations of people that are not public."""
        if operation.tag != TAG or operation.public or not usual.id:
            return usual
        self._house = await household(self._world)
        leaves = operation.path.endswith("/leave")
        return self._house.member if leaves else self._house.owner

    def names(self, operation: Operation) -> dict[str, str]:
        return self._house.ids if self._house and operation.tag == TAG else {}

    async def fields(self, operation: Operation) -> dict[str, Any]:
        """Fields of the body that only exist at run time."""
        world, self._calls = self._world, self._calls + 1
        match operation.method, operation.path:
            case "post", "/auth":
                return {"token": world.identity.token(f"ada{self._calls}")}
            case "post", "/auth/link":
                return {"token": await self._link()}
            case "post", "/user/account/transfer" if self._house:
                return {"member_id": self._house.member.key_id}
            case "post", "/user/invitations/accept" if self._house:
                other = await sign_in(world, f"host{self._calls}")
                mail = f"owner{self._house.ids['team_id'].removeprefix('team-')}@people.example"
                return {"token": await invite(world, other.id, mail)}
        return {}

    async def _link(self) -> str:
        secret = new_secret()
        await self._world.stores.postgres.rpc(
            "make_sign_in_link",
            {
                "hash": hash_secret(secret.encode(), self._world.settings.keys.pepper),
                "email": f"link{self._calls}@people.example",
                "ttl_ms": 60_000,
            },
        )
        return secret


__all__ = ["REQUESTS", "TAG", "WRONG", "Door", "join"]
