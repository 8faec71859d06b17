"""The price of a request that a caller's own provider key serves: a share of the list price.

The provider bills its key's owner; what is ours is a fee, so the fee is the price, in every class
and tier, by the function that makes every other sale price. Its version tells the share.
"""

import re
from dataclasses import replace

from gatewayz.pricing.markup import PPM, sale_price
from gatewayz.pricing.price import Price

MAX_FEE_PPM = PPM // 2
MARK = "-byok"
_VERSION = re.compile(rf".*{MARK}(\d{{1,7}})", re.DOTALL)


def fee_price(listed: Price, fee_ppm: int) -> Price:
    """`listed` × `fee_ppm` millionths, at least 0 and at most half of it."""
    if not 0 <= fee_ppm <= MAX_FEE_PPM:
        raise ValueError(f"no fee: {fee_ppm} ppm")
    return replace(sale_price(listed, fee_ppm), version=f"{listed.version}{MARK}{fee_ppm}")


def fee_of(version: str | None) -> int | None:
    """The share in millionths that a price's version tells; None when it is no fee."""
    if version is None or MARK not in version:
        return None
    found = _VERSION.fullmatch(version)
    return int(found[1]) if found else None


def listed_nanos(amount_nanos: int, fee_ppm: int) -> int | None:
    """What the provider asks for, about, when the fee on it is so much; None when it is free."""
    return amount_nanos * PPM // fee_ppm if fee_ppm else None
