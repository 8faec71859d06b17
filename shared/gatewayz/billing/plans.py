"""Plans as data, and which of the processor's prices stands for which plan.

A plan follows from the price that is paid, never from what a caller says it bought.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gatewayz.core.settings import SettingsError

FREE = "free"


@dataclass(frozen=True, slots=True)
class Plan:
    """Money in US cents a month; limits are what one account may do."""

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
    features: tuple[str, ...]


@cache
def load_plans() -> Mapping[str, Plan]:
    """Every plan by id, the cheapest first."""
    table = tomllib.loads(Path(__file__).with_name("plans.toml").read_text())
    return {
        name: Plan(id=name, features=tuple(row.pop("features")), **row)
        for name, row in table.items()
    }


@cache
def read_prices(text: str) -> Mapping[str, str]:
    """`price_abc=dev price_def=team` as price → plan; SettingsError names what is wrong."""
    prices = {}
    for part in text.replace(",", " ").split():
        price, _, plan = part.partition("=")
        if plan not in load_plans() or not price:
            raise SettingsError(f"GATEWAYZ_STRIPE_PRICES: {part[:60]!r} names no plan")
        prices[price] = plan
    return prices
