"""Each function runs on its layers alone: no package of the test environment is within reach."""

import base64
import hashlib
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from importlib import metadata
from pathlib import Path

import pytest

from tests.packaging.conftest import Platform
from tests.packaging.deployables import ALL, ROOT, SETS, Function, requirement_names

START_S = 15.0
STORES = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "REDIS_URL": "redis://127.0.0.1:1",
    "GATEWAYZ_KEY_PEPPER": "p" * 32,
}


@pytest.mark.parametrize("function", ALL, ids=lambda f: f.name)
def test_a_function_loads_from_its_layers_alone(
    function: Function, platform: Platform, tmp_path: Path
) -> None:
    folder = platform.deploy(function, tmp_path)
    opt = platform.layer_root(function) / "python"
    more = {"PYTHONPATH": f"{folder}{os.pathsep}{opt}"}
    names = f"{function.entry}, mangum" if "control" in function.sets else function.entry
    answer = subprocess.run(
        [str(platform.python), "-c", f"import {names}; print({function.entry}.__file__)"],
        env=platform.environment(function, more),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == str(folder / f"{function.entry}.py")


def test_the_layers_hold_nothing_else(platform: Platform) -> None:
    """Else the test above would prove nothing."""
    light = next(function for function in ALL if function.streams)
    opt = platform.layer_root(light) / "python"
    missing = subprocess.run(
        [str(platform.python), "-c", "import pydantic"],
        env=platform.environment(light, {"PYTHONPATH": str(opt)}),
        capture_output=True,
        text=True,
    )
    assert "No module named 'pydantic'" in missing.stderr


# ---------------------------------------------------------------- F93

RUNS_AT_START = re.compile(r"\.pth$|^(site|user)customize\b")
NO_NETWORK = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"):
        raise SystemExit(f"network at import: {event} {arguments}")
sys.addaudithook(refuse)
"""


def test_F93_nothing_in_a_layer_runs_by_itself(platform: Platform) -> None:
    """A .pth file or a sitecustomize runs at the start of every interpreter that sees it."""
    for function in ALL:
        layer = platform.layer_root(function) / "python"
        names = [path.name for path in layer.iterdir()]
        names += [path.name for path in (layer / "gatewayz").rglob("*")]
        assert [name for name in names if RUNS_AT_START.search(name)] == []
    for name in SETS:
        for distribution in _distributions(name):
            files = [str(file) for file in distribution.files or []]
            assert [f for f in files if RUNS_AT_START.search(f)] == [], distribution.name


@pytest.mark.parametrize("function", ALL, ids=lambda f: f.name)
def test_F93_no_function_uses_the_network_when_it_is_imported(
    function: Function, platform: Platform, tmp_path: Path
) -> None:
    folder = platform.deploy(function, tmp_path)
    opt = platform.layer_root(function) / "python"
    answer = subprocess.run(
        [str(platform.python), "-c", f"{NO_NETWORK}import {function.entry}; print('quiet')"],
        env=platform.environment(function, {"PYTHONPATH": f"{folder}{os.pathsep}{opt}"}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (answer.returncode, answer.stdout) == (0, "quiet\n"), answer.stderr


def test_F93_the_guard_of_the_network_works(platform: Platform) -> None:
    code = f"{NO_NETWORK}import socket; socket.create_connection(('127.0.0.1', 9))"
    light = next(function for function in ALL if function.streams)
    answer = subprocess.run(
        [str(platform.python), "-c", code],
        env=platform.environment(light, {}),
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 1 and "network at import" in answer.stderr


def _distributions(name: str) -> list[metadata.Distribution]:
    locked = requirement_names(ROOT / "layers" / name / "requirements.txt")
    known = {re.sub(r"[-_.]+", "-", d.name).lower(): d for d in metadata.distributions()}
    return [known[package] for package in locked if package in known]


@pytest.mark.parametrize("name", SETS)
def test_F93_every_file_of_a_layer_is_the_one_that_was_locked(name: str) -> None:
    """The lock names the archives by hash; each archive names its files by hash."""
    locked = requirement_names(ROOT / "layers" / name / "requirements.txt")
    checked = 0
    for distribution in _distributions(name):
        assert locked[re.sub(r"[-_.]+", "-", distribution.name).lower()] == distribution.version
        for file in distribution.files or []:
            if file.hash is None or file.suffix == ".pyc" or file.parts[0] == "..":
                continue
            data = Path(str(distribution.locate_file(file))).read_bytes()
            digest = hashlib.new(file.hash.mode, data).digest()
            found = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            assert found == file.hash.value, f"{distribution.name}: {file} was changed"
            checked += 1
    assert checked > 100


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _fetch(url: str, body: bytes | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(url, body, {"authorization": "Bearer gw_live_no"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> tuple[int, bytes]:
    end_s = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end_s:
        try:
            return _fetch(url)
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"not ready, return code {process.poll()}")


@pytest.mark.parametrize("function", [f for f in ALL if f.streams], ids=lambda f: f.name)
def test_run_sh_serves_a_streaming_function_as_the_web_adapter_asks(
    function: Function, platform: Platform, tmp_path: Path
) -> None:
    """Started from another folder, on the adapter's port, ready at the adapter's path."""
    variables = function.variables
    port = _free_port()
    environment = platform.environment(function, STORES | {"AWS_LWA_PORT": str(port)})
    script = platform.deploy(function, tmp_path) / str(function.resource["Handler"])
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([script], env=environment, cwd="/", stderr=log, stdout=log)
    base = f"http://127.0.0.1:{port}"
    try:
        ready = _wait_for(base + variables["AWS_LWA_READINESS_CHECK_PATH"], process)
        assert ready == (200, b"ok")
        path, _ = function.routes()[0]
        status, body = _fetch(base + path, b"{}")
        assert (status, b'"error"' in body) == (401, True), "a bad key is refused without stores"
        process.terminate()
        assert process.wait(10) in (0, -15)
    finally:
        process.kill()
        process.wait()
    assert b"Traceback" not in (tmp_path / "log").read_bytes()
