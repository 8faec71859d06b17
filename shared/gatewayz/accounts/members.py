"""Members, invitations and teams of an account: who belongs to it, as what, until when.

Guarantees that nobody gives a role with more rights than they have, and that a change holds from
the next request. Never tells whether a member, invitation or team is another account's.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from gatewayz.accounts.roles import may_give
from gatewayz.accounts.sessions import hash_secret, new_secret
from gatewayz.core.errors import Conflict, Forbidden, GatewayError, InvalidRequest, NotFound
from gatewayz.core.ids import new_id
from gatewayz.core.settings import Settings
from gatewayz.stores.postgres import Postgres

INVITATION_MS = 7 * 86_400_000
MAX_ID_CHARS = 200
Row = dict[str, Any]


def worded(error: GatewayError) -> GatewayError:
    """A refusal of the database as people read it."""
    match error.code:
        case "account_not_found":
            return NotFound("There is no such account.", code="account_not_found")
        case "member_not_found":
            return NotFound("There is no such member.", code="member_not_found")
        case "invitation_not_found":
            return NotFound("There is no such invitation.", code="invitation_not_found")
        case "team_not_found":
            return NotFound("There is no such team.", code="team_not_found")
        case "session_not_found":
            return NotFound("There is no such session.", code="session_not_found")
        case "user_not_found":
            return NotFound("There is no such user.", code="user_not_found")
        case "invitation_for_another":
            return Forbidden(
                "This invitation is for another address.", code="invitation_for_another"
            )
        case "owner_needed":
            return Conflict(
                "An account has an owner: transfer the ownership first.", code="owner_needed"
            )
        case "already_member":
            return Conflict("Whoever has this address is a member.", code="already_member")
        case "too_many_invitations":
            return Conflict("At most 100 invitations are open.", code="too_many_invitations")
        case "too_many_teams":
            return Conflict("At most 1,000 teams.", code="too_many_teams")
        case "team_exists":
            return Conflict("There is a team of this name.", code="team_exists")
        case "subscription_active":
            return Conflict("Cancel the subscription first.", code="subscription_active")
        case "account_closed":
            return Conflict("This account is closed.", code="account_closed")
    return error


class People:
    """The people of one account. `push` makes an epoch known to the data plane; `actor` stands in
    the audit; `role` is that of whoever acts, None for a key with every right."""

    def __init__(
        self,
        postgres: Postgres,
        settings: Settings,
        push: Callable[[str, int], Awaitable[None]],
        *,
        account: str,
        actor: str,
        role: str | None,
    ) -> None:
        self._postgres = postgres
        self._settings = settings
        self._push = push
        self._account = account
        self._actor = actor
        self._role = role

    async def call(self, function: str, /, **params: Any) -> Any:
        """A function of the database, for this account and actor; an epoch that it raised is
        known when this returns."""
        wanted = {"account": self._account, "actor": self._actor, **params}
        for named in ("member", "invitation", "team"):
            if not _is_id(wanted.get(named, "-")):
                raise worded(NotFound("no such id", code=f"{named}_not_found"))
        try:
            answer = await self._postgres.rpc(function, wanted)
        except (Conflict, Forbidden, InvalidRequest, NotFound) as error:
            raise worded(error) from None
        if isinstance(answer, dict) and answer.get("epoch") is not None:
            await self._push(answer.get("account") or self._account, answer["epoch"])
        return answer

    def check_gives(self, role: str) -> None:
        """Forbidden for a role that whoever acts may not give, or take."""
        if not may_give(self._role, role):
            raise Forbidden(
                "A role gives none that may more than itself.", code="insufficient_scope"
            )

    async def change(self, member: str, role: str) -> Row:
        before: Row = await self.call("read_member", member=member)
        if before["role"] != "owner":
            self.check_gives(before["role"])
        self.check_gives(role)
        row: Row = await self.call("change_member", member=member, role=role)
        return row

    async def remove(self, member: str, heir: str | None) -> Row:
        """`heir`: the member whom the keys of the one who goes pass to; without one they stop."""
        before: Row = await self.call("read_member", member=member)
        if before["role"] != "owner":
            self.check_gives(before["role"])
        row: Row = await self.call("remove_member", member=member, heir=heir)
        return row

    async def invite(
        self, email: str, role: str, inviter: str, account_name: str, *, site: str | None = None
    ) -> tuple[Row, str]:
        """The invitation, and the name of the notice that carries its link: to `site`, else to the
        web application."""
        self.check_gives(role)
        secret, invitation = new_secret(), new_id("inv_")
        row: Row = await self.call(
            "invite_member",
            invitation=invitation,
            email=email,
            role=role,
            hash=hash_secret(secret.encode(), self._settings.keys.pepper),
            ttl_ms=INVITATION_MS,
        )
        once = f"invitation:{invitation}"
        link = f"{(site or self._settings.billing.app_url).rstrip('/')}/invitations?token={secret}"
        await self._postgres.rpc(
            "enqueue_notice",
            {
                "kind": "invitation",
                "once": once,
                "account": self._account,
                "email": email,
                "data": {
                    "link": link,
                    "inviter": inviter,
                    "role": role,
                    "expires_ms": row["expires_at_ms"],
                    "account_name": account_name,
                },
            },
        )
        return row, once

    async def accept(self, secret: str, person: str) -> Row:
        """Join the account that the invitation is of."""
        row: Row = await self.call(
            "accept_invitation",
            hash=hash_secret(secret.encode(), self._settings.keys.pepper),
            person=person,
        )
        return row


def _is_id(text: Any) -> bool:
    printable = isinstance(text, str) and text.isascii() and text.isprintable()
    return printable and 0 < len(text) <= MAX_ID_CHARS and " " not in text
