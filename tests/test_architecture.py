"""The rules of the house, executable: samples first, then the tree itself.

The rules of single files stand in tests/architecture/rules.py; here are those of the whole: no
cycles, the import budget, and that nobody gets in without a key.
"""

import ast
import asyncio
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from gatewayz.api.app import caller_of
from gatewayz.api.staff import staff_of
from gatewayz.core.settings import load_settings
from gatewayz.local.mount import routes_of
from tests.architecture.rules import PACKAGE, ROOT
from tests.architecture.source import RULES, Rule, Source, samples

# Function and path, or every path of a function; why nobody has to show a key.
PUBLIC = {
    ("status", "*"): "monitors ask it; the API document is the same for everybody",
    ("billing", "/api/stripe/credit-packages"): "prices are shown before anybody signs in",
    ("subscriptions", "/plans"): "plans are shown before anybody signs in",
    ("subscriptions", "/plans/{plan_id}"): "plans are shown before anybody signs in",
    ("grants", "/auth/grant"): "asks who is there itself: a session with its token, or a key",
    ("grants", "/api/v1/auth/keys"): "its key is the code with its verifier, good for once",
    ("stripe_webhook", "*"): "its key is Stripe's signature over the body",
    ("account", "/auth"): "its key is the token in the body, verified there; a GET leads on",
    ("account", "/auth/email"): "whoever reads mail at the address is who asked",
    ("account", "/auth/register"): "whoever reads mail at the address is who asked",
    ("account", "/auth/link"): "its key is the link's secret, good for once",
    ("people", "/invitations"): "a page alone: its button asks who one is",
    ("account", "/auth/health"): "says which ways to sign in there are",
    ("telemetry", "/metrics"): "its key is a token of the settings, for what scrapes it",
    ("telemetry", "/monitoring"): "a browser's report, for one project of the settings alone",
    ("usage", "/v1/receipts/keys"): "anybody may verify a receipt",
    ("usage", "/v1/exports/{export_id}/parts/{number}"): "its key is our signature in the link",
    ("promises", "/v1/sla"): "what is promised is published",
    ("models", "*"): "the price list is public, and the same for everybody",
}


def _sources() -> list[Source]:
    places = {path: path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    for path in (ROOT / "functions").rglob("*.py"):
        places[path] = path.relative_to(ROOT).as_posix()
    return [Source(place, path.read_text()) for path, place in sorted(places.items())]


SOURCES = _sources()


def _title(rule: Rule) -> str:
    return rule.check.__name__


@pytest.mark.parametrize("rule", RULES, ids=_title)
def test_a_rule_fires_on_bad_samples_and_leaves_good_ones_alone(rule: Rule) -> None:
    for sample in samples(rule.bad):
        assert list(rule.check(sample)), f"missed in {sample}"
    for sample in samples(rule.good):
        assert not list(rule.check(sample)), f"refused in {sample}"


@pytest.mark.parametrize("rule", RULES, ids=_title)
def test_the_tree_keeps_the_rule(rule: Rule) -> None:
    found = [f"{s.place}:{line}: {what}" for s in SOURCES for line, what in rule.check(s)]
    assert not found, "\n".join(found)


def cycle_of(graph: dict[str, set[str]]) -> list[str]:
    """Some cycle of a graph, as its members; empty when there is none."""
    left = dict(graph)
    while ends := [name for name, targets in left.items() if not targets & left.keys()]:
        for end in ends:
            del left[end]
    path: list[str] = []
    node: str | None = next(iter(left), None)
    while node is not None and node not in path:
        path.append(node)
        node = min(left[node] & left.keys())
    return path[path.index(node) :] if node is not None else []


def test_no_module_imports_itself_by_a_detour() -> None:
    assert cycle_of({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["b", "c"]
    assert cycle_of({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    modules = {source.module for source in SOURCES}
    graph = {}
    for source in SOURCES:
        names = {name for _, name in source.imports}
        targets = {name if name in modules else name.rpartition(".")[0] for name in names}
        graph[source.module] = (targets & modules) - {source.module}
    assert cycle_of(graph) == []


# Not even by a detour: each of these costs 20-40 MB or 100-400 ms at every cold start.
HEAVY = {"fastapi", "pydantic", "boto3", "botocore", "supabase", "postgrest", "httpx", "stripe"}
HEAVY |= {"aws_xray_sdk", "mangum", "typer", "gatewayz.api", "gatewayz.local", "gatewayz.cli"}
BUDGETED = ["functions.chat.app", "functions.embeddings.app", "gatewayz.runtime.entries"]
BUDGETED += [source.module for source in SOURCES if source.place.endswith(("worker.py", "job.py"))]


def _loaded(module: str) -> set[str]:
    code = f"import sys, {module}; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'shared'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


@pytest.mark.parametrize("module", BUDGETED)
def test_a_light_function_loads_no_more_than_its_import_budget(module: str) -> None:
    assert _loaded(module) & HEAVY == set()


def test_the_import_budget_sees_what_is_loaded() -> None:
    assert {"fastapi", "pydantic", "gatewayz.api"} <= _loaded("functions.status.app") & HEAVY


SETTINGS = load_settings(
    {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1",
        "GATEWAYZ_KEY_PEPPER": "p" * 32,
        "CRON_SECRET": "the-secret-of-the-clock",
    }
)


def _functions(kind: str) -> Iterator[tuple[str, Any]]:
    for path in sorted((ROOT / "functions").glob(f"*/{kind}.py")):
        name = path.parent.name
        yield name, importlib.import_module(f"functions.{name}.{kind}")


def _asks_for_a_key(route: Any) -> bool:
    """Does a FastAPI route depend, at any depth, on the caller's key?"""
    dependants = [getattr(route, "dependant", None)]
    while dependants:
        dependant = dependants.pop()
        if dependant is None:
            continue
        if dependant.call in (caller_of, staff_of):
            return True
        dependants += dependant.dependencies
    return False


async def _status(app: Any, path: str, headers: list[tuple[bytes, bytes]], method: str) -> int:
    """The HTTP status of one bodiless call."""
    scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "headers": headers}
    scope |= {"query_string": b"", "raw_path": path.encode(), "scheme": "http", "root_path": ""}
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await asyncio.wait_for(app(scope, receive, send), 10)
    return int(sent[0]["status"])


async def test_every_route_asks_for_a_key_or_is_listed_as_public() -> None:
    """Frameworks tell their dependencies; a raw application is called without a good key."""
    unused = set(PUBLIC)
    for name, module in _functions("app"):
        for path in routes_of(name, module):
            if public := PUBLIC.keys() & {(name, "*"), (name, path)}:
                unused -= public
                continue
            known = getattr(module.app, "routes", None)
            if known is not None:
                guarded = [_asks_for_a_key(route) for route in known if route.path == path]
                assert all(guarded), f"functions/{name}: {path} asks for no key"
                continue
            app = type(module.app)(SETTINGS)
            for headers in ([], [(b"authorization", b"Bearer gw_live_no")]):
                assert await _status(app, path, headers, "POST") == 401, f"{name}: {path}"
    assert not unused, "public, but served by nobody"


def test_the_key_check_sees_an_open_route() -> None:
    status = importlib.import_module("functions.status.app").app
    keys = importlib.import_module("functions.keys.app").app
    for route in status.routes:
        assert _asks_for_a_key(route) is ("POST" in route.methods), route.path
    assert all(_asks_for_a_key(route) for route in keys.routes)


async def test_workers_and_schedules_answer_only_to_the_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faces = [*_functions("worker"), *_functions("job")]
    assert len(faces) >= 4
    for secret, sent in (("", b""), ("", b"Bearer "), (SETTINGS.cron_secret, b"Bearer guess")):
        monkeypatch.setenv("CRON_SECRET", secret)
        for name, module in faces:
            headers = [(b"authorization", sent)] if sent else []
            status = await _status(module.app, f"/jobs/{name}", headers, "GET")
            assert status == 401, f"functions/{name} works for anybody"


def test_a_function_never_exports_the_name_handler() -> None:
    """Vercel takes a module-level `handler` for an HTTP class and stops."""
    for source in SOURCES:
        if source.package == "functions":
            names = {
                getattr(node, "id", getattr(node, "name", ""))
                for node in ast.walk(source.tree)
                if isinstance(node, ast.Name | ast.FunctionDef | ast.ClassDef)
            }
            assert not names & {"handler", "Handler"}, source.place
