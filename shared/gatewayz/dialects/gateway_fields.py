"""Fields of a request that are for a gateway, or dangerous: none of them ever reaches a provider.

A field that would steer the connection (F58) is left out and named; one that this gateway acts on
itself is only left out.
"""

from collections.abc import Iterable

GATEWAY_FIELDS = frozenset(
    {
        "api_base", "api_key", "api_type", "api_version", "base_url", "custom_llm_provider",
        "debug", "deployment_id", "extra_body", "extra_headers", "extra_query", "fallbacks",
        "headers", "max_retries", "mock_response", "model_list", "models", "num_retries",
        "organization", "plugins", "preset", "project", "provider", "proxy",
        "request_timeout", "route", "session_id", "timeout", "trace", "transforms", "usage",
    }
)  # fmt: skip
GATEWAY_PREFIXES = ("aws_", "azure_", "vertex_", "litellm_", "gatewayz_")
# Of these the gateway makes something itself, or they ask for what is always so.
ACTED_ON = frozenset(
    {
        "fallbacks", "models", "plugins", "preset", "provider", "request_timeout", "route",
        "session_id", "timeout", "trace", "usage",
    }
)  # fmt: skip


def stays_here(name: str) -> bool:
    return name in GATEWAY_FIELDS or name.startswith(GATEWAY_PREFIXES)


def ignored(body: Iterable[str]) -> tuple[str, ...]:
    """The fields of a body that nobody acts on, for the header that names what was dropped."""
    return tuple(name for name in body if stays_here(name) and name not in ACTED_ON)
