"""The rows of keys for applications (OAuth PKCE) in the API document; its pages are for people."""

from gatewayz.api.operation import ALWAYS, WITH_KEY, Operation
from gatewayz.api.schemas.grants import AskCode, ExchangeCode, GivenCodeAnswer, GivenKey

EXCHANGE_DETAIL = """\
Send your user to `/auth?callback_url=…&code_challenge=…&code_challenge_method=S256` (also
`key_label`, `limit` in USD, `usage_limit_type`, `expires_at`, `state`). After agreement the browser
goes to `callback_url` with `code`, after a refusal with `error=access_denied`. A callback is https,
or http on localhost at any port; without one the page shows the code. Exchange it within ten
minutes, once: a code that is shown twice takes its key back."""

GRANT_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "/api/v1/auth/keys", "account", "Exchange a code for a key", GivenKey, method="post",
        request=ExchangeCode, detail=EXCHANGE_DETAIL,
        errors=(*ALWAYS, "invalid_request", "invalid_grant", "too_many_attempts"), public=True,
    ),
    Operation(
        "/api/v1/auth/keys/code", "account", "Make a code for an application", GivenCodeAnswer,
        method="post", request=AskCode, errors=(*WITH_KEY, "invalid_request"),
    ),
)  # fmt: skip
