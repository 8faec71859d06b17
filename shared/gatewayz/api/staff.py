"""Staff operations: another key than any customer's, or a person with the staff's role; deny by
default. `GATEWAYZ_STAFF_KEYS` names who may act: `alice:secret,bob:secret`. Every act carries the
name, or the person's id.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from gatewayz.accounts.principals import key_in
from gatewayz.api.app import CurrentPlane
from gatewayz.core.errors import Unauthorized
from gatewayz.core.log import get_log

log = get_log(__name__)
MIN_SECRET_CHARS = 32


@dataclass(frozen=True, slots=True)
class Member:
    """Who of the staff is acting."""

    name: str


def staff_members(text: str) -> list[tuple[str, str]]:
    """Names and secrets; a name may have two while one replaces the other. Entries with a short
    secret are no entries."""
    pairs = (part.strip().partition(":") for part in text.split(",") if part.strip())
    return [(name, secret) for name, _, secret in pairs if name and len(secret) >= MIN_SECRET_CHARS]


async def staff_of(request: Request, plane: CurrentPlane) -> Member:
    """Whoever's secret is in `Authorization`, or a person of the staff who is signed in;
    Unauthorized, always the same, otherwise."""
    seat = await plane.members.find(request.scope["headers"], request.method)
    if seat is not None:
        if not seat["staff"]:
            log.warning("staff_denied", path=request.url.path, person=seat["person"])
            raise Unauthorized
        return Member(seat["person"])
    given = key_in(request.scope["headers"]) or b""
    digest = hashlib.sha256(given).digest()
    found = None
    for name, secret in staff_members(plane.settings.keys.staff):
        if hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), digest):
            found = Member(name)
    if found is None:
        log.warning("staff_denied", path=request.url.path)
        raise Unauthorized
    return found


Staff = Annotated[Member, Depends(staff_of)]
