"""The scene of fault tests. `links` puts breakable links between gateway and stores; a test marked
`tuned(...)` gets other settings; every test that passes ends with an audit of all its accounts.
"""

import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from gatewayz.core.settings import Settings
from gatewayz.local.sandbox import Sandbox
from gatewayz.stores.open import open_stores
from tests.fakes.proxy import Proxy
from tests.fakes.upstream import RawUpstream
from tests.faults.scene import Links, Logs, Scene
from tests.faults.server import Stage
from tests.world import mount, sandbox, vouching

__all__ = ["sandbox"]

PASSED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "tuned(**settings): settings by the name of their field")
    config.addinivalue_line("markers", "audited(**expected): what the closing audit must find")
    config.addinivalue_line("markers", "unaudited: the test breaks what the audit looks at")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, None]:
    outcome = yield
    if call.when == "call":
        item.stash[PASSED] = outcome.get_result().passed


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Logs:
    """Everything the gateway writes to standard error."""
    captured = Logs()
    monkeypatch.setattr(sys, "stderr", captured)
    return captured


def _link(url: str) -> Proxy:
    parts = urlsplit(url)
    assert parts.hostname and parts.port
    return Proxy(parts.hostname, parts.port)


@pytest.fixture
def links(environment: dict[str, str]) -> Iterator[Links]:
    made = Links(_link(environment["DATABASE_URL"]), _link(environment["REDIS_URL"]))
    yield made
    made.postgres.stop()
    made.redis.stop()


@pytest.fixture
def raw() -> Iterator[RawUpstream]:
    """An upstream that a test scripts byte by byte."""
    made = RawUpstream()
    yield made
    made.stop()


def _tuned(section: Any, values: dict[str, Any]) -> Any:
    """`section` with every field named in `values` replaced, at any depth; takes them out."""
    changed = {}
    for item in fields(section):
        value = getattr(section, item.name)
        if is_dataclass(value):
            changed[item.name] = _tuned(value, values)
        elif item.name in values:
            changed[item.name] = values.pop(item.name)
    return replace(section, **changed)


@pytest.fixture
def tune(request: pytest.FixtureRequest) -> Callable[[Settings], Settings]:
    marker = request.node.get_closest_marker("tuned")
    values = dict(marker.kwargs) if marker else {}

    def apply(settings: Settings) -> Settings:
        left = dict(values)
        tuned: Settings = _tuned(settings, left)
        assert not left, f"no such settings: {left}"
        return tuned

    return apply


@pytest.fixture
def providers_file() -> str:
    """Overridden by modules that need other upstreams."""
    return ""


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.stop()


@pytest.fixture
async def world(
    request: pytest.FixtureRequest,
    environment: dict[str, str],
    settings: Settings,
    sandbox: tuple[Sandbox, str],
    tune: Callable[[Settings], Settings],
    providers_file: str,
    logs: Logs,
    stage: Stage,
) -> AsyncIterator[Scene]:
    app, url = sandbox
    app.__init__()  # type: ignore[misc]  # forgets what earlier tests did
    catalog = replace(settings.catalog, sandbox_url=url + "/v1", providers_file=providers_file)
    direct = tune(replace(settings, catalog=catalog))
    linked = direct
    if "links" in request.fixturenames:
        links: Links = request.getfixturevalue("links")
        own = direct.stores
        linked = replace(
            direct,
            stores=replace(
                own,
                database_url=links.postgres.address(own.database_url),
                redis_url=links.redis.address(own.redis_url),
            ),
        )
    gateway = mount(linked)
    stage.put(gateway)
    stores = open_stores(direct)
    client = httpx.AsyncClient(base_url=stage.url, timeout=30, limits=httpx.Limits())
    scene = Scene(
        stage.url, direct, stores, client, app, gateway.chat, vouching(),
        database_url=environment["DATABASE_URL"], redis_url=environment["REDIS_URL"], logs=logs,
    )  # fmt: skip
    try:
        yield scene
        audited = not request.node.get_closest_marker("unaudited")
        if request.node.stash.get(PASSED, False) and audited:
            if "links" in request.fixturenames:
                request.getfixturevalue("links").up()
            marker = request.node.get_closest_marker("audited")
            await scene.audit(**(marker.kwargs if marker else {}))
    finally:
        await client.aclose()
        stage.clear()
        await stores.close()
