"""Every home installs the same bytes: pinned, hashed, and without a word about where from."""

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.packaging.deployables import ROOT, requirement_names, set_names

PLACES = ("layers", "tests")
LOCKED = sorted(path for place in PLACES for path in (ROOT / place).rglob("requirements.txt"))
WANTED = sorted(path for place in PLACES for path in (ROOT / place).rglob("requirements.in"))
# Sets installed into one environment, each constrained by those before it.
ONE_WORLD = ("layers/edge", "layers/control", "layers/local", "tests")
SOURCES = re.compile(r"://|--?(index|extra-index|find-links|trusted-host|no-index)\b|^-[if] ", re.M)


def _name(path: Path) -> str:
    return path.parent.relative_to(ROOT).as_posix()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_set_is_locked() -> None:
    assert list(map(_name, LOCKED)) == list(map(_name, WANTED))
    assert set(ONE_WORLD) <= set(map(_name, LOCKED))


@pytest.mark.parametrize("path", LOCKED, ids=_name)
def test_every_requirement_is_pinned_and_hashed(path: Path) -> None:
    text = path.read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert lines
    for line in lines:
        assert re.match(r"[A-Za-z0-9._-]+(\[[^]]*\])?==\S+", line), line[:80]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", line), line[:80]


@pytest.mark.parametrize("path", LOCKED + WANTED, ids=lambda p: f"{_name(p)}{p.suffix}")
def test_no_set_says_where_packages_come_from(path: Path) -> None:
    assert not SOURCES.search(path.read_text())
    assert " @ " not in path.read_text()


@pytest.mark.parametrize("path", WANTED, ids=_name)
def test_what_is_wanted_is_locked(path: Path) -> None:
    locked = requirement_names(path.with_suffix(".txt"))
    for line in path.read_text().splitlines():
        line = line.split("#")[0].strip()
        if line.startswith("-r "):
            other = (path.parent / line[3:].strip()).resolve()
            assert other in WANTED, f"{path}: {line}"
        elif line:
            found = re.match(r"[A-Za-z0-9._-]+", line)
            assert found and _normal(found[0]) in locked, f"{path}: {line}"


def test_every_home_runs_one_version_of_everything() -> None:
    versions: dict[str, set[str]] = {}
    for name in ONE_WORLD:
        for package, version in requirement_names(ROOT / name / "requirements.txt").items():
            versions.setdefault(package, set()).add(version)
    assert {package: found for package, found in versions.items() if len(found) > 1} == {}


PROVIDED = {"boto3", "botocore"}  # by Lambda's own runtime, where S3 is
AT_HOME = ("local", "cli")  # packages that no function is deployed with


def test_the_layers_hold_every_package_that_deployed_code_imports() -> None:
    """Also what is imported late, when a backend is chosen."""
    sources = list((ROOT / "functions").rglob("*.py"))
    for path in (ROOT / "shared" / "gatewayz").rglob("*.py"):
        if path.relative_to(ROOT / "shared" / "gatewayz").parts[0] not in AT_HOME:
            sources.append(path)
    owners = metadata.packages_distributions()
    held = set_names("edge") | set_names("control") | PROVIDED
    missing = set()
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(aliases):
                    names = {alias.name.split(".")[0] for alias in aliases}
                case ast.ImportFrom(str(module), level=0):
                    names = {module.split(".")[0]}
                case _:
                    continue
            for name in names - sys.stdlib_module_names - {"gatewayz", "functions"}:
                if not {_normal(owner) for owner in owners.get(name, [name])} & held:
                    missing.add(f"{path.relative_to(ROOT)}: {name}")
    assert missing == set()


def test_no_path_file_and_no_stray_set_is_kept_with_the_sources() -> None:
    """A .pth in a layer runs code at every start; a set at the root is installed by Vercel."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git work tree: what is kept cannot be told from what is made")
    files = [Path(name) for name in listed.stdout.split("\0") if name]
    assert Path("template.yaml") in files
    assert [f for f in files if f.suffix == ".pth"] == []
    assert [f for f in files if f.name in {"uv.lock", "pylock.toml", ".python-version"}] == []
    sets = {f.parent.as_posix() for f in files if f.name == "requirements.txt"}
    assert all(place.split("/")[0] in PLACES for place in sets)
