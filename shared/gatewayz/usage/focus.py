"""What was billed in the words of FOCUS 1.2, the open form of cost and usage (focus.finops.org).

One row is a UTC day, a key, an offer and a class of usage at one price; the rows of a span add up
to its charges. Pure.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson

from gatewayz.usage.parquet import Column

Row = dict[str, Any]
DAY_MS = 86_400_000
# A price is nano-USD (nine places) for a million units (six).
PRICE_PLACES = 15
ISSUER = "Gatewayz"
UNITS: Mapping[str, str] = {"second": "Seconds", "request": "Requests", "search": "Searches"}
TOKENS = "Tokens"
_COSTS = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")
_TIMES = ("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd")
_COUNTS = ("ConsumedQuantity", "PricingQuantity")
COLUMNS = tuple(
    Column(
        name,
        "usd_nanos" if name in _COSTS
        else "time_ms" if name in _TIMES
        else "integer" if name in _COUNTS
        else "text",
    )
    for name in (
        "BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType",
        "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory",
        "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd",
        "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit", "ContractedCost",
        "ContractedUnitPrice", "EffectiveCost", "InvoiceId", "InvoiceIssuerName", "ListCost",
        "ListUnitPrice", "PricingCategory", "PricingCurrency", "PricingQuantity", "PricingUnit",
        "ProviderName", "PublisherName", "RegionId", "RegionName", "ResourceId", "ResourceName",
        "ResourceType", "ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId",
        "SkuMeter", "SkuPriceDetails", "SkuPriceId", "SubAccountId", "SubAccountName",
        "SubAccountType", "Tags",
    )
)  # fmt: skip


def unit_price(price_nanos: int) -> str:
    """US dollars for one unit, of nano-USD per 10^6 units: exact plain decimal text."""
    return format(Decimal(price_nanos).scaleb(-PRICE_PLACES).normalize(), "f")


def _month(day_ms: int) -> tuple[int, int]:
    at = datetime.fromtimestamp(day_ms / 1000, tz=UTC)
    first = at.replace(day=1)
    after = first.replace(year=at.year + at.month // 12, month=at.month % 12 + 1)
    return int(first.timestamp() * 1000), int(after.timestamp() * 1000)


def focus_row(line: Mapping[str, Any], day_ms: int) -> Row:
    """A row of FOCUS from one of `list_billed_lines`."""
    starts_ms, ends_ms = _month(day_ms)
    unit, price = UNITS.get(line["class"], TOKENS), unit_price(line["price_nanos"])
    sku = f"{line['offer']}:{line['class']}"
    tags = {"team": line["team"], "member": line["member"], "tags": " ".join(line["tags"])}
    made: Row = dict.fromkeys(_COSTS, line["nanos"])
    made |= {
        "BillingAccountId": line["account"],
        "BillingAccountName": line["account_name"],
        "BillingAccountType": "Account",
        "BillingCurrency": "USD",
        "BillingPeriodStart": starts_ms,
        "BillingPeriodEnd": ends_ms,
        "ChargeCategory": "Usage",
        "ChargeClass": None,
        "ChargeDescription": f"{line['class']} of {line['model']}",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": day_ms,
        "ChargePeriodEnd": day_ms + DAY_MS,
        "ConsumedQuantity": line["units"],
        "ConsumedUnit": unit,
        "ContractedUnitPrice": price,
        "InvoiceId": None,
        "InvoiceIssuerName": ISSUER,
        "ListUnitPrice": price,
        "PricingCategory": "Standard",
        "PricingCurrency": "USD",
        "PricingQuantity": line["units"],
        "PricingUnit": unit,
        "ProviderName": ISSUER,
        "PublisherName": line["provider"],
        "RegionId": None,
        "RegionName": None,
        "ResourceId": line["model"],
        "ResourceName": line["model"],
        "ResourceType": "Model",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "AI Gateway",
        "ServiceSubcategory": "Generative AI",
        "SkuId": sku,
        "SkuMeter": line["class"],
        "SkuPriceId": f"{sku}:{line['price_nanos']}",
        "SkuPriceDetails": orjson.dumps({"x_NanoUsdPerMillion": line["price_nanos"]}).decode(),
        "SubAccountId": line["key_id"],
        "SubAccountName": line["key_name"],
        "SubAccountType": "API key",
        "Tags": orjson.dumps({k: v for k, v in tags.items() if v}).decode(),
    }
    return made
