"""The real OpenAI and Cohere SDKs: embeddings, rerank, moderations against the running gateway."""

import pytest

from tests.sdk.sessions import session
from tests.world import World


@pytest.mark.parametrize("mount", ["/v1", "/api/v1"])
async def test_applications_of_both_makers_work_unchanged(
    world: World, client_python: str, mount: str
) -> None:
    seen = await session(world, client_python, "embeddings_session.py", mount)
    first = seen["embeddings"]["first"]
    assert seen["embeddings"]["lengths"] == [8, 8]
    assert seen["embeddings"]["model"] == "sandbox/embed"
    assert seen["embeddings"]["tokens"] > 0
    assert seen["embeddings"]["cost"] > 0
    assert seen["embeddings_as_floats"] == first
    assert seen["embeddings_as_base64"] == "str"
    assert seen["embeddings_of_tokens"] == 4
    assert seen["embeddings_async"] == first
    assert seen["moderations"] == [[True, True, 1.0], [False, False, 0.0]]
    assert "sandbox/embed" in seen["models"]
    assert seen["rerank"] == {"results": [[0, 1.0]], "searches": 1.0}
    assert seen["rerank_by_the_older_client"] == [[0, "the sky is blue"], [1, "grass is green"]]
    assert seen["embed"]["first"] == first
    assert seen["embed"]["tokens"] == seen["embeddings"]["tokens"]
    routed = mount == "/api/v1"
    expected = {
        "wrong_kind": ("BadRequestError", 400, "wrong_endpoint"),
        "wrong_length": ("BadRequestError", 400, "invalid_request"),
        "upstream_throttles": ("RateLimitError", 429, "upstream_rate_limited"),
    }
    for name, (kind, status, code) in expected.items():
        assert seen[name] == [kind, status, str(status) if routed else code], name
    for name, kind, status, code in (
        ("rerank_without_documents", "BadRequestError", 400, "invalid_request"),
        ("rerank_of_an_unknown_model", "NotFoundError", 404, "model_not_found"),
        ("rerank_with_a_wrong_key", "UnauthorizedError", 401, "invalid_api_key"),
        ("rerank_upstream_throttles", "TooManyRequestsError", 429, "upstream_rate_limited"),
    ):
        assert seen[name] == [kind, status, code], name
