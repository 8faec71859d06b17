"""Amounts to offer for a top-up. Any other amount within the limits can be paid as well."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Package:
    id: str
    name: str
    amount_cents: int
    popular: bool = False


PACKAGES = (
    Package("starter", "Starter", 1_000),
    Package("professional", "Professional", 4_500, popular=True),
    Package("business", "Business", 20_000),
)
