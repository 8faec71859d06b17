"""Providers as lists show them: OpenRouter's item, the older web client's, and a gateway's badge.

Guarantees null for what nobody stated. What is stated stands in facts.toml.
"""

from collections.abc import Iterable, Mapping

from gatewayz.catalog.facts import about, logo_of, site_of
from gatewayz.catalog.items import Item
from gatewayz.catalog.views.rows import Row
from gatewayz.providers.config import Provider

PLAIN_BADGE = "bg-gray-500"


def provider_item(provider: Provider, *, available: bool) -> Item:
    """OpenRouter's provider item, and whether this gateway can call it."""
    stated = about(provider.slug)
    return {
        "name": provider.name,
        "slug": provider.slug,
        "headquarters": stated.get("headquarters"),
        "datacenters": None,
        "privacy_policy_url": stated.get("privacy"),
        "terms_of_service_url": stated.get("terms"),
        "status_page_url": stated.get("status"),
        "available": available,
        "local": provider.local,
        "sandbox": provider.sandbox,
    }


def counted_item(provider: Provider, models: int, *, available: bool) -> Item:
    """The same for the older web client: with its logo and the number of its models."""
    return {
        **provider_item(provider, available=available),
        "site_url": site_of(provider.slug),
        "logo_url": logo_of(provider.slug),
        "is_moderated": False,
        "model_count": models,
        "source_gateway": provider.slug,
        "source_gateways": [provider.slug],
    }


def gateway_item(provider: Provider, models: int, *, available: bool) -> Item:
    """A back end as the older web client draws it; `fast`: it has models and we can call it."""
    stated = about(provider.slug)
    return {
        "id": provider.slug,
        "name": provider.name,
        "color": stated.get("color", PLAIN_BADGE),
        "priority": "fast" if available and models else "slow",
        "site_url": stated.get("site"),
        "logo_url": logo_of(provider.slug),
        "icon": stated.get("icon"),
        "aliases": list(stated.get("aliases", ())),
        "available": available,
        "aggregator": provider.aggregator,
        "local": provider.local,
        "model_count": models,
    }


def count_models(rows: Iterable[Row]) -> Mapping[str, int]:
    """Host → how many listed models it has."""
    counts: dict[str, int] = {}
    for row in rows:
        for slug in row.gateways:
            counts[slug] = counts.get(slug, 0) + 1
    return counts
