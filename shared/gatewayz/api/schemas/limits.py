"""Limits: what people send to change them, and what they get."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gatewayz.api.schemas.billing import Asked
from gatewayz.api.schemas.keys import Limit, RateLimits, Reset, Spend

Id = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
ScopeKind = Literal["account", "key", "team", "user"]


class Spending(Asked):
    """What one end user, or one session, may spend."""

    limit: Spend
    limit_reset: Reset | None = None


class LimitFields(RateLimits):
    """A field that is absent stays as it is; null takes the limit away."""

    requests_per_month: Limit | None = None
    tokens_per_hour: Limit | None = None
    max_requests: Limit | None = None
    limit: Spend | None = None
    limit_reset: Reset | None = None
    end_user: Spending | None = None
    session: Spending | None = None


class ScopeLimits(LimitFields):
    """Of an account; or, by their id, of a key, a team or an end user (by its hash)."""

    scope: ScopeKind = "account"
    id: Id | None = None


class StaffLimits(ScopeLimits):
    account: Id


class KeyLimits(LimitFields):
    key_id: Id


class BulkKeyLimits(Asked):
    keys: Annotated[list[KeyLimits], Field(min_length=1, max_length=100)]


class BulkLimits(Asked):
    changes: Annotated[list[StaffLimits], Field(min_length=1, max_length=100)]


class WhichLimits(Asked):
    account: Id
    scope: ScopeKind = "account"
    id: Id | None = None


class Exemption(Asked):
    """An address or a network; without `expires_in_s` it stays."""

    network: Annotated[str, Field(min_length=2, max_length=64, pattern=r"^[0-9a-fA-F:./]+$")]
    reason: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
    expires_in_s: Annotated[int, Field(ge=1, le=10 * 366 * 86_400)] | None = None


class AddressAsked(Asked):
    ip: Annotated[str, Field(min_length=2, max_length=64, pattern=r"^[0-9a-fA-F:.]+$")]


class LimitAnswer(BaseModel):
    """Further fields may come."""

    model_config = ConfigDict(extra="allow")


class LimitList(BaseModel):
    data: list[dict[str, Any]]


class KeyLimitList(BaseModel):
    """The caller's keys with their limits, and how much of them is used now."""

    status: Literal["success"]
    keys: list[dict[str, Any]]
