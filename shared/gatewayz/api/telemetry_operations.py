"""The rows of an account's own tracing, in the API document."""

from gatewayz.api.operation import WITH_KEY, Operation, Parameter
from gatewayz.api.schemas.telemetry import (
    DestinationAnswer,
    DestinationDeleted,
    DestinationList,
    DestinationRequest,
)

PATH = "/user/destinations"
NAME = Parameter("name", "path", "what the account calls it", "mine")

TELEMETRY_OPERATIONS = (
    Operation(
        PATH, "account", "List where requests are traced", DestinationList, errors=WITH_KEY,
        detail="Services of the account's own that get a span of its requests: model, tokens,"
        " charge, times; never a prompt or an answer.",
    ),
    Operation(
        PATH + "/{name}", "account", "Trace requests at a service of one's own",
        DestinationAnswer, method="put", request=DestinationRequest, parameters=(NAME,),
        errors=(*WITH_KEY, "invalid_request", "encryption_not_configured"),
    ),
    Operation(
        PATH + "/{name}", "account", "Trace there no more", DestinationDeleted, method="delete",
        parameters=(NAME,), errors=(*WITH_KEY, "destination_not_found", "invalid_request"),
    ),
)  # fmt: skip
