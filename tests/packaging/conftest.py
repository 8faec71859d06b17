"""What a platform lays beside a function, made once: its layers and a bare interpreter."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.packaging.deployables import GLOBALS, ROOT, Function, bare_python, lay_layers


class Platform:
    """A machine with the layers of a function, its folder, and nothing else of Python's."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.python = bare_python(root / "bin")

    def layer_root(self, function: Function) -> Path:
        """What Lambda calls /opt."""
        opt = self._root / "-".join(["opt", *function.sets])
        if not opt.exists():
            lay_layers(opt, function.sets)
        return opt

    def deploy(self, function: Function, to: Path) -> Path:
        """A copy of the function's folder, as it is uploaded: modes kept, no bytecode."""
        target = to / function.name
        shutil.copytree(function.folder, target, ignore=shutil.ignore_patterns("__pycache__"))
        return target

    def environment(self, function: Function, more: dict[str, str]) -> dict[str, str]:
        """Variables of the started process; nothing of this one's but the PATH."""
        path = f"{self.python.parent}{os.pathsep}{os.defpath}"
        root = str(self.layer_root(function))
        return {"PATH": path, "LAYER_ROOT": root, "PYTHONDONTWRITEBYTECODE": "1", **more}


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    return Platform(tmp_path_factory.mktemp("platform"))


def runtime_python() -> Path:
    """A real interpreter of the version that template.yaml names; a shim of pyenv is none."""
    version = str(GLOBALS["Runtime"])
    places = [*os.get_exec_path(), *sorted(Path.home().glob(".pyenv/versions/3.12*/bin"))]
    for place in places:
        program = Path(place) / version
        if program.exists() and program.resolve().suffix != ".sh" and _runs(program):
            return program
    pytest.skip(f"no {version} is on PATH: nothing can be built for it")


def _runs(program: Path) -> bool:
    answer = subprocess.run([str(program), "-c", ""], capture_output=True)
    return answer.returncode == 0 and "shims" not in program.parts


@pytest.fixture(scope="session")
def tools() -> Path:
    """The environment of tests/packaging/requirements.txt."""
    folder = ROOT / ".venv-packaging"
    if not (folder / "installed").exists():
        pytest.skip("tests/packaging/requirements.txt is not installed: make packaging does it")
    return folder
