"""Samples of what is told about signing in, members, invitations and teams."""

from gatewayz.core.errors import (
    Conflict,
    Forbidden,
    GatewayError,
    InvalidRequest,
    NotFound,
    SignInRefused,
)


def people_samples() -> list[GatewayError]:
    return [
        SignInRefused(),
        InvalidRequest(
            "Throw-away addresses are not accepted. Use one that you keep.",
            code="email_domain_blocked",
            param="email",
        ),
        NotFound("Sign-in by mail is not offered here.", code="links_not_offered"),
        Forbidden("Send the session's csrf_token as X-CSRF-Token.", code="csrf_failed"),
        Forbidden("Sign in for this: a key is no person.", code="sign_in_needed"),
        Forbidden("This invitation is for another address.", code="invitation_for_another"),
        NotFound("There is no such account.", code="account_not_found"),
        NotFound("There is no such member.", code="member_not_found"),
        NotFound("There is no such invitation.", code="invitation_not_found"),
        NotFound("There is no such team.", code="team_not_found"),
        NotFound("There is no such session.", code="session_not_found"),
        Conflict("An account has an owner: transfer the ownership first.", code="owner_needed"),
        Conflict("Whoever has this address is a member.", code="already_member"),
        Conflict("At most 100 invitations are open.", code="too_many_invitations"),
        Conflict("At most 1,000 teams.", code="too_many_teams"),
        Conflict("There is a team of this name.", code="team_exists"),
        Conflict("Cancel the subscription first.", code="subscription_active"),
    ]
