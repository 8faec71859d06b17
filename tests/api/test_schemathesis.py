"""Generated requests against the running gateway: no 5xx, nothing that the document does not say.

Valid requests and deliberately broken ones, for every operation; bounded, the same in every run.
"""

import asyncio
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi import checks

from gatewayz.api.openapi import build_document
from tests.world import World

CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
WHEN_BROKEN = [*CHECKS, checks.negative_data_rejection]
# What reads a body has more to get wrong than what is only asked.
EXAMPLES, EXAMPLES_ASKED = 12, 3
# Ends the account that everything else is tried with; tests/identity does it.
LAST = ("DELETE", "/user/account")
SERVED = ("sandbox/echo", "sandbox/story", "sandbox/mock-n3")


def attack(world: World, headers: dict[str, str], mode: GenerationMode) -> int:
    """Call every operation with generated requests; the number of calls."""
    calls = 0
    chosen = CHECKS if mode is GenerationMode.POSITIVE else WHEN_BROKEN
    for found in schemathesis.openapi.from_dict(build_document()).get_all_operations():
        operation = found.ok()
        if (operation.method.upper(), operation.path) == LAST:
            continue

        @seed(1)
        @settings(
            max_examples=EXAMPLES if operation.body else EXAMPLES_ASKED,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode), st.sampled_from((*SERVED, None)))
        def call(case: Case, model: str | None) -> None:
            nonlocal calls
            calls += 1
            # Most generated names are no model; most of the requests shall come further.
            if mode is GenerationMode.POSITIVE and isinstance(case.body, dict) and model:
                in_path = "model" in case.path_parameters
                # A copy: a body may be the document's own example.
                if in_path:
                    case.path_parameters = {**case.path_parameters, "model": model}
                else:
                    case.body = {**case.body, "model": model}
            case.call_and_validate(base_url=world.url, headers=headers, checks=chosen)

        if mode is GenerationMode.POSITIVE or operation.body or breakable(operation):
            call()
    return calls


def breakable(operation: Any) -> bool:
    """Any text is an id, so only what must be there, or is one of a few words, can be wrong."""
    return any("enum" in p.definition["schema"] or p.is_required for p in operation.query)


async def test_generated_requests_get_what_the_document_says(world: World) -> None:
    account = await world.account(usd=1000)
    assert await asyncio.to_thread(attack, world, account.headers, GenerationMode.POSITIVE) > 100
    await world.settle()
    assert await world.violations() == []


async def test_broken_requests_are_refused_as_the_document_says(world: World) -> None:
    account = await world.account(usd=1000)
    assert await asyncio.to_thread(attack, world, account.headers, GenerationMode.NEGATIVE) > 10


async def test_without_a_key_nothing_but_public_routes_answers(world: World) -> None:
    document: dict[str, Any] = build_document()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            answer = await world.client.request(method, path)
            assert (answer.status_code == 401) is ("security" not in operation), path
