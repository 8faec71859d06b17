"""Plans, the subscription of the calling account, its daily cap. Control plane."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Query, Response

from gatewayz.api.answers import json_answer, time_text
from gatewayz.api.app import Caller, CurrentPlane, Plane, create_app
from gatewayz.api.schemas.billing import AskCap
from gatewayz.api.schemas.subscriptions import AskAssignment, AskPlan, AskSubscription
from gatewayz.api.staff import Staff
from gatewayz.billing.plans import FREE, Plan, load_plans, markup_of_plan, read_prices
from gatewayz.billing.returns import SESSION, return_url
from gatewayz.core.billing_settings import BillingSettings
from gatewayz.core.errors import InvalidRequest, NotFound
from gatewayz.core.money import parse_usd, usd_number
from gatewayz.pricing.markup import PPM
from gatewayz.runtime import entries

app = create_app("subscriptions")
lambda_handler = entries.http(app)

NANOS_PER_CENT = 10_000_000
Row = dict[str, Any]


@asynccontextmanager
async def _desk(plane: Plane) -> AsyncIterator[Any]:
    """Stripe's client is imported by the first request that needs it: it takes 0.2 s."""
    from gatewayz.billing.stripe.client import open_client
    from gatewayz.billing.stripe.desk import Desk

    billing = plane.settings.billing
    key = plane.stores.secrets.find("STRIPE_SECRET_KEY")
    if not key or not read_prices(billing.prices):
        raise NotFound("Subscriptions are not on sale here.", code="payments_not_configured")
    async with open_client(key, billing.stripe_url) as client:
        yield Desk(client, plane.stores.postgres, billing, plane.stores.redis)


def _plan(plan: Plan, billing: BillingSettings) -> Row:
    names = [name for name, its in read_prices(billing.prices).items() if its == plan.id]
    return {
        "id": plan.id,
        "name": plan.name,
        "description": plan.description,
        "plan_type": plan.id,
        "price_per_month": usd_number(plan.price_cents * NANOS_PER_CENT),
        "allowance_per_month": usd_number(plan.allowance_cents * NANOS_PER_CENT),
        "price_ids": [name for name in names if not name.startswith("prod_")],
        "product_ids": [name for name in names if name.startswith("prod_")],
        "price_markup": markup_of_plan(plan.id, billing.plan_markups) / PPM,
        "daily_request_limit": plan.requests_per_day,
        "monthly_request_limit": plan.requests_per_month,
        "daily_token_limit": plan.tokens_per_day,
        "monthly_token_limit": plan.tokens_per_month,
        "max_concurrent_requests": plan.concurrent_requests,
        "is_pay_as_you_go": plan.id == FREE,
        "features": list(plan.features),
        "is_active": True,
    }


@app.get("/plans")
async def list_plans(plane: CurrentPlane) -> Response:
    """What is on offer; the same for everybody."""
    return json_answer([_plan(plan, plane.settings.billing) for plan in load_plans().values()])


@app.get("/plans/{plan_id}")
async def get_plan(plan_id: str, plane: CurrentPlane) -> Response:
    plan = load_plans().get(plan_id)
    if plan is None:
        raise NotFound("There is no such plan.", code="plan_not_found")
    return json_answer(_plan(plan, plane.settings.billing))


async def _own(plane: Plane, account: str) -> tuple[Plan, Row]:
    """The plan that counts now and what is known of it: its source, from when to when."""
    found = await plane.stores.postgres.rpc("find_plan", {"account": account})
    return load_plans().get(found["plan"], load_plans()[FREE]), found


@app.get("/user/plan")
async def get_own_plan(caller: Caller, plane: CurrentPlane) -> Response:
    plan, own = await _own(plane, caller.account)
    row = await plane.stores.postgres.rpc("find_subscription", {"account": caller.account})
    end_ms = own["ends_at_ms"]
    if own["source"] == "subscription" and end_ms is None:
        end_ms = row["period_end_ms"]
    return json_answer(
        _plan(plan, plane.settings.billing)
        | {
            "plan_id": plan.id,
            "plan_name": plan.name,
            "plan_description": plan.description,
            "plan_source": own["source"],
            "start_date": time_text(own["starts_at_ms"]),
            "end_date": time_text(end_ms),
            "subscription_status": row["status"] if row else "none",
            "grace_ends_at": time_text(row["grace_ends_at_ms"]) if row else None,
            "subscription_allowance": usd_number(row["allowance_left_nanos"] if row else 0),
        }
    )


LIMITS = {
    "requests_today": "requests_per_day",
    "requests_month": "requests_per_month",
    "tokens_today": "tokens_per_day",
    "tokens_month": "tokens_per_month",
}


def _limits(plan: Plan) -> Row:
    return {name: getattr(plan, field) for name, field in LIMITS.items()}


@app.get("/user/plan/usage")
@app.get("/user/environment-usage")
async def get_use(caller: Caller, plane: CurrentPlane) -> Response:
    """What was used in this UTC day and month beside what the plan allows."""
    plan, _ = await _own(plane, caller.account)
    used = await plane.stores.postgres.rpc("count_use", {"account": caller.account})
    limits = _limits(plan)
    return json_answer(
        {
            "plan_name": plan.name,
            "usage": {name: used[name] for name in limits},
            "limits": limits,
            "remaining": {name: max(0, most - used[name]) for name, most in limits.items()},
            "at_limit": {name: used[name] >= most for name, most in limits.items()},
        }
    )


@app.get("/user/plan/entitlements")
async def get_entitlements(
    caller: Caller, plane: CurrentPlane, feature: Annotated[str, Query(max_length=100)] = ""
) -> Response:
    plan, own = await _own(plane, caller.account)
    return json_answer(
        {
            "has_plan": plan.id != FREE,
            "limits": _limits(plan),
            "features": list(plan.features),
            "can_access_feature": not feature or feature in plan.features,
            "plan_expires": time_text(own["ends_at_ms"]),
            "plan_expired": own["blocked"] is not None,
        }
    )


@app.post("/admin/assign-plan")
async def assign_plan(staff: Staff, plane: CurrentPlane, asked: AskAssignment) -> Response:
    """A plan for some months, without a payment; it brings no allowance."""
    if asked.plan_id not in load_plans():
        raise NotFound("There is no such plan.", code="plan_not_found")
    row = await plane.stores.postgres.rpc(
        "assign_plan",
        {
            "account": asked.user_id,
            "plan": asked.plan_id,
            "months": asked.duration_months,
            "actor": staff.name,
        },
    )
    return json_answer(
        {
            "account": row["account"],
            "plan_id": row["plan"],
            "start_date": time_text(row["starts_at_ms"]),
            "end_date": time_text(row["expires_at_ms"]),
        }
    )


def _subscription(row: Row) -> Row:
    return {
        "has_subscription": row["status"] != "canceled",
        "subscription_id": row["subscription"],
        "status": row["status"],
        "tier": row["plan"],
        "plan": row["plan"],
        "price_id": row["price"],
        "current_period_start": time_text(row["period_start_ms"]),
        "current_period_end": time_text(row["period_end_ms"]),
        "cancel_at_period_end": row["cancel_at_period_end"],
        "grace_ends_at": time_text(row["grace_ends_at_ms"]),
        "ended_at": time_text(row["ended_at_ms"]),
    }


@app.get("/api/stripe/subscription")
async def get_subscription(caller: Caller, plane: CurrentPlane) -> Response:
    row = await plane.stores.postgres.rpc("find_subscription", {"account": caller.account})
    if row is None:
        raise NotFound("This account has no subscription.", code="subscription_not_found")
    return json_answer(_subscription(row))


@app.post("/api/stripe/subscription-checkout")
async def open_subscription(
    caller: Caller, plane: CurrentPlane, asked: AskSubscription
) -> Response:
    """The page at Stripe where a subscription is begun. The plan follows from the price."""
    from gatewayz.billing.stripe import orders, subscriptions

    settings = plane.settings.billing
    async with _desk(plane) as desk:
        price, _ = await subscriptions.price_for(desk, plan=asked.plan, price=asked.price_id)
        customer = await orders.customer_of(
            desk.client, plane.stores.postgres, caller.account, email=asked.customer_email
        )
        opened = await subscriptions.open_subscription(
            desk,
            account=caller.account,
            customer=customer,
            price=price,
            success_url=return_url(
                asked.success_url, f"/payment/success?session_id={SESSION}", settings
            ),
            cancel_url=return_url(asked.cancel_url, "/payment/cancelled", settings),
        )
    return json_answer(opened)


async def _change(caller: Any, plane: Plane, asked: AskPlan, *, now: bool) -> Response:
    from gatewayz.billing.stripe import subscriptions

    async with _desk(plane) as desk:
        price, plan = await subscriptions.price_for(desk, plan=asked.plan, price=asked.price_id)
        row = await subscriptions.own_subscription(desk, caller.account)
        row = await subscriptions.change_plan(desk, row, price, plan, now=now)
    return json_answer(_subscription(row))


@app.post("/api/stripe/subscription/upgrade")
async def upgrade(caller: Caller, plane: CurrentPlane, asked: AskPlan) -> Response:
    """A dearer plan from now on; the difference is paid and its allowance added."""
    return await _change(caller, plane, asked, now=True)


@app.post("/api/stripe/subscription/downgrade")
async def downgrade(caller: Caller, plane: CurrentPlane, asked: AskPlan) -> Response:
    """A cheaper plan; what this period's allowance holds stays until its end."""
    return await _change(caller, plane, asked, now=False)


async def _set_ending(caller: Any, plane: Plane, *, ending: bool) -> Response:
    from gatewayz.billing.stripe import subscriptions

    async with _desk(plane) as desk:
        row = await subscriptions.own_subscription(desk, caller.account)
        row = await subscriptions.set_ending(desk, row, ending=ending)
    return json_answer(_subscription(row))


@app.post("/api/stripe/subscription/cancel")
async def cancel(caller: Caller, plane: CurrentPlane) -> Response:
    """Ends with its period; purchased credit stays for ever."""
    return await _set_ending(caller, plane, ending=True)


@app.post("/api/stripe/subscription/resume")
async def resume(caller: Caller, plane: CurrentPlane) -> Response:
    """Takes a cancellation back while the period runs, or ends a pause."""
    return await _set_ending(caller, plane, ending=False)


# ---------------------------------------------------------------------- daily cap


def _cap(row: Row) -> Row:
    def usd(nanos: int | None) -> Any:
        return None if nanos is None else usd_number(nanos)

    return {
        "daily_cap": usd(row["day_nanos"]),
        "own_cap": usd(row["own_nanos"]),
        "spent_today": usd_number(row["spent_nanos"]),
        "remaining_today": usd(row["room_nanos"]),
    }


@app.get("/user/daily-cap")
async def get_cap(caller: Caller, plane: CurrentPlane) -> Response:
    row = await plane.stores.postgres.rpc("find_daily_cap", {"account": caller.account})
    return json_answer(_cap(row))


@app.put("/user/daily-cap")
async def set_cap(caller: Caller, plane: CurrentPlane, asked: AskCap) -> Response:
    """The most that this account spends in a UTC day, or null for no such limit."""
    nanos = None
    if asked.daily_cap is not None:
        try:
            nanos = parse_usd(asked.daily_cap)
        except ValueError:
            raise InvalidRequest("daily_cap must be dollars as text.", param="daily_cap") from None
    row = await plane.stores.postgres.rpc(
        "set_daily_cap", {"account": caller.account, "day_nanos": nanos}
    )
    return json_answer(_cap(row))
