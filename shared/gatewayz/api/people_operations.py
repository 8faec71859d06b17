"""The rows of signing in, profiles, members, invitations and teams in the API document."""

from gatewayz.api.operation import ALWAYS, WITH_KEY, Operation, Parameter
from gatewayz.api.schemas.people import (
    AcceptInvitation,
    AccountFacts,
    AccountList,
    AskInvalidate,
    AskLink,
    AskRefresh,
    AskSignIn,
    AskTransfer,
    Balance,
    ChangeAccount,
    ChangeMember,
    ChangeProfile,
    ChangeTeam,
    DeleteAccount,
    Done,
    Invalidated,
    Invitation,
    InvitationList,
    Joined,
    LinkSent,
    Member,
    MemberList,
    NewInvitation,
    NewTeam,
    Profile,
    Refreshed,
    SessionAnswer,
    SessionList,
    SignInAnswer,
    SignInHealth,
    Team,
    TeamList,
    UseLink,
)

TAG = "people"
# A session's cookie needs its token besides, and may choose an account.
_SEEN = (*WITH_KEY, "account_not_found")
_ACTED = (*_SEEN, "csrf_failed")
_CHANGED = (*_ACTED, "invalid_request")
_DOOR = (*ALWAYS, "billing_unavailable", "invalid_request", "too_many_attempts")
_ENTERED = (*_DOOR, "invalid_token", "account_suspended", "email_domain_blocked")
_ASKED = (*_DOOR, "email_domain_blocked", "links_not_offered")

MEMBER = Parameter("member_id", "path", "a member of the account", "usr_01M89HHCC")
INVITATION = Parameter("invitation_id", "path", "an open invitation", "inv_01M89HHCC")
TEAM = Parameter("team_id", "path", "a team of the account", "research")
SESSION = Parameter("session", "path", "one of one's own sessions", "ses_01M89HHCC")
KEEP = Parameter(
    "keep_keys", "query", "`true`: the member's keys are the caller's from now on", required=False,
    schema={"type": "boolean"},
)  # fmt: skip
SIGN_IN_DETAIL = """\
Who it is follows from the token alone: signature, issuer, audience and expiry are verified here.
The first time makes an account, its wallet and a first key, which is shown this once; the key is
for tests until there is credit. A browser also gets a session as an http-only cookie; what changes
something then needs `csrf_token` as X-CSRF-Token."""

PEOPLE_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "/auth", TAG, "Sign in", SignInAnswer, method="post", detail=SIGN_IN_DETAIL,
        request=AskSignIn, errors=_ENTERED, public=True,
    ),
    Operation(
        "/auth/email", TAG, "Ask for a sign-in link", LinkSent, method="post",
        detail="By mail; it works once, for 15 minutes. The answer tells nothing of the address.",
        request=AskLink, errors=_ASKED, public=True,
    ),
    Operation(
        "/auth/register", TAG, "Register", LinkSent, method="post",
        detail="The account is made when the link in the mail is opened.",
        request=AskLink, errors=_ASKED, public=True,
    ),
    Operation(
        "/auth/link", TAG, "Sign in by a link", SignInAnswer, method="post",
        request=UseLink, errors=_ENTERED, public=True,
    ),
    Operation(
        "/auth/link", TAG, "Show a page for a link", None,
        detail="It uses the link at a click: what only looks at it does not.",
        parameters=(
            Parameter("token", "query", "the link's secret", required=False,
                      schema={"type": "string", "maxLength": 200}),
        ),
        errors=(*ALWAYS, "invalid_request"), public=True, media="text/html",
    ),
    Operation("/auth/health", TAG, "Which ways to sign in", SignInHealth, errors=ALWAYS,
              public=True),
    Operation(
        "/auth/session", TAG, "Show who is signed in", SessionAnswer,
        errors=(*_SEEN, "sign_in_needed"),
    ),
    Operation(
        "/v1/auth/refresh", TAG, "Renew a session", Refreshed, method="post",
        detail="Under a new secret, in another account where one is named. A key needs none.",
        request=AskRefresh, body_needed=False, errors=(*_CHANGED, "session_not_found"),
    ),
    Operation(
        "/v1/auth/invalidate", TAG, "Sign out", Invalidated, method="post",
        request=AskInvalidate, body_needed=False, errors=_CHANGED,
    ),
    Operation(
        "/user/sessions", TAG, "List sessions", SessionList, errors=(*_SEEN, "sign_in_needed"),
    ),
    Operation(
        "/user/sessions/{session}", TAG, "End a session", Invalidated, method="delete",
        parameters=(SESSION,), errors=(*_ACTED, "sign_in_needed", "session_not_found"),
    ),
    Operation("/user/profile", TAG, "Show the profile", Profile, errors=_SEEN),
    Operation(
        "/user/profile", TAG, "Change the profile", Profile, method="put",
        detail="What is named changes: `settings` are the account's, the rest the person's.",
        request=ChangeProfile,
        errors=(*_CHANGED, "no_payment_method", "invalid_amount"),
    ),
    Operation("/user/balance", TAG, "Show the balance", Balance, errors=_SEEN),
    Operation("/user/account", TAG, "Show the account", AccountFacts, errors=_SEEN),
    Operation(
        "/user/account", TAG, "Rename the account", AccountFacts, method="patch",
        request=ChangeAccount, errors=_CHANGED,
    ),
    Operation(
        "/user/account/transfer", TAG, "Transfer the account", Done, method="post",
        request=AskTransfer, errors=(*_CHANGED, "member_not_found"),
    ),
    Operation(
        "/user/account/leave", TAG, "Leave the account", Done, method="post",
        errors=(*_ACTED, "sign_in_needed", "owner_needed", "member_not_found"),
    ),
    Operation(
        "/user/accounts", TAG, "List one's accounts", AccountList,
        errors=(*_SEEN, "sign_in_needed"),
    ),
    Operation("/user/members", TAG, "List members", MemberList, errors=_SEEN),
    Operation(
        "/user/members/{member_id}", TAG, "Show a member", Member, parameters=(MEMBER,),
        errors=(*_SEEN, "member_not_found"),
    ),
    Operation(
        "/user/members/{member_id}", TAG, "Change a member's role", Member, method="patch",
        detail="It holds from the next request, for the keys that the member made too.",
        request=ChangeMember, parameters=(MEMBER,),
        errors=(*_CHANGED, "member_not_found", "owner_needed"),
    ),
    Operation(
        "/user/members/{member_id}", TAG, "Remove a member", Done, method="delete",
        parameters=(MEMBER, KEEP),
        errors=(*_CHANGED, "member_not_found", "owner_needed"),
    ),
    Operation(
        "/user/invitations", TAG, "Invite somebody", Invitation, method="post", status=201,
        detail="By mail; the link works once, for seven days.", request=NewInvitation,
        errors=(*_CHANGED, "email_domain_blocked", "already_member", "too_many_invitations",
                "too_many_attempts"),
    ),
    Operation("/user/invitations", TAG, "List invitations", InvitationList, errors=_SEEN),
    Operation(
        "/invitations", TAG, "Show a page for an invitation", None,
        detail="For links in mails, where no web application takes them.",
        parameters=(
            Parameter("token", "query", "the link's secret", required=False,
                      schema={"type": "string", "maxLength": 200}),
        ),
        errors=(*ALWAYS, "invalid_request"), public=True, media="text/html",
    ),
    Operation(
        "/user/invitations/accept", TAG, "Accept an invitation", Joined, method="post",
        request=AcceptInvitation,
        errors=(*_CHANGED, "sign_in_needed", "invitation_not_found", "invitation_for_another"),
    ),
    Operation(
        "/user/invitations/{invitation_id}", TAG, "Revoke an invitation", Done, method="delete",
        parameters=(INVITATION,), errors=(*_ACTED, "invitation_not_found"),
    ),
    Operation("/user/teams", TAG, "List teams", TeamList, errors=_SEEN),
    Operation(
        "/user/teams", TAG, "Create a team", Team, method="post", status=201,
        detail="Keys and budgets name it by its id.", request=NewTeam,
        errors=(*_CHANGED, "team_exists", "too_many_teams"),
    ),
    Operation(
        "/user/teams/{team_id}", TAG, "Rename a team", Team, method="patch",
        request=ChangeTeam, parameters=(TEAM,), errors=(*_CHANGED, "team_not_found"),
    ),
    Operation(
        "/user/teams/{team_id}", TAG, "Delete a team", Done, method="delete",
        parameters=(TEAM,), errors=(*_ACTED, "team_not_found"),
    ),
    Operation(
        "/user/teams/{team_id}/members/{member_id}", TAG, "Put a member into a team", Team,
        method="put", parameters=(TEAM, MEMBER),
        errors=(*_ACTED, "team_not_found", "member_not_found"),
    ),
    Operation(
        "/user/teams/{team_id}/members/{member_id}", TAG, "Take a member out of a team", Team,
        method="delete", parameters=(TEAM, MEMBER),
        errors=(*_ACTED, "team_not_found", "member_not_found"),
    ),
    # The last of all: whoever tries every operation has an account until here.
    Operation(
        "/user/account", TAG, "Delete the account", Done, method="delete",
        detail="For everybody in it. What names a person goes; rows of money stay.",
        request=DeleteAccount, errors=(*_CHANGED, "subscription_active"),
    ),
)  # fmt: skip
