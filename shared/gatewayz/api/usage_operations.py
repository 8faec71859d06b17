"""The rows of the request log, analytics, exports, receipts, alerts and service levels."""

from gatewayz.api.account_operations import PLAIN, TEXT, UP_TO, WHEN
from gatewayz.api.operation import ALWAYS, WITH_KEY, Operation, Parameter, on_both
from gatewayz.api.schemas.usage import (
    AlertDeleted,
    AlertFields,
    AnalyticsAnswer,
    AnalyticsMeta,
    AnalyticsQuery,
    ExportAnswer,
    ExportList,
    Feedback,
    FeedbackAnswer,
    NewExport,
    ReceiptKeys,
    RequestLog,
    ServiceCreditList,
    SignedReceiptAnswer,
    SlaIncidentList,
    SlaReportAnswer,
    SlaTermsAnswer,
    SlaUptimeList,
    SpendAlertAnswer,
    SpendAlertList,
)

REFUSED = (*WITH_KEY, "invalid_request")
PUBLIC = (*ALWAYS, "billing_unavailable")
ALERT_ID = Parameter("alert_id", "path", "the id of an alert", "alert_01M89HHCC")
EXPORT_ID = Parameter("export_id", "path", "the id of an export", "exp_01M89HHCC")
MONTH = Parameter("month", "path", "a month in UTC", "2026-11",
                  schema={"type": "string", "pattern": r"^20\d\d-(0[1-9]|1[0-2])$"})  # fmt: skip
LIMIT = Parameter(
    "limit", "query", "how many; 50 or 100 unasked", "1", required=False, schema=UP_TO
)


def _ask(name: str, meaning: str, *, choices: tuple[str, ...] = ()) -> Parameter:
    schema = {} if choices else TEXT
    return Parameter(name, "query", meaning, required=False, choices=choices, schema=schema)


SEVERAL = "; several between commas"
LOG = (
    LIMIT,
    Parameter(
        "cursor", "query", "`next_cursor` of the page before", required=False,
        schema={"type": "string", "maxLength": 64, "pattern": PLAIN},
    ),
    _ask("order", "newest unasked", choices=("newest", "oldest")),
    *WHEN,
    _ask("model", "model ids" + SEVERAL),
    _ask("provider", "providers" + SEVERAL),
    _ask("offer", "offers" + SEVERAL),
    _ask("api_key_id", "keys" + SEVERAL),
    _ask("team", "teams" + SEVERAL),
    _ask("member", "whose keys"),
    _ask("end_user", "what the caller named, or its hash" + SEVERAL),
    _ask("session", "what the caller named, or its hash" + SEVERAL),
    _ask("app", "X-Title of the requests" + SEVERAL),
    _ask("tag", "X-Gatewayz-Tags of the request, or a tag of its key"),
    _ask("outcome", "completed, empty, failed, cut, left, expired" + SEVERAL),
    _ask("finish_reason", "as stop or length" + SEVERAL),
    _ask("error_class", "as timeout or throttled"),
    _ask("blame", "whose fault a failure was", choices=("client", "gateway", "provider")),
    _ask("client_request_id", "X-Request-ID of the request"),
    _ask("stream", "streamed or not", choices=("true", "false")),
    _ask("failed", "`true`: only what failed", choices=("true", "false")),
    Parameter("min_usage", "query", "US dollars at least", required=False,
              schema={"type": "string", "pattern": r"^\d{1,4}(\.\d{1,9})?$"}),
    Parameter("max_usage", "query", "US dollars at most", required=False,
              schema={"type": "string", "pattern": r"^\d{1,4}(\.\d{1,9})?$"}),
    Parameter("min_total_ms", "query", "milliseconds at least", required=False,
              schema={"type": "string", "pattern": r"^\d{1,9}$"}),
)  # fmt: skip
LOG_DETAIL = "The last 30 days unasked. What is older than the plan keeps is gone; its sums stay."
QUERY_DETAIL = """\
Sums of any metric along any dimensions and time, exact to the ledger. Money is in US dollars,
durations are in milliseconds; a percentile is right within 1.6 %. `data/metadata` tells the span
that was really answered: whole hours, or whole days where hours are gone."""
EXPORT_DETAIL = """\
`requests` is the log, `usage` a query, `focus` what was billed in the form of FOCUS 1.2. Written
within minutes, in parts of 50,000 rows; kept for 7 days. Text in CSV never runs as a formula."""
RECEIPT_DETAIL = """\
What was billed and why: price version, units by class, every attempt, and the hash of the account's
receipt before it. Signed with Ed25519; `gatewayz verify receipt` checks it without asking us."""

USAGE_OPERATIONS: tuple[Operation, ...] = (
    Operation("/v1/requests", "usage", "Search the request log", RequestLog,
              detail=LOG_DETAIL, parameters=LOG, errors=REFUSED),
    *on_both("/analytics/meta", "usage", "List metrics and dimensions", AnalyticsMeta,
             errors=WITH_KEY),
    *on_both("/analytics/query", "usage", "Query usage", AnalyticsAnswer, method="post",
             detail=QUERY_DETAIL, request=AnalyticsQuery, errors=REFUSED),
    *on_both("/generation/feedback", "usage", "Say what was wrong with an answer",
             FeedbackAnswer, method="post", request=Feedback,
             errors=(*REFUSED, "generation_not_found")),
    Operation("/v1/exports", "usage", "Create an export", ExportAnswer, method="post", status=202,
              detail=EXPORT_DETAIL, request=NewExport, errors=(*REFUSED, "too_many_exports")),
    Operation("/v1/exports", "usage", "List exports", ExportList, errors=WITH_KEY),
    Operation("/v1/exports/{export_id}", "usage", "Show an export and its links", ExportAnswer,
              parameters=(EXPORT_ID,), errors=(*WITH_KEY, "export_not_found")),
    Operation("/v1/receipts/keys", "usage", "List the keys that sign receipts", ReceiptKeys,
              detail="A JWK Set (RFC 7517).", public=True, errors=ALWAYS),
    Operation("/v1/receipts/{id}", "usage", "Get a signed receipt", SignedReceiptAnswer,
              detail=RECEIPT_DETAIL,
              parameters=(Parameter("id", "path", "any id that an answer had", "gen-01M89HHCC"),),
              errors=(*WITH_KEY, "receipt_not_found")),
    Operation("/v1/alerts", "usage", "Create a spending alert", SpendAlertAnswer, method="post",
              request=AlertFields, errors=(*REFUSED, "too_many_alerts")),
    Operation("/v1/alerts", "usage", "List spending alerts", SpendAlertList, errors=WITH_KEY),
    Operation("/v1/alerts/{alert_id}", "usage", "Change a spending alert", SpendAlertAnswer,
              method="put", request=AlertFields, parameters=(ALERT_ID,),
              errors=(*REFUSED, "alert_not_found")),
    Operation("/v1/alerts/{alert_id}", "usage", "Delete a spending alert", AlertDeleted,
              method="delete", parameters=(ALERT_ID,), errors=(*WITH_KEY, "alert_not_found")),
    Operation("/v1/sla", "usage", "Show what is promised", SlaTermsAnswer, public=True,
              errors=PUBLIC),
    Operation("/v1/sla/uptime", "usage", "Show availability", SlaUptimeList,
              parameters=(_ask("by", "provider unasked; `tier`: of all accounts of a plan",
                               choices=("provider", "model", "tier")), *WHEN),
              errors=REFUSED),
    Operation("/v1/sla/incidents", "usage", "List incidents", SlaIncidentList,
              parameters=(_ask("model", "one model alone"), _ask("provider", "one provider alone"),
                          LIMIT, *WHEN),
              errors=REFUSED),
    Operation("/v1/sla/reports/{month}", "usage", "Show a month's service levels",
              SlaReportAnswer, parameters=(MONTH,), errors=REFUSED),
    Operation("/v1/sla/credits", "usage", "List what was given back", ServiceCreditList,
              detail="Given by the published terms, without asking.", errors=WITH_KEY),
)  # fmt: skip
