"""Plans and subscriptions: what is asked and what is answered."""

from typing import Annotated, Literal

from pydantic import Field, RootModel

from gatewayz.api.schemas.billing import Asked, Text, Time
from gatewayz.api.schemas.shape import Count, Ours, Usd

Name = Annotated[str, Field(min_length=1, max_length=100)]


class AskPlan(Asked):
    """One of the two; a product id beside them is not read: the plan follows from the price."""

    price_id: Name | None = None
    plan: Name | None = None


class AskSubscription(AskPlan):
    success_url: Text | None = None
    cancel_url: Text | None = None
    customer_email: Annotated[str, Field(max_length=320)] | None = None


class Plan(Ours):
    id: str
    name: str
    description: str
    plan_type: str
    price_per_month: Usd
    allowance_per_month: Usd
    price_ids: list[str]
    product_ids: list[str]
    price_markup: float = Field(description="Factor on the published price; 1 leaves it as it is")
    daily_request_limit: Count
    monthly_request_limit: Count
    daily_token_limit: Count
    monthly_token_limit: Count
    max_concurrent_requests: Count
    is_pay_as_you_go: bool
    features: list[str]
    is_active: bool


class PlanList(RootModel[list[Plan]]):
    """The cheapest first."""


class OwnPlan(Plan):
    plan_id: str
    plan_name: str
    plan_description: str
    plan_source: Literal["subscription", "assigned", "trial", "free"]
    start_date: Time | None
    end_date: Time | None
    subscription_status: str
    grace_ends_at: Time | None
    subscription_allowance: Usd


class Use(Ours):
    requests_today: Count
    requests_month: Count
    tokens_today: Count
    tokens_month: Count


class AtLimit(Ours):
    requests_today: bool
    requests_month: bool
    tokens_today: bool
    tokens_month: bool


class PlanUse(Ours):
    plan_name: str
    usage: Use
    limits: Use
    remaining: Use
    at_limit: AtLimit


class Entitlements(Ours):
    has_plan: bool
    limits: Use
    features: list[str]
    can_access_feature: bool
    plan_expires: Time | None
    plan_expired: bool


class AskAssignment(Asked):
    user_id: Annotated[str, Field(min_length=1, max_length=64)]
    plan_id: Name
    duration_months: Annotated[int, Field(ge=1, le=120)] = 1


class Subscription(Ours):
    has_subscription: bool
    subscription_id: str
    status: str
    tier: str
    plan: str
    price_id: str
    current_period_start: Time
    current_period_end: Time
    cancel_at_period_end: bool
    grace_ends_at: Time | None
    ended_at: Time | None


class OpenedSubscription(Ours):
    session_id: str
    url: str | None
    expires_at: int = Field(description="Unix seconds")
