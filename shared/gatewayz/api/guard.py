"""The layer by address in front of the control plane: requests without any credential."""

from gatewayz.accounts.limits_guard import AddressGuard
from gatewayz.accounts.origin import origin_of
from gatewayz.accounts.principals import key_in
from gatewayz.accounts.sessions import PREFIX, secret_in_cookie
from gatewayz.core.errors import GatewayError
from gatewayz.core.settings import Settings
from gatewayz.dialects.form import Style
from gatewayz.dialects.openai_chat.errors import encode_error
from gatewayz.net.asgi import Call, RawHeaders, raw_headers

# Monitors and the payment processor: they must get through, and show no key.
EXEMPT = frozenset({"status", "stripe_webhook"})


async def count_public(
    guard: AddressGuard | None, settings: Settings, title: str, call: Call
) -> RawHeaders:
    """Headers for the answer; RateLimited when this is one too many. Who shows a credential is
    counted where it is looked up, and there only if nobody knows it."""
    if guard is None or title in EXEMPT or key_in(call.headers) is not None:
        return []
    if (secret_in_cookie(call.headers) or b"").startswith(PREFIX):
        return []
    place = origin_of(settings.http.client_ip, call.client, call.headers)
    return raw_headers(await guard.admit(place.ip))


async def refuse(call: Call, error: GatewayError, style: Style, own: RawHeaders) -> None:
    """The refusal as a whole answer, before the application saw the request."""
    label = dict(own).get(b"x-request-id", b"").decode()
    status, body, headers = encode_error(error, style=style, request_id=label)
    await call.answer(status, body, [*raw_headers(dict(headers)), *own])
