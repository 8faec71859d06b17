"""The stand-in for Stripe beside a local stack: what it is told, and what others are told of it.

It belongs to the tests of this repository and is loaded from there, by a development stack only.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

from gatewayz.core.settings import Settings
from gatewayz.local.errors import LocalError
from gatewayz.local.home import CHECKOUT, Home
from gatewayz.stores.secrets import Secrets

MODULE = "tests.fakes.stripe.local"
WEBHOOK = "/api/stripe/webhook"
# Looks like a key of Stripe's test mode and opens nothing.
KEY = "sk_test_local"
FAKE = "fake"


def wanted(settings: Settings) -> bool:
    """LocalError for a word that nobody knows."""
    if settings.billing.stand_in not in ("", FAKE):
        raise LocalError(f"GATEWAYZ_STRIPE={settings.billing.stand_in[:40]!r} is not `fake`")
    return settings.billing.stand_in == FAKE


def variables(home: Home, *, own: str, gateway: str) -> dict[str, str]:
    """What the other parts of the stack are told: addresses, keys, prices."""
    return {
        "STRIPE_API_URL": own,
        "STRIPE_SECRET_KEY": KEY,
        "STRIPE_WEBHOOK_SECRET": f"whsec_{home.secret('stripe')}",
        "GATEWAYZ_STRIPE_PRICES": "price_local_dev=dev price_local_team=team",
        "GATEWAYZ_APP_URL": gateway,
        "GATEWAYZ_STRIPE": FAKE,
    }


def load_standin() -> Any:
    """Its module; LocalError where the repository's tests are not there."""
    if str(CHECKOUT) not in sys.path:
        sys.path.append(str(CHECKOUT))
    try:
        return importlib.import_module(MODULE)
    except ModuleNotFoundError as error:
        raise LocalError(f"GATEWAYZ_STRIPE=fake needs this repository's tests: {error}") from None


def make_app(module: Any, settings: Settings) -> Any:
    """The ASGI application, told by the variables of this process."""
    secrets = Secrets()
    return module.make_app(
        url=settings.billing.stripe_url,
        key=secrets.find("STRIPE_SECRET_KEY"),
        secret=secrets.find("STRIPE_WEBHOOK_SECRET"),
        webhook=settings.billing.app_url.rstrip("/") + WEBHOOK,
        file=Path(settings.home_path) / "stripe.pickle",
    )
