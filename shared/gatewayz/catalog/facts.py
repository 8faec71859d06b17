"""Public facts of providers for people who look: site, policies, badge (facts.toml).

Guarantees None for what is not stated. Nothing of it decides what is called or what it costs.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gatewayz.providers.tables import read_toml

FACTS = Path(__file__).with_name("facts.toml")


@cache
def _facts() -> Mapping[str, Any]:
    return read_toml(FACTS)


def about(slug: str) -> Mapping[str, Any]:
    """What is stated of a provider: site, color, icon, headquarters, privacy, terms, status."""
    stated: Mapping[str, Any] = _facts()["providers"].get(slug, {})
    return stated


def hub() -> Mapping[str, Any]:
    """The site that counts downloads and likes: name, url, tasks."""
    stated: Mapping[str, Any] = _facts()["hub"]
    return stated


def named(word: str) -> str | None:
    """The provider that is also known by this name."""
    return next(
        (s for s, stated in _facts()["providers"].items() if word in stated.get("aliases", ())),
        None,
    )


def site_of(slug: str) -> str | None:
    return about(slug).get("site")


@cache
def logo_of(slug: str) -> str | None:
    site = site_of(slug)
    if site is None:
        return None
    picture: str = _facts()["picture"]
    return picture.format(urlsplit(site).netloc.removeprefix("www."))
