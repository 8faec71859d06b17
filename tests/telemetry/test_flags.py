"""Feature flags: file, environment, services; asked through the SDK and on the hot path alike."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode

from gatewayz.core import clock
from gatewayz.core.settings import Settings, SettingsError, load_settings
from gatewayz.net.http import HttpClient
from gatewayz.telemetry.flags import DECLARED, SHARES, Flag, Flags, load_flags, read_words
from gatewayz.telemetry.openfeature import use_flags
from gatewayz.telemetry.remote_flags import EVERY_S, RemoteFlags
from tests.telemetry.conftest import Collector
from tests.world import World

FILE = """
[new-page]
share = 0.25
keys = ["acct_friend"]
[model]
value = "large"
[limit]
value = 12
[ratio]
value = 0.5
[shape]
value = { wide = true }
[gone]
value = false
"""


@pytest.fixture
def bare() -> Settings:
    """Settings that need no stores."""
    return load_settings({})


def with_flags(settings: Settings, **fields: Any) -> Settings:
    return replace(settings, telemetry=replace(settings.telemetry, **fields))


@pytest.fixture
def client(bare: Settings, tmp_path: Path) -> Any:
    file = tmp_path / "flags.toml"
    file.write_text(FILE)
    flags = load_flags(with_flags(bare, flags_file=str(file), flags="gone=on beta=50%"))
    use_flags(lambda: flags)
    yield api.get_client()
    api.clear_providers()


def whoever(key: str) -> EvaluationContext:
    return EvaluationContext(targeting_key=key)


def test_the_sdk_answers_every_kind_of_value(client: Any) -> None:
    assert client.get_string_value("model", "small") == "large"
    assert client.get_integer_value("limit", 1) == 12
    assert client.get_float_value("ratio", 0.0) == 0.5
    assert client.get_object_value("shape", {}) == {"wide": True}
    assert client.get_boolean_value("gone", False) is True, "the environment is above the file"
    assert client.get_boolean_details("gone", False).flag_metadata == {"source": "environment"}


def test_a_share_is_the_same_people_every_time_and_friends_always(client: Any) -> None:
    on = {n for n in range(2000) if client.get_boolean_value("new-page", False, whoever(f"a{n}"))}
    again = {
        n for n in range(2000) if client.get_boolean_value("new-page", False, whoever(f"a{n}"))
    }
    assert on == again
    assert 400 < len(on) < 600
    assert client.get_boolean_value("new-page", False, whoever("acct_friend")) is True
    assert client.get_boolean_value("new-page", False) is False, "nobody in particular"


def test_what_is_not_there_or_of_another_kind_is_the_default(client: Any) -> None:
    missing = client.get_boolean_details("no-such", True)
    assert (missing.value, missing.error_code) == (True, ErrorCode.FLAG_NOT_FOUND)
    wrong = client.get_boolean_details("model", False)
    assert (wrong.value, wrong.error_code) == (False, ErrorCode.TYPE_MISMATCH)


@given(st.text(min_size=1, max_size=20), st.integers(0, SHARES), st.integers(0, SHARES))
def test_a_larger_share_takes_nobody_away(key: str, one: int, two: int) -> None:
    small, large = sorted((one, two))
    if Flags({"f": Flag("f", True, small)}).on("f", key):
        assert Flags({"f": Flag("f", True, large)}).on("f", key)


@pytest.mark.parametrize("text", ["x", "=on", "a=", "a=101%", "a=-1%", "a=x%"])
def test_words_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        read_words(text)


BAD = ["[a]\nshare = 2", "[a]\nvalu = true", "a = 1", "[", "[a]\nshare = true"]


@pytest.mark.parametrize("text", BAD)
def test_a_file_that_is_none_is_refused(bare: Settings, tmp_path: Path, text: str) -> None:
    file = tmp_path / "flags.toml"
    file.write_text(text)
    with pytest.raises(SettingsError):
        load_flags(with_flags(bare, flags_file=str(file)))


def test_what_nobody_declared_is_off() -> None:
    assert Flags().on("anything") is False
    assert load_flags.__doc__
    assert all(name == name.lower() for name in DECLARED)


# ---------------------------------------------------------------- services


class Service:
    """Answers as either service does, from what a test sets."""

    def __init__(self) -> None:
        self.on: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.status = 200

    async def request(self, method: str, url: str, **call: Any) -> Any:
        body = json.loads(call["body"])
        self.asked.append((url, call["headers"], body))
        if "gateName" in body:
            name = body["gateName"]
            known = name in self.on
            told: Any = {"value": self.on.get(name, False), "rule_id": "r" if known else ""}
        else:
            told = {
                "flags": {
                    name: {"enabled": bool(value), "variant": value if value is not True else None}
                    for name, value in self.on.items()
                }
            }
        return type("Answer", (), {"status": self.status, "body": json.dumps(told).encode()})


@pytest.mark.parametrize("service", ["posthog", "statsig"])
async def test_a_service_decides_and_the_environment_above_it(bare: Settings, service: str) -> None:
    own = with_flags(
        bare, flags_from=service, flags="forced=on", posthog_key="phc", statsig_key="secret-s"
    )
    http = Service()
    http.on = {"stream-continuation": False, "forced": False}
    flags = RemoteFlags(own, http)  # type: ignore[arg-type]
    assert flags.current.on("stream-continuation")
    assert flags.due
    await flags.refresh()
    assert not flags.current.on("stream-continuation")
    assert flags.current.on("forced")
    assert not flags.due, "once a minute"
    text = json.dumps([body for _, _, body in http.asked])
    assert "acct_" not in text, "no customer's id leaves for it"


async def test_a_service_that_is_away_leaves_what_was_known(bare: Settings) -> None:
    http = Service()
    http.on = {"stream-continuation": False}
    own = with_flags(bare, flags_from="posthog", posthog_key="phc")
    flags = RemoteFlags(own, http)  # type: ignore[arg-type]
    await flags.refresh()
    http.status = 503
    await flags.refresh()
    assert not flags.current.on("stream-continuation")
    assert clock.monotonic_s() + EVERY_S >= flags._next_s


def test_another_service_is_refused(bare: Settings) -> None:
    with pytest.raises(SettingsError):
        RemoteFlags(with_flags(bare, flags_from="other"), HttpClient())


class TestOnTheHotPath:
    @pytest.fixture(params=["on", "off"])
    def state(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def tune(self, collector: Collector, state: str) -> Callable[[Settings], Settings]:
        return lambda settings: with_flags(settings, flags=f"stream-continuation={state}")

    async def test_a_flag_switches_what_it_names(self, world: World, state: str) -> None:
        account = await world.account()
        seen: list[bool] = []
        from gatewayz.inference import relay

        made = relay.Continuation.of
        relay.Continuation.of = staticmethod(lambda job: seen.append(True) or made(job))  # type: ignore[assignment,method-assign,func-returns-value]
        try:
            status, _, _ = await world.stream(account)
        finally:
            relay.Continuation.of = made  # type: ignore[method-assign]
        assert status == 200
        assert bool(seen) is (state == "on")
        await asyncio.sleep(0)
