"""Where a payment's page may lead back to: hosts of ours, and nothing that only looks like one."""

import re
from urllib.parse import urlsplit

from gatewayz.core.billing_settings import BillingSettings
from gatewayz.core.settings import LOOPBACK

# Browsers read a backslash as a slash and drop tabs and newlines: none of these may be there.
_PLAIN = re.compile(r"[!-\[\]-~]{1,2000}")
SESSION = "{CHECKOUT_SESSION_ID}"


def return_url(given: str | None, default_path: str, settings: BillingSettings) -> str:
    """`given` when it is an address of an allowed host, else the default page (F65)."""
    home = settings.app_url.rstrip("/")
    if given and _PLAIN.fullmatch(given) and _allowed(given, settings):
        return given
    return home + default_path


def _allowed(url: str, settings: BillingSettings) -> bool:
    try:
        parts, home = urlsplit(url), urlsplit(settings.app_url)
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname
    if not host or "@" in parts.netloc or parts.scheme not in ("https", "http"):
        return False
    if parts.scheme == "http" and host not in LOOPBACK:
        return False
    if (parts.scheme, parts.netloc.lower()) == (home.scheme, home.netloc.lower()):
        return True
    return parts.scheme == "https" and port is None and host in settings.return_hosts.split()
