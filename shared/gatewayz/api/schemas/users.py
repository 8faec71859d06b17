"""What staff asks about accounts and their people."""

from typing import Annotated, Literal

from pydantic import Field

from gatewayz.api.schemas.billing import Asked
from gatewayz.api.schemas.keys import Word

UserId = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[!-~]+$")]
Reason = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]+$")]
Domain = Annotated[
    str, Field(min_length=3, max_length=253, pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*\.[A-Za-z0-9-]+$")
]


class AskSuspend(Asked):
    reason: Reason


class AskRole(Asked):
    """`staff` makes somebody one of the staff, `none` no more; the rest is a role in an account:
    the person's home, unless `account_id` names another."""

    user_id: UserId
    new_role: Literal["owner", "admin", "developer", "billing", "viewer", "staff", "none"]
    reason: Reason | None = None
    account_id: UserId | None = None


class AskBlock(Asked):
    domain: Domain
    reason: Word | None = None
