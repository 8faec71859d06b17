"""Samples of what is told about exports, receipts and alerts."""

from gatewayz.core.errors import Conflict, GatewayError, NotFound


def usage_samples() -> list[GatewayError]:
    return [
        NotFound("There is no such export.", code="export_not_found"),
        Conflict("At most 5 exports wait at once.", code="too_many_exports"),
        NotFound("No settled request has this id.", code="receipt_not_found"),
        NotFound("There is no such alert.", code="alert_not_found"),
        Conflict("At most 100 alerts.", code="too_many_alerts"),
    ]
