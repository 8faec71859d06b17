"""The buffered functions under Lambda's real runtime client, against a stand-in of its API.

Real stores, real layers, the events that API Gateway, SQS and the scheduler send. What `sam build`
makes of them is run in test_built.py.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.packaging.conftest import Platform
from tests.packaging.deployables import ALL, GLOBALS, RESOURCES, Function, link_packages
from tests.packaging.runtime_api import (
    RUNTIME,
    TICK,
    RuntimeApi,
    http_event,
    runtime_client,
    sqs_event,
)

BY_NAME = {function.name: function for function in ALL}


@contextmanager
def running(
    function: Function, platform: Platform, folder: Path, variables: dict[str, str]
) -> Iterator[RuntimeApi]:
    """A function's own process as Lambda has it: its folder, its layers, the runtime client."""
    task = platform.deploy(function, folder)
    link_packages(RUNTIME, folder / "runtime")
    path = [task, platform.layer_root(function) / "python", folder / "runtime"]
    more = {"PYTHONPATH": os.pathsep.join(map(str, path))}
    handler = str(function.resource.get("Handler", GLOBALS["Handler"]))
    environment = platform.environment(function, variables | more)
    with runtime_client(platform.python, handler, task, environment) as api:
        yield api


def test_status_tells_the_stores_states_and_keeps_its_connections(
    platform: Platform, tmp_path: Path, environment: dict[str, str]
) -> None:
    with running(BY_NAME["status"], platform, tmp_path, environment) as api:
        for _ in range(3):
            answer = api.invoke(http_event("/health"))
            assert answer["statusCode"] == 200
            assert answer["isBase64Encoded"] is False
            health = json.loads(answer["body"])
            assert health["stores"] == {"postgres": "ok", "redis": "ok", "queue": "ok"}


def test_models_lists_what_could_be_served_and_keeps_ids_with_slashes(
    platform: Platform, tmp_path: Path, environment: dict[str, str]
) -> None:
    with running(BY_NAME["models"], platform, tmp_path, environment) as api:
        answer = api.invoke(http_event("/v1/models", {"available": "all"}))
        listed = json.loads(answer["body"])["data"]
        assert len(listed) >= 3
        model_id = listed[0]["id"]
        assert "/" in model_id
        one = api.invoke(http_event(f"/v1/models/{model_id}"))
        assert (one["statusCode"], json.loads(one["body"])["id"]) == (200, model_id)
        missing = api.invoke(http_event("/v1/models/no/such"))
        assert missing["statusCode"] == 404


@pytest.mark.parametrize("name", ["keys", "billing", "usage"])
def test_a_private_function_refuses_a_stranger(
    name: str, platform: Platform, tmp_path: Path, environment: dict[str, str]
) -> None:
    function = BY_NAME[name]
    with running(function, platform, tmp_path, environment) as api:
        path = function.routes()[0][0]
        answer = api.invoke(http_event(path, {"id": "gen-1"}, authorization="Bearer gw_live_no"))
        assert answer["statusCode"] == 401
        assert "error" in json.loads(answer["body"])


def test_settle_charges_gives_back_only_what_it_could_not_post(
    platform: Platform, tmp_path: Path, environment: dict[str, str]
) -> None:
    with running(BY_NAME["settle_charges"], platform, tmp_path, environment) as api:
        assert api.invoke(sqs_event()) == {"batchItemFailures": []}
        # Nothing of it can be posted: the invocation fails, and SQS gives all of it again.
        kind, answer = api.outcome(sqs_event("not json", json.dumps({"v": 1})))
        assert (kind, answer["errorType"]) == ("error", "BatchProcessingError")
        assert api.invoke(sqs_event()) == {"batchItemFailures": []}


def test_F28_one_process_serves_two_hundred_invocations_of_two_callers(
    platform: Platform, tmp_path: Path, environment: dict[str, str]
) -> None:
    """One loop and its connections last for all of them; nobody gets the other's answer."""
    with running(BY_NAME["models"], platform, tmp_path, environment) as api:
        listed = api.invoke(http_event("/v1/models", {"available": "all"}))
        one, two = (model["id"] for model in json.loads(listed["body"])["data"][:2])
        for turn in range(100):
            for model_id in (one, two) if turn % 2 else (two, one):
                answer = api.invoke(http_event(f"/v1/models/{model_id}"))
                assert json.loads(answer["body"])["id"] == model_id


@pytest.mark.parametrize("name", ["sweep_holds", "reconcile_ledger", "run_daily"])
def test_a_schedule_does_its_job_when_the_clock_calls(
    name: str, platform: Platform, tmp_path: Path, environment: dict[str, str]
) -> None:
    assert "Tick" in RESOURCES[name.title().replace("_", "")]["Properties"]["Events"]
    with running(BY_NAME[name], platform, tmp_path, environment) as api:
        for _ in range(2):
            api.invoke(TICK)
