"""Plans as data, their markups, and which of the processor's prices stands for which plan.

A plan follows from the price that is paid, never from what a caller says it bought.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path

from gatewayz.core.settings import SettingsError
from gatewayz.pricing.markup import MAX_PPM, PPM

FREE = "free"


@dataclass(frozen=True, slots=True)
class Plan:
    """Money in US cents a month; limits are what one account may do. `markup` is a factor on the
    published price, as text."""

    id: str
    name: str
    description: str
    price_cents: int
    allowance_cents: int
    requests_per_day: int
    requests_per_month: int
    tokens_per_day: int
    tokens_per_month: int
    concurrent_requests: int
    markup: str
    features: tuple[str, ...]


@cache
def load_plans() -> Mapping[str, Plan]:
    """Every plan by id, the cheapest first."""
    table = tomllib.loads(Path(__file__).with_name("plans.toml").read_text())
    return {
        name: Plan(id=name, features=tuple(row.pop("features")), **row)
        for name, row in table.items()
    }


LIMITS = (
    "requests_per_day", "requests_per_month", "tokens_per_day", "tokens_per_month",
    "concurrent_requests",
)  # fmt: skip


def plan_limits(*, free: bool) -> Mapping[str, Mapping[str, int]]:
    """What each plan holds an account to; of the free plan nothing unless `free`."""
    return {
        name: {limit: getattr(plan, limit) for limit in LIMITS}
        for name, plan in load_plans().items()
        if free or name != FREE
    }


@cache
def read_prices(text: str) -> Mapping[str, str]:
    """`price_abc=dev prod_def=team` as price or product → plan; SettingsError names what is
    wrong. A product stands for all of its prices that are not named themselves."""
    prices = {}
    for part in text.replace(",", " ").split():
        price, _, plan = part.partition("=")
        if plan not in load_plans() or not price:
            raise SettingsError(f"GATEWAYZ_STRIPE_PRICES: {part[:60]!r} names no plan")
        prices[price] = plan
    return prices


def plan_of_price(text: str, price: str | None, product: str | None) -> str | None:
    """The plan that a price pays for, by its own id or its product's; None: not one of ours."""
    prices = read_prices(text)
    return prices.get(price or "") or prices.get(product or "")


@cache
def read_markups(text: str) -> Mapping[str, int]:
    """Plan → markup in millionths: of the table, or of `dev=1.10 team=0.95`; SettingsError.

    What everybody is shown is the free plan's price: so its markup is 1.
    """
    given = {name: plan.markup for name, plan in load_plans().items()}
    for part in text.replace(",", " ").split():
        plan, _, factor = part.partition("=")
        if plan not in given:
            raise SettingsError(f"GATEWAYZ_PLAN_MARKUPS: {part[:60]!r} names no plan")
        given[plan] = factor
    markups = {plan: _ppm(plan, factor) for plan, factor in given.items()}
    if markups[FREE] != PPM:
        raise SettingsError("GATEWAYZ_PLAN_MARKUPS: the free plan's price is the published one")
    return markups


def _ppm(plan: str, factor: str) -> int:
    wrong = SettingsError(
        f"GATEWAYZ_PLAN_MARKUPS: {plan} wants a factor above 0, of at most six decimals"
    )
    try:
        ppm = Decimal(factor) * PPM
    except InvalidOperation:
        raise wrong from None
    if not ppm.is_finite() or not 0 < ppm <= MAX_PPM or ppm != ppm.to_integral_value():
        raise wrong
    return int(ppm)


def markup_of_plan(plan: str, text: str) -> int:
    """Millionths of the published price that an account of this plan pays; `text` is the setting.
    A plan that is no more is treated as the free one."""
    return read_markups(text).get(plan, PPM)
