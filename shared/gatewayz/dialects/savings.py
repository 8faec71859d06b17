"""What the provider's prompt cache saved, beside the cost: named only where there was something."""

from gatewayz.core.money import usd_number
from gatewayz.dialects.form import JsonObject, UsageReport


def money_of(report: UsageReport) -> JsonObject:
    """`cost`, and `cache_savings` when cached tokens were cheaper; both in USD."""
    money: JsonObject = {"cost": usd_number(report.cost_nanos)}
    if report.cache_savings_nanos:
        money["cache_savings"] = usd_number(report.cache_savings_nanos)
    return money
