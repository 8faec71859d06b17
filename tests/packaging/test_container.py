"""The container, checked where no engine is: its Dockerfile is read, and its tree is run."""

import fnmatch
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pytest

from gatewayz.core.settings import describe_settings
from tests.managed import free_ports
from tests.packaging.deployables import ROOT

SECRET_WORDS = re.compile(r"secret|token|password|pepper|key|database_url|redis_url", re.I)


class Line(NamedTuple):
    """One instruction, its continuations joined."""

    verb: str
    rest: str


def read_dockerfile() -> list[Line]:
    text = (ROOT / "Dockerfile").read_text()
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = kept.replace("\\\n", " ")
    return [Line(*line.split(None, 1)) for line in joined.splitlines() if line.strip()]


LINES = read_dockerfile()


def all_of(verb: str) -> list[str]:
    return [line.rest for line in LINES if line.verb == verb]


def last_stage() -> list[Line]:
    start = max(at for at, line in enumerate(LINES) if line.verb == "FROM")
    return LINES[start:]


def copies(lines: list[Line]) -> list[tuple[str, str]]:
    """(source in the tree, target in the image)."""
    pairs = [line.rest.split() for line in lines if line.verb == "COPY"]
    return [(pair[0], pair[1]) for pair in pairs if not pair[0].startswith("--from=")]


def image_variables() -> dict[str, str]:
    return dict(word.split("=", 1) for rest in all_of("ENV") for word in rest.split())


def ignored(path: str) -> bool:
    """By .dockerignore; as the engine reads it, the last pattern that matches decides."""
    found = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern, answer = line.removeprefix("!"), not line.startswith("!")
        names = [path, *map(str, Path(path).parents)]
        anywhere = pattern.removeprefix("**/")
        if any(
            fnmatch.fnmatch(name, pattern)
            or (anywhere != pattern and fnmatch.fnmatch(Path(name).name, anywhere))
            for name in names
        ):
            found = answer
    return found


def test_the_base_is_one_pinned_slim_image() -> None:
    (argument,) = all_of("ARG")
    assert re.fullmatch(r"PYTHON=3\.1[123]\.\d+-slim-[a-z]+", argument)
    assert {image.split()[0] for image in all_of("FROM")} == {"python:${PYTHON}"}
    assert "latest" not in (ROOT / "Dockerfile").read_text()


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    for source, _ in copies(LINES):
        assert (ROOT / source).exists(), source
        assert not ignored(source.rstrip("/")), source


@pytest.mark.parametrize(
    "path",
    [".env", ".git/config", "shared/.env", "functions/chat/.env.local", ".venv/bin/python", "tests",
     ".gatewayz/key", "shared/gatewayz/__pycache__/x.pyc", "layers/edge/requirements.txt"],
)  # fmt: skip
def test_nothing_else_reaches_the_builder(path: str) -> None:
    assert ignored(path)


def test_packages_are_installed_by_hash_from_a_set_that_exists() -> None:
    installs = [rest for rest in all_of("RUN") if "pip install" in rest]
    assert len(installs) == 1
    assert "--require-hashes" in installs[0]
    copied = {target: source for source, target in copies(LINES)}
    for file in re.findall(r"-r (\S+)", installs[0]):
        assert copied[file].startswith("layers/")
        assert "--hash=sha256:" in (ROOT / copied[file]).read_text()


def test_it_runs_without_rights_and_tells_whether_it_is_well() -> None:
    verbs = [line.verb for line in last_stage()]
    (user,) = [line.rest for line in last_stage() if line.verb == "USER"]
    assert user not in ("root", "0")
    assert f"--uid {user} " in next(line.rest for line in last_stage() if "useradd" in line.rest)
    assert not {"RUN", "COPY", "ADD"} & set(verbs[verbs.index("USER") :])
    assert "/healthz" in all_of("HEALTHCHECK")[0]
    assert json.loads(all_of("ENTRYPOINT")[0]) == ["gatewayz"]
    assert json.loads(all_of("CMD")[0]) == ["serve", "--all"]


def test_it_holds_no_secret_and_only_settings_that_exist() -> None:
    assert "ADD" not in [line.verb for line in LINES]
    assert not [name for name in image_variables() if SECRET_WORDS.search(name)]
    assert not [rest for rest in all_of("ARG") if SECRET_WORDS.search(rest)]
    known = {row.env for row in describe_settings()}
    ours = {name for name in image_variables() if not name.startswith(("PYTHON", "PATH"))}
    assert ours <= known


def test_the_tree_of_the_image_serves_is_well_and_stops(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """What the image copies, started as its entry point does, over the test's stores."""
    (port,) = free_ports(1)
    for source, target in copies(last_stage()):
        shutil.copytree(
            ROOT / source,
            tmp_path / target.strip("/"),
            ignore=shutil.ignore_patterns("__pycache__", ".env*"),
        )
    paths = image_variables()["PYTHONPATH"].split(":")
    variables = {
        **environment,
        "PATH": os.environ["PATH"],
        "PYTHONPATH": ":".join(f"{tmp_path}{path}" for path in paths),
        "HOST": "127.0.0.1",
        "PORT": str(port),
    }
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-m", "gatewayz.cli", *json.loads(all_of("CMD")[0])]
    running = subprocess.Popen(command, env=variables, cwd=home, stderr=subprocess.PIPE, text=True)
    try:
        probe = json.loads(all_of("HEALTHCHECK")[0].partition("CMD ")[2])
        for _ in range(150):
            well = subprocess.run(
                [sys.executable, *probe[1:]], env=variables, capture_output=True, check=False
            )
            if well.returncode == 0 or running.poll() is not None:
                break
            time.sleep(0.1)
        assert well.returncode == 0, well.stderr
        url = f"http://127.0.0.1:{port}/health"
        health = json.loads(urllib.request.urlopen(url, timeout=5).read())
        assert health["status"] == "ok"
    finally:
        running.send_signal(signal.SIGTERM)
        _, said = running.communicate(timeout=30)
    assert running.returncode == 0, said
