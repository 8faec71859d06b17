"""The rows of keys, activity and the account's audit in the API document."""

from collections.abc import Mapping
from typing import Any

from gatewayz.api.operation import WITH_KEY, Operation, Parameter
from gatewayz.api.schemas.activity import ActivityLog, ActivityStats, RoutedActivityList
from gatewayz.api.schemas.keys import (
    ApiKeyChanged,
    ApiKeyDeleted,
    ApiKeyList,
    ApiKeyMade,
    ApiKeyUsage,
    AuditLog,
    AuditVerdict,
    ChangeApiKey,
    ChangeRoutedKey,
    DeleteApiKey,
    NewApiKey,
    NewRoutedKey,
    RoutedKeyAnswer,
    RoutedKeyDeleted,
    RoutedKeyList,
    RoutedKeyMade,
)

KEY_ID = Parameter("key_id", "path", "the id of a key of the account", "key_01M89HHCC")
HASH = Parameter("hash", "path", "the hash of a key, or its id", "f01d…e943")
REFUSED = (*WITH_KEY, "invalid_request")
CHANGED = (*REFUSED, "key_not_found", "key_name_taken")
PLAIN = r"^[^\x00-\x1f\x7f]*$"
TEXT = {"type": "string", "maxLength": 200, "pattern": PLAIN}
PLACE = {"type": "integer", "minimum": 0, "maximum": 1_000_000}
UP_TO = {"type": "integer", "minimum": 1, "maximum": 1000}


def _ask(
    name: str, meaning: str, schema: Mapping[str, Any] = TEXT, *, choices: tuple[str, ...] = ()
) -> Parameter:
    return Parameter(
        name, "query", meaning, required=False, choices=choices, schema={} if choices else schema
    )


SPAN = (
    _ask("start_date", "ISO 8601; from then on"),
    _ask("end_date", "ISO 8601; before then"),
    Parameter("limit", "query", "100 unasked", "1", required=False, schema=UP_TO),
)
WHEN = (_ask("from", "ISO 8601; from then on"), _ask("to", "ISO 8601; before then"))
CHANGE_DETAIL = """\
Only what is named changes, from the next request on. `rotate` gives a new secret at once; the old
one works for `overlap_s` more. The id, the name and the usage stay."""
NEW_DETAIL = """\
The key stands whole in this answer and nowhere else. A key gives no scope that it lacks itself.
Keys for live and staging need credit, those for test do not. At most 10 within an hour."""

ACCOUNT_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "/user/api-keys", "account", "Create a key", ApiKeyMade, method="post",
        detail=NEW_DETAIL, request=NewApiKey,
        errors=(*REFUSED, "key_name_taken", "payment_required", "rate_limit_exceeded"),
    ),
    Operation("/user/api-keys", "account", "List keys", ApiKeyList, errors=WITH_KEY),
    Operation(
        "/user/api-keys/usage", "account", "Show what each key used", ApiKeyUsage, errors=WITH_KEY,
    ),
    Operation(
        "/user/api-keys/audit-logs", "account", "Show what happened to keys", AuditLog,
        parameters=(
            _ask("key_id", "one key alone"),
            _ask(
                "action", "one kind alone",
                choices=("create", "update", "delete", "rotate", "use-denied"),
            ),
            *SPAN,
        ),
        errors=REFUSED,
    ),
    Operation(
        "/user/api-keys/{key_id}", "account", "Change or rotate a key", ApiKeyChanged,
        method="put", detail=CHANGE_DETAIL, request=ChangeApiKey, parameters=(KEY_ID,),
        errors=(*CHANGED, "payment_required"),
    ),
    Operation(
        "/user/api-keys/{key_id}", "account", "Delete a key", ApiKeyDeleted, method="delete",
        detail="It works until the answer; what it used stays.", request=DeleteApiKey,
        parameters=(KEY_ID,), errors=(*REFUSED, "key_not_found"),
    ),
    Operation(
        "/user/audit", "account", "Show what changed in the account", AuditLog,
        detail="Append-only; each entry's hash covers the one before it.",
        parameters=(
            Parameter(
                "action", "query", "how the action begins, as `key.` or `credit.`", "key.",
                required=False, schema=TEXT,
            ),
            _ask("target", "what was changed"),
            *SPAN,
            _ask("before", "the id to go on from", {"type": "integer", "minimum": 1,
                                                    "maximum": 2**53 - 1}),
        ),
        errors=REFUSED,
    ),
    Operation(
        "/user/audit/verify", "account", "Verify the account's audit", AuditVerdict,
        detail="Names the first entry that is missing or is not what was written.",
        errors=WITH_KEY,
    ),
    Operation(
        "/user/activity/stats", "usage", "Sum up requests by day", ActivityStats,
        parameters=(
            _ask("days", "back from now; 30 unasked",
                 {"type": "integer", "minimum": 1, "maximum": 365}),
            *WHEN,
        ),
        errors=REFUSED,
    ),
    Operation(
        "/user/activity/log", "usage", "List requests", ActivityLog,
        parameters=(
            Parameter("limit", "query", "100 unasked", "1", required=False, schema=UP_TO),
            _ask("offset", "how many to skip", PLACE),
            _ask("page", "from 1, in place of offset", {**PLACE, "minimum": 1}),
            *WHEN,
            _ask("model", "one model alone"),
            _ask("provider", "one provider alone"),
        ),
        errors=REFUSED,
    ),
    Operation(
        "/api/v1/activity", "usage", "Show activity by day and model", RoutedActivityList,
        detail="The last 30 complete days in UTC.",
        parameters=(
            _ask("date", "one day alone, as 2026-11-24"),
            _ask("api_key_hash", "one key alone"),
        ),
        errors=REFUSED,
    ),
    Operation(
        "/api/v1/keys", "account", "Create a key", RoutedKeyMade, method="post", status=201,
        detail="For inference. Needs the scope `management`.", request=NewRoutedKey,
        errors=(*REFUSED, "key_name_taken"),
    ),
    Operation(
        "/api/v1/keys", "account", "List keys", RoutedKeyList,
        parameters=(
            _ask("offset", "how many to skip; a page has 100", PLACE),
            _ask("include_disabled", "`true`: also those", choices=("true", "false")),
        ),
        errors=REFUSED,
    ),
    Operation(
        "/api/v1/keys/{hash}", "account", "Show a key", RoutedKeyAnswer, parameters=(HASH,),
        errors=(*WITH_KEY, "key_not_found"),
    ),
    Operation(
        "/api/v1/keys/{hash}", "account", "Change a key", RoutedKeyAnswer, method="patch",
        request=ChangeRoutedKey, parameters=(HASH,), errors=CHANGED,
    ),
    Operation(
        "/api/v1/keys/{hash}", "account", "Delete a key", RoutedKeyDeleted, method="delete",
        parameters=(HASH,), errors=(*WITH_KEY, "key_not_found"),
    ),
)  # fmt: skip
