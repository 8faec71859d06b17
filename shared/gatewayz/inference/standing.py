"""A refusal for want of credit, as the state of the account's subscription explains it."""

from gatewayz.accounts.principals import Principal
from gatewayz.core.errors import Forbidden, GatewayError, InsufficientCredits

# What free models lend an account is no credit to pay with.
NOTHING_NANOS = 1000


def barred(principal: Principal, error: GatewayError) -> GatewayError:
    """The refusal as its caller is told it: an account whose subscription is unpaid or over and
    that has no credit is sent there. A debt stays a debt (402 until it is paid)."""
    refusal = error.__cause__
    if not principal.blocked or not isinstance(refusal, InsufficientCredits):
        return error
    if refusal.code != InsufficientCredits.code:
        return error
    if refusal.metadata["available_nanos"] > NOTHING_NANOS:
        return error
    barring = Forbidden(
        f"The subscription of this account is {principal.blocked} and it has no other credit."
        " Renew it, or add credits.",
        code="subscription_past_due",
        metadata={"plan_status": principal.blocked},
    )
    # The state is part of the code: a client that handles one of them may not know the others.
    barring.code = f"subscription_{principal.blocked}"
    return barring
