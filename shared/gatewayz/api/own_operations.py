"""The rows of provider keys (BYOK) in the API document."""

from gatewayz.api.operation import WITH_KEY, Operation, Parameter
from gatewayz.api.schemas.provider_keys import (
    ChangeProviderKey,
    ChangeRoutedProviderKey,
    NewProviderKey,
    NewRoutedProviderKey,
    ProviderKeyGone,
    ProviderKeyList,
    ProviderKeyMade,
    RoutedProviderKeyAnswer,
    RoutedProviderKeyGone,
    RoutedProviderKeyList,
)

SLUG = Parameter(
    "slug", "path", "the id of a provider key; to delete, also the slug of a provider", "openai"
)
KEY = Parameter("id", "path", "the id of a provider key", "11111111-2222-3333-4444-555555555555")
REFUSED = (*WITH_KEY, "invalid_request")
NEW = (*REFUSED, "unknown_provider", "provider_takes_no_keys", "encryption_not_configured")
CHANGED = (*REFUSED, "provider_key_not_found", "encryption_not_configured")
DETAIL = """\
The key is sealed and never answered again. Requests for models of that provider use it from the
next one on, before anything else, and cost the fee on the list price alone. With `mode` always they
never use ours; with fallback ours comes after your own."""

OWN_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "/user/provider-keys", "account", "Keep a key of your own at a provider", ProviderKeyMade,
        method="post", detail=DETAIL, request=NewProviderKey, errors=(*NEW, "provider_key_limit"),
    ),
    Operation(
        "/user/provider-keys", "account", "List your keys at providers", ProviderKeyList,
        errors=WITH_KEY,
    ),
    Operation(
        "/user/provider-keys/{slug}", "account", "Change a key at a provider", ProviderKeyMade,
        method="put", request=ChangeProviderKey, parameters=(SLUG,), errors=CHANGED,
    ),
    Operation(
        "/user/provider-keys/{slug}", "account", "Delete your keys at a provider",
        ProviderKeyGone, method="delete", detail="What was sealed is wiped.", parameters=(SLUG,),
        errors=(*WITH_KEY, "provider_key_not_found"),
    ),
    Operation(
        "/api/v1/byok", "account", "List provider keys", RoutedProviderKeyList,
        parameters=(
            Parameter("offset", "query", "how many to skip", required=False,
                      schema={"type": "integer", "minimum": 0, "maximum": 1_000_000}),
            Parameter("limit", "query", "50 unasked", "1", required=False,
                      schema={"type": "integer", "minimum": 1, "maximum": 100}),
            Parameter("provider", "query", "one provider alone", required=False,
                      schema={"type": "string", "maxLength": 64,
                              "pattern": "^[A-Za-z0-9._-]*$"}),
        ),
        errors=REFUSED,
    ),
    Operation(
        "/api/v1/byok", "account", "Keep a provider key", RoutedProviderKeyAnswer, method="post",
        status=201, detail=DETAIL, request=NewRoutedProviderKey,
        errors=(*NEW, "provider_key_limit"),
    ),
    Operation(
        "/api/v1/byok/{id}", "account", "Show a provider key", RoutedProviderKeyAnswer,
        parameters=(KEY,), errors=(*WITH_KEY, "provider_key_not_found"),
    ),
    Operation(
        "/api/v1/byok/{id}", "account", "Change a provider key", RoutedProviderKeyAnswer,
        method="patch", request=ChangeRoutedProviderKey, parameters=(KEY,), errors=CHANGED,
    ),
    Operation(
        "/api/v1/byok/{id}", "account", "Delete a provider key", RoutedProviderKeyGone,
        method="delete", parameters=(KEY,), errors=(*WITH_KEY, "provider_key_not_found"),
    ),
)  # fmt: skip
