"""What `make package-aws` builds, run: every function under the real runtime client, the streaming
ones by their run.sh behind a front that buffers nothing, and each by Vercel's own runtime.

Slow (a build of all layers), so `make deployables` runs it and `make test` does not.
"""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from gatewayz.accounts.keys import generate_key, hash_key
from gatewayz.core.settings import load_settings
from gatewayz.local.sandbox import Sandbox
from gatewayz.stores.open import open_stores
from tests.packaging.conftest import runtime_python
from tests.packaging.deployables import ALL, GLOBALS, ROOT, Function, logical_id
from tests.packaging.runtime_api import (
    TICK,
    Front,
    http_event,
    runtime_client,
    sqs_event,
    vercel_function,
)
from tests.world import sandbox

__all__ = ["sandbox"]

pytestmark = pytest.mark.skipif(
    "DEPLOYABLES" not in os.environ, reason="slow: make deployables builds and runs them"
)
LIMIT_MB = 250  # Lambda's, of a function and its layers unzipped
WHOLE = [function for function in ALL if not function.streams]
STREAMS = [function for function in ALL if function.streams]


@dataclass(frozen=True)
class Built:
    """`folder` is sam's output; `python` an interpreter of the runtime that sees nothing else."""

    folder: Path
    python: Path
    site: Path

    def task(self, function: Function) -> Path:
        return self.folder / logical_id(function.name)

    def path(self, function: Function) -> list[Path]:
        return [self.task(function), *[self.folder / name / "python" for name in function.layers]]

    def environment(self, function: Function, more: dict[str, str]) -> dict[str, str]:
        path = f"{self.python.parent}{os.pathsep}{os.defpath}"
        return {
            "PATH": path,
            "PYTHONPATH": os.pathsep.join(map(str, self.path(function))),
            "PYTHONDONTWRITEBYTECODE": "1",
            **more,
        }


@pytest.fixture(scope="session")
def built(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    python = runtime_python()
    home = tmp_path_factory.mktemp("built")
    for name in ("functions", "layers", "shared"):
        shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "template.yaml", "samconfig.toml"):
        shutil.copy(ROOT / name, home)
    environment = os.environ | {
        "PATH": os.pathsep.join([str(python.parent), str(tools / "bin"), os.defpath]),
        "SAM_CLI_TELEMETRY": "0",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    done = subprocess.run(
        ["make", "package-aws"], cwd=home, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    bare = home / "bin" / "python3"
    bare.parent.mkdir()
    bare.write_text(f'#!/bin/sh\nexec "{python}" -S -s "$@"\n')
    bare.chmod(0o755)
    (site,) = (tools / "lib").glob("python3.12/site-packages")
    return Built(home / ".aws-sam" / "build", bare, site)


@pytest.fixture
def variables(environment: dict[str, str], sandbox: tuple[Sandbox, str]) -> dict[str, str]:
    return environment | {"GATEWAYZ_SANDBOX_URL": sandbox[1] + "/v1"}


@pytest.mark.parametrize("function", ALL, ids=lambda f: f.name)
def test_an_artefact_is_complete_compiled_and_small_enough(
    function: Function, built: Built
) -> None:
    task = built.task(function)
    assert (task / f"{function.entry}.py").exists()
    assert list(task.glob(f"__pycache__/{function.entry}.*.pyc")), "compiled at every cold start"
    assert list((built.folder / "CodeLayer" / "python").rglob("core/__pycache__/log.*.pyc"))
    total = 0
    for folder in built.path(function):
        files = [path for path in folder.rglob("*") if path.is_file()]
        total += sum(path.stat().st_size for path in files)
        assert [path for path in files if path.suffix == ".pth"] == []
    assert total < LIMIT_MB * 1024 * 1024


@pytest.mark.parametrize("function", WHOLE, ids=lambda f: f.name)
def test_an_artefact_answers_under_the_runtime_client(
    function: Function, built: Built, tmp_path: Path, variables: dict[str, str]
) -> None:
    environment = built.environment(function, variables)
    client = tmp_path / "runtime"
    client.mkdir()
    for name in ("awslambdaric", "simplejson", "snapshot_restore_py"):
        (client / name).symlink_to(built.site / name)
    for extension in built.site.glob("runtime_client*"):
        (client / extension.name).symlink_to(extension)
    environment["PYTHONPATH"] += os.pathsep + str(client)
    handler = str(function.resource.get("Handler", GLOBALS["Handler"]))
    with runtime_client(built.python, handler, built.task(function), environment) as api:
        for _ in range(2):
            if function.entry == "worker":
                assert api.invoke(sqs_event()) == {"batchItemFailures": []}
            elif function.entry == "job":
                api.invoke(TICK)
            else:
                path = function.routes()[0][0]
                answer = api.invoke(http_event(path, authorization="Bearer gw_live_no"))
                assert 200 <= answer["statusCode"] < 500 and answer["body"]
                assert answer["multiValueHeaders"].get("x-request-id") or answer["headers"]


# ---------------------------------------------------------------- streams


async def _open_account(environment: dict[str, str]) -> str:
    """An account with credit; its key."""
    settings = load_settings(environment)
    stores = open_stores(settings)
    key = generate_key("test")
    digest = hash_key(key.text.encode(), settings.keys.pepper.encode()).hex()
    rpc = stores.postgres.rpc
    await rpc("open_account", {"account": "acme", "name": "acme", "stage": "test"})
    credit = {"op_id": "1", "account": "acme", "amount_nanos": 10**9, "reason": "test"}
    await rpc("grant_credit", credit)
    made = {"key_id": "key_1", "account": "acme", "name": "k", "hash": digest}
    await rpc("create_key", made | {"prefix": key.prefix})
    await stores.close()
    return key.text


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _run_sh(built: Built, function: Function, opt: Path, more: dict[str, str]) -> Iterator[int]:
    """The function started as the Web Adapter starts it, its layers merged below /opt."""
    python = opt / "python"
    for layer in function.layers:
        for path in (built.folder / layer / "python").iterdir():
            python.mkdir(parents=True, exist_ok=True)
            if not (python / path.name).exists():
                (python / path.name).symlink_to(path)
    port = _free_port()
    environment = built.environment(function, more)
    del environment["PYTHONPATH"]
    environment |= {"LAYER_ROOT": str(opt), "AWS_LWA_PORT": str(port)}
    process = subprocess.Popen([built.task(function) / "run.sh"], env=environment, cwd="/")
    try:
        yield port
        process.terminate()
        assert process.wait(15) in (0, -15)
    finally:
        process.kill()
        process.wait()


async def _ready(port: int) -> None:
    async with httpx.AsyncClient() as client:
        for _ in range(1500):
            try:
                assert (await client.get(f"http://127.0.0.1:{port}/healthz")).text == "ok"
                return
            except httpx.TransportError:
                await asyncio.sleep(0.02)
    raise AssertionError("it never became ready")


async def _in_lock_step(url: str, key: str, sandbox_url: str, lock: str) -> None:
    """A chunk is let go only when the one before it has arrived: nothing on the way buffers."""
    body = {
        "model": f"sandbox/mock-n4-lockstep.{lock}",
        "stream": True,
        "messages": [{"role": "user", "content": "hi"}],
    }
    headers = {"authorization": f"Bearer {key}"}
    seen = b""
    async with httpx.AsyncClient(timeout=20) as client:
        release = f"{sandbox_url}/lockstep/{lock}/release"
        await client.post(release)  # the status waits for the first chunk
        async with client.stream("POST", url, json=body, headers=headers) as answer:
            blocks = answer.aiter_raw()
            for wanted in (b"Gatewayz sandbox", b"w1", b"w2", b"w3"):
                while wanted not in seen:
                    seen += await anext(blocks)
                await client.post(release)
            async for block in blocks:
                seen += block
    assert answer.status_code == 200 and seen.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("function", STREAMS, ids=lambda f: f.name)
async def test_run_sh_serves_behind_a_front_that_buffers_nothing(
    function: Function, built: Built, tmp_path: Path, variables: dict[str, str],
    sandbox: tuple[Sandbox, str],
) -> None:  # fmt: skip
    key = await _open_account(variables)
    with _run_sh(built, function, tmp_path / "opt", variables) as port:
        await _ready(port)
        async with Front(port) as front:
            url = f"http://127.0.0.1:{front.port}{function.routes()[0][0]}"
            if function.name == "chat":
                await _in_lock_step(url, key, sandbox[1], "run")
            else:
                async with httpx.AsyncClient() as client:
                    refused = await client.post(url, json={}, headers={"x-api-key": "gw_live_no"})
                    assert refused.status_code == 401 and "error" in refused.json()


# ---------------------------------------------------------------- Vercel's runtime


@pytest.mark.parametrize("function", ALL, ids=lambda f: f.name)
async def test_vercels_runtime_starts_every_function(
    function: Function, built: Built, tmp_path: Path, variables: dict[str, str],
    sandbox: tuple[Sandbox, str],
) -> None:  # fmt: skip
    folder = tmp_path / "function"
    shutil.copytree(built.task(function), folder)
    vendor = folder / "_vendor"
    vendor.mkdir()
    for layer in function.layers:
        for path in (built.folder / layer / "python").iterdir():
            if not (vendor / path.name).exists():
                (vendor / path.name).symlink_to(path)
    (vendor / "vercel_runtime").symlink_to(built.site / "vercel_runtime")
    environment = built.environment(function, variables) | {
        "PYTHONPATH": str(vendor),
        "__VC_HANDLER_MODULE_NAME": function.entry,
        "__VC_HANDLER_ENTRYPOINT": f"{function.entry}.py",
        "__VC_HANDLER_ENTRYPOINT_ABS": str(folder / f"{function.entry}.py"),
        "__VC_HANDLER_VENDOR_DIR": "_vendor",
        "__VC_HANDLER_VARIABLE_NAME": "app",
    }
    command = [str(built.python), "-c", "from vercel_runtime.vc_init import vc_handler"]
    with vercel_function(command, folder, environment, tmp_path / "ipc") as port:
        if function.name == "chat":
            key = await _open_account(variables)
            url = f"http://127.0.0.1:{port}/v1/chat/completions"
            await _in_lock_step(url, key, sandbox[1], "vercel")
            return
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            if function.entry == "app":
                answer = await client.get(function.routes()[0][0])
                assert answer.status_code < 500
            else:
                path = f"/jobs/{function.name}"
                assert (await client.get(path)).status_code == 401
                bearer = {"authorization": f"Bearer {variables['CRON_SECRET']}"}
                assert (await client.get(path, headers=bearer)).json()["ok"] is True


# ---------------------------------------------------------------- Vercel's own build


def _vercel_cli() -> str:
    found = os.environ.get("VERCEL_CLI") or shutil.which("vercel")
    if found is None:
        pytest.skip("the Vercel CLI is not installed: npm install vercel, then VERCEL_CLI=…")
    return found


def test_vercel_builds_every_service_and_its_bundle_starts(
    tools: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    """In a copy: the build writes into its project. One bundle of each kind is started."""
    cli, python = Path(_vercel_cli()), runtime_python()
    out = tmp_path / "project"
    (out / ".vercel").mkdir(parents=True)
    for name in ("functions", "layers", "shared"):
        shutil.copytree(ROOT / name, out / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "vercel.json", "README.md"):
        shutil.copy(ROOT / name, out)
    project = {"projectId": "prj_local", "orgId": "team_local", "settings": {}}
    (out / ".vercel" / "project.json").write_text(json.dumps(project))
    places = [str(python.parent), str(cli.parent), str(tools / "bin"), os.environ["PATH"]]
    environment = os.environ | {
        "PATH": os.pathsep.join(places),
        "VERCEL_PYTHON_COMPILEALL": "1",
        "VERCEL_TELEMETRY_DISABLED": "1",
    }
    done = subprocess.run(
        [str(cli), "build", "--yes", "--token", "x"],
        cwd=out, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    services = out / ".vercel" / "output" / "services"
    assert {path.name for path in services.iterdir()} == {function.name for function in ALL}
    for function in [*STREAMS[:1], *[f for f in ALL if f.entry == "worker"][:1], WHOLE[0]]:
        (bundle,) = (services / function.name / "functions").glob("*.func")
        config = json.loads((bundle / ".vc-config.json").read_text())
        assert config["maxDuration"] == function.duration_s and config["supportsResponseStreaming"]
        laid = tmp_path / function.name
        shutil.copytree(bundle, laid)
        for name, source in config.get("filePathMap", {}).items():
            (laid / name).parent.mkdir(parents=True, exist_ok=True)
            (laid / name).symlink_to(out / source)
        assert list(laid.rglob("gatewayz/core/__pycache__/*.pyc")), "not compiled"
        handler = config["handler"].partition(".")[0]
        runs = built_environment(python, laid, variables)
        with vercel_function(
            [str(python), "-S", "-s", f"{handler}.py"], laid, runs, tmp_path / f"{function.name}.s"
        ) as port:
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/no/such", timeout=10)
            assert refused.value.code in (401, 404, 405)


def built_environment(python: Path, laid: Path, variables: dict[str, str]) -> dict[str, str]:
    path = f"{python.parent}{os.pathsep}{os.defpath}"
    return {"PATH": path, "PYTHONPATH": str(laid / "_vendor"), **variables}


def test_the_version_that_builds_is_the_one_that_is_deployed() -> None:
    assert GLOBALS["Runtime"] == "python3.12"
    assert sys.version_info >= (3, 11)
