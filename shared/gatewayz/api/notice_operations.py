"""The rows of notification preferences in the API document."""

from gatewayz.api.operation import WITH_KEY, Operation
from gatewayz.api.schemas.notices import ChangePreferences, PreferencesAnswer, TestSent

REFUSED = (*WITH_KEY, "invalid_request")

NOTICE_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "/user/notifications/preferences", "account", "Show what you are told by mail",
        PreferencesAnswer, errors=WITH_KEY,
    ),
    Operation(
        "/user/notifications/preferences", "account", "Choose what you are told by mail",
        PreferencesAnswer, method="put", request=ChangePreferences, errors=REFUSED,
        detail="A member's own choice; with a key, that of members who made none.",
    ),
    Operation(
        "/user/notifications/test", "people", "Send yourself a letter", TestSent, method="post",
        errors=(*WITH_KEY, "sign_in_needed", "rate_limit_exceeded"),
    ),
)  # fmt: skip
