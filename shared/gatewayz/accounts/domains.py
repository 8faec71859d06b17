"""Throw-away e-mail domains: a kept list that ships with the release, and what staff blocked.

A sub-domain of a listed domain is listed. Never looks anything up in the network.
"""

from functools import cache
from pathlib import Path

from gatewayz.core.errors import InvalidRequest
from gatewayz.stores.postgres import Postgres

LIST = Path(__file__).with_name("disposable_domains.txt")


@cache
def _listed() -> frozenset[str]:
    lines = LIST.read_text().splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def parents(domain: str) -> list[str]:
    """`a.b.example` → itself, `b.example`; the last label alone is nobody's."""
    labels = domain.lower().rstrip(".").split(".")
    return [".".join(labels[place:]) for place in range(max(1, len(labels) - 1))][:20]


def is_disposable(email: str) -> bool:
    """Is the address of a domain that the kept list has?"""
    return not _listed().isdisjoint(parents(email.rpartition("@")[2]))


async def check_domain(email: str | None, postgres: Postgres) -> None:
    """InvalidRequest (email_domain_blocked) for an address that nobody keeps."""
    if email is None:
        return
    domains = parents(email.rpartition("@")[2])
    if is_disposable(email) or await postgres.rpc("domain_is_blocked", {"domains": domains}):
        raise InvalidRequest(
            "Throw-away addresses are not accepted. Use one that you keep.",
            code="email_domain_blocked",
            param="email",
        )
