"""The rows of the caller's limits in the API document."""

from gatewayz.api.operation import WITH_KEY, Operation, Parameter
from gatewayz.api.schemas.limits import (
    BulkKeyLimits,
    KeyLimitList,
    LimitAnswer,
    LimitFields,
    ScopeLimits,
)

KEY = Parameter("key_id", "path", "the id of a key", "key_1")
CHANGED = (*WITH_KEY, "invalid_request", "key_not_found", "too_many_limits")
MEANING = """\
Limits of a minute or an hour are buckets that hold the whole limit and refill evenly (GCRA); those
of a day or a month count in the UTC day or month. Tokens are taken by estimate when a request is
admitted and corrected when it ends; an estimate above all that is left passes when nothing is used
yet. Each request counts once, and one that is refused not at all."""

LIMIT_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "/user/rate-limits", "account", "List limits", KeyLimitList, detail=MEANING,
        errors=WITH_KEY,
    ),
    Operation(
        "/user/rate-limits", "account", "Change budgets of the account, a team or an end user",
        LimitAnswer, method="put", request=ScopeLimits, errors=CHANGED,
        detail="An end user is named as in `user`, or by its hash; a team by its id.",
    ),
    Operation(
        "/user/rate-limits/{key_id}", "account", "Change the limits of a key", LimitAnswer,
        method="put", request=LimitFields, parameters=(KEY,), errors=CHANGED,
        detail="What is named changes, null takes a limit away. It holds from the next request.",
    ),
    Operation(
        "/user/rate-limits/bulk-update", "account", "Change the limits of several keys",
        LimitAnswer, method="post", request=BulkKeyLimits, errors=CHANGED,
    ),
    Operation(
        "/user/rate-limits/usage/{key_id}", "account", "How much of a key's limits is left",
        LimitAnswer, parameters=(KEY,), errors=(*WITH_KEY, "key_not_found"),
    ),
)  # fmt: skip
