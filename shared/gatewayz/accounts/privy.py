"""What Privy knows of a verified subject whose token lists no accounts. Asked only where the
application's secret is configured; what cannot be learned is left out, and signing in goes on.
"""

from base64 import b64encode
from typing import Any
from urllib.parse import quote

import orjson

from gatewayz.core.log import get_log
from gatewayz.core.settings import Settings
from gatewayz.net.http import HttpClient, NetError
from gatewayz.stores.secrets import Secrets

log = get_log(__name__)
SECRET = "PRIVY_APP_SECRET"  # noqa: S105 — the name of a secret
TIMEOUT_S = 4.0
MAX_BYTES = 256 * 1024


async def ask_privy(http: HttpClient, settings: Settings, secrets: Secrets, subject: str) -> Any:
    """The linked accounts of the subject, None when they are not to be had."""
    app, secret = settings.auth.privy_app, secrets.find(SECRET)
    if not app or not secret:
        return None
    url = f"{settings.auth.privy_url.rstrip('/')}/api/v1/users/{quote(subject, safe='')}"
    basic = b64encode(f"{app}:{secret}".encode()).decode()
    try:
        answer = await http.request(
            "GET",
            url,
            headers={"authorization": f"Basic {basic}", "privy-app-id": app},
            timeout_s=TIMEOUT_S,
            max_bytes=MAX_BYTES,
        )
        body = orjson.loads(answer.body) if answer.status == 200 else None
    except (NetError, orjson.JSONDecodeError) as error:
        log.warning("privy_not_asked", error=type(error).__name__)
        return None
    if not isinstance(body, dict) or body.get("id") != subject:
        log.warning("privy_not_asked", status=answer.status)
        return None
    return body.get("linked_accounts")
