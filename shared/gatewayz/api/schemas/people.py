"""Signing in, profiles, members, invitations, teams: what is asked and what is answered."""

from typing import Annotated, Any, Literal

from pydantic import Field

from gatewayz.api.schemas.billing import Asked, Time
from gatewayz.api.schemas.keys import PLAIN, Name, Word
from gatewayz.api.schemas.shape import Count, Ours, UnixSeconds, Usd

Token = Annotated[str, Field(min_length=1, max_length=16_384, pattern=r"^[!-~]+$")]
Email = Annotated[str, Field(min_length=3, max_length=254, pattern=PLAIN)]
Role = Literal["owner", "admin", "developer", "billing", "viewer"]
Given = Literal["admin", "developer", "billing", "viewer"]
TeamSlug = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[a-z0-9][a-z0-9-]*$")]


class AskSignIn(Asked):
    """Who it is follows from the tokens alone; whatever else is said of a person is not read."""

    token: Token | None = Field(default=None, description="a sign-in token, verified here")
    identity_token: Token | None = None
    privy_access_token: Token | None = None
    auto_create_api_key: bool | None = Field(
        default=None, description="false: no first key; true: also a key for this device"
    )
    key_name: Name | None = None
    referral_code: Annotated[str, Field(max_length=20, pattern=r"^[A-Za-z0-9]*$")] | None = None
    session: Literal["cookie", "token"] = Field(
        default="cookie", description="token: the session's secret stands in the answer besides"
    )


class AskLink(Asked):
    email: Email
    username: Name | None = Field(default=None, description="what to call a new member")
    key_name: Name | None = None
    referral_code: Annotated[str, Field(max_length=20, pattern=r"^[A-Za-z0-9]*$")] | None = None


class UseLink(Asked):
    token: Token
    session: Literal["cookie", "token"] = "cookie"


class AskRefresh(Asked):
    account: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="go on in this account, of those one is a member of"
    )


class AskInvalidate(Asked):
    all: bool = Field(default=False, description="every session and token of the person")


class SessionFacts(Ours):
    expires_at: Time
    csrf_token: str = Field(description="sent as X-CSRF-Token with what changes something")
    token: str | None = Field(description="the secret itself, where it was asked for")


class Funds(Ours):
    credits: Usd
    subscription_status: str
    tier: str
    tier_display_name: str
    trial_expires_at: Time | None
    subscription_end_date: UnixSeconds | None
    subscription_allowance: Usd
    purchased_credits: Usd
    total_credits: Usd
    allowance_reset_date: Time | None


class SignInAnswer(Funds):
    success: Literal[True]
    message: str
    user_id: str = Field(description="the account")
    member_id: str
    api_key: str | None = Field(description="a new key whole, this once; null for who is known")
    auth_method: str
    privy_user_id: str | None
    is_new_user: bool
    display_name: str | None
    email: str | None
    phone_number: str | None
    timestamp: Time
    session: SessionFacts


class LinkSent(Ours):
    success: Literal[True]
    message: str


class SignInHealth(Ours):
    status: Literal["ok"]
    methods: list[str] = Field(description="email_link, token")


class OwnAccount(Ours):
    id: str
    name: str
    role: Role
    is_home: bool


class SessionAnswer(Ours):
    user_id: str
    member_id: str
    role: Role
    permissions: list[str]
    accounts: list[OwnAccount]
    csrf_token: str | None = Field(description="null where no cookie was sent")


class Refreshed(Ours):
    success: Literal[True]
    user_id: str
    session: SessionFacts | None = Field(description="null for a key, which needs none")


class Invalidated(Ours):
    success: Literal[True]
    message: str
    ended: Count


class OpenSession(Ours):
    id: str
    ip: str | None
    user_agent: str | None
    is_current: bool
    created_at: Time
    last_seen_at: Time
    expires_at: Time


class SessionList(Ours):
    sessions: list[OpenSession]


class Profile(Funds):
    user_id: str
    member_id: str | None
    api_key: str | None = Field(description="how the calling or the primary key begins")
    username: str | None
    email: str | None
    auth_method: str | None
    privy_user_id: str | None
    role: Role | None
    is_active: bool
    registration_date: Time
    created_at: Time
    updated_at: Time | None
    settings: dict[str, Any]
    preferences: dict[str, Any]


class AskSettings(Asked):
    routing_mode: Word | None = None
    routing_industry: Word | None = None
    auto_topup_enabled: bool | None = None
    auto_topup_threshold: Annotated[float, Field(ge=0, le=100_000)] | None = None
    auto_topup_amount: Annotated[float, Field(gt=0, le=100_000)] | None = None


class ChangeProfile(Asked):
    name: Name | None = None
    email: Email | None = Field(default=None, description="follows from signing in: no other")
    preferences: Annotated[dict[Word, bool | int | Word | None], Field(max_length=50)] | None = None
    settings: AskSettings | None = None


class Balance(Ours):
    user_id: str
    api_key: str | None
    credits: Usd
    status: str


class AccountFacts(Ours):
    id: str
    name: str
    status: str
    role: Role | None
    members: Count
    owner_id: str | None
    created_at: Time


class ChangeAccount(Asked):
    name: Name


class DeleteAccount(Asked):
    confirmation: Literal["DELETE_ACCOUNT"]


class Done(Ours):
    success: Literal[True]
    message: str


class AskTransfer(Asked):
    member_id: Word
    confirmation: Literal["TRANSFER_OWNERSHIP"]


class Member(Ours):
    id: str
    name: str | None
    email: str | None
    role: Role
    teams: list[str]
    joined_at: Time
    last_seen_at: Time | None


class MemberList(Ours):
    members: list[Member]


class ChangeMember(Asked):
    role: Given


class NewInvitation(Asked):
    email: Email
    role: Given = "developer"


class Invitation(Ours):
    id: str
    email: str
    role: Given
    status: Literal["pending", "accepted", "expired", "revoked"]
    invited_by: str
    created_at: Time
    expires_at: Time


class InvitationList(Ours):
    invitations: list[Invitation]


class AcceptInvitation(Asked):
    token: Token


class Joined(Ours):
    success: Literal[True]
    account_id: str
    account_name: str
    role: Given


class AccountList(Ours):
    accounts: list[OwnAccount]


class Team(Ours):
    id: str = Field(description="what a key's `team` names")
    name: str
    members: list[str]
    keys: Count
    usage: Usd = Field(description="what its keys have spent")
    created_at: Time


class TeamList(Ours):
    teams: list[Team]


class NewTeam(Asked):
    name: Name
    id: TeamSlug | None = Field(default=None, description="made of the name without it")


class ChangeTeam(Asked):
    name: Name
