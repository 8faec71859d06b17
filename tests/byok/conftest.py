"""Two providers, each with a key of ours and room for a customer's own, and a ring that seals."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gatewayz.accounts.sealing import RING, new_ring
from gatewayz.core.log import also_handle, json_line
from gatewayz.core.settings import Settings
from tests.fakes.upstream import RawUpstream
from tests.faults import conftest as scenes
from tests.faults.scene import Scene
from tests.routing.fleet import ROW, Fleet, fleet
from tests.world import Account
from tests.world import sandbox as shared_sandbox

links, logs, raw, stage, world = (
    scenes.links, scenes.logs, scenes.raw, scenes.stage, scenes.world,
)  # fmt: skip
pytest_runtest_makereport = scenes.pytest_runtest_makereport
sandbox = shared_sandbox
STAFF = "staff-secret-of-at-least-thirty-two-characters"
OURS = {"one": "our-own-key-of-one", "two": "our-own-key-of-two"}
THEIRS = "sk-their-own-key-0123456789abcd"


@pytest.fixture
def tune(request: pytest.FixtureRequest) -> Callable[[Settings], Settings]:
    marker = request.node.get_closest_marker("fee")
    fee = marker.args[0] if marker else "0.05"

    def apply(settings: Settings) -> Settings:
        billing = replace(settings.billing, byok_fee=fee)
        keys = replace(settings.keys, staff=f"ann:{STAFF}")
        return replace(settings, billing=billing, keys=keys)

    return apply


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fee(rate): what the gateway takes of the list price")


@pytest.fixture
def upstreams(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    monkeypatch.setenv(RING, new_ring())
    for slug, key in OURS.items():
        monkeypatch.setenv(f"{slug.upper()}_KEY", key)
    for made in fleet(*OURS):
        rows = [
            ROW.format(slug=slug, url=up.url) + f'credential = "{slug.upper()}_KEY"\n'
            for slug, up in made.upstreams.items()
        ]
        made.text = "".join(rows)
        yield made


@pytest.fixture
def providers_file(upstreams: Fleet, tmp_path: Path) -> str:
    upstreams.model("f/m", ("one", 100), ("two", 200))
    upstreams.model("f/only-two", ("two", 200), native="o")
    file = tmp_path / "providers.toml"
    file.write_text(upstreams.text)
    return str(file)


def keys_seen(upstream: RawUpstream) -> list[str]:
    """The credentials that a provider was shown, in order."""
    return [r.headers.get("authorization", "").removeprefix("Bearer ") for r in upstream.requests]


class Lines(logging.Handler):
    """Every line that any function of this process writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.written.append(json_line(record))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.written if line["event"] == event]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    also_handle("byok-tests", handler)
    yield handler
    also_handle("byok-tests", None)


@dataclass
class Owner:
    """A customer who keeps keys of their own."""

    world: Scene
    account: Account

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = self.account.headers
        return await self.world.client.request(method, path, json=body, headers=headers)

    async def keep(self, provider: str = "one", key: str = THEIRS, **more: Any) -> str:
        body = {"provider_slug": provider, "api_key": key, **more}
        answer = await self.call("POST", "/user/provider-keys", body)
        assert answer.status_code == 200, answer.text
        made: str = answer.json()["id"]
        return made

    async def ask(self, model: str = "f/m", **fields: Any) -> Any:
        return await self.world.post(self.account, model, **fields)


@pytest.fixture
async def owner(world: Scene) -> Owner:
    return Owner(world, await world.account())
