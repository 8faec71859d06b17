"""The list of a caller's own models is what a request of his could reach."""

from typing import Any

import pytest

from gatewayz.accounts.principals import Principal
from gatewayz.inference.allowed import allowed_by
from tests.unit.catalog.views.shop import CATALOG


def left(*routing: dict[str, Any]) -> list[str]:
    principal = Principal("acct", "key", "name", 1, "active", routing=routing)
    allowed = allowed_by(principal)
    return [m.id for m in CATALOG.models() if allowed(m, CATALOG.offers(m.id))]


@pytest.mark.parametrize(
    ("routing", "models"),
    [
        ((), ["acme/big", "acme/small", "brush/art", "vault/quiet"]),
        (({"only": ["second"]},), ["acme/big", "brush/art"]),
        (({"ignore": ["first"]},), ["acme/big", "brush/art", "vault/quiet"]),
        (({"zdr": True},), ["acme/big", "vault/quiet"]),
        (({"zdr": True}, {"only": ["third"]}), ["vault/quiet"]),
        (({"max_price": {"prompt": 1}},), ["acme/big", "acme/small"]),
    ],
)
def test_settings_of_key_and_account_leave_what_some_offer_may_serve(
    routing: tuple[dict[str, Any], ...], models: list[str]
) -> None:
    assert left(*routing) == models
