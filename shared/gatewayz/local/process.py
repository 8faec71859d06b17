"""Child processes of the local stack: started, awaited, stopped, found again after a crash.

Guarantees that a child does not outlive its parent (Linux: by the kernel). Never signals a
process that does not run in the folder it was started for.
"""

import contextlib
import ctypes
import errno
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import sleep

from gatewayz.core import clock
from gatewayz.local.errors import LocalError

LOOPBACK = "127.0.0.1"
PR_SET_PDEATHSIG = 1
POLL_S = 0.01
STOP_S = 15.0
_PROC = Path("/proc")


def die_with_parent(signum: int) -> Callable[[], None] | None:
    """A `preexec_fn` that has the kernel send `signum` when our process is gone; None if it cannot.

    The kernel watches the thread that starts the child: start children from the main thread.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask_kernel() -> None:
        prctl(PR_SET_PDEATHSIG, signum)
        if os.getppid() != parent:  # gone between fork and prctl
            os._exit(1)

    return ask_kernel


def wait_until(ready: Callable[[], bool], *, timeout_s: float) -> bool:
    """Poll `ready` until it is true; False after the time."""
    end_s = clock.monotonic_s() + timeout_s
    while not ready():
        if clock.monotonic_s() > end_s:
            return False
        sleep(POLL_S)
    return True


def stop(process: subprocess.Popen[bytes], signum: int, *, timeout_s: float = STOP_S) -> None:
    """Ask a child to end, and end it when it does not; idempotent."""
    if process.poll() is None:
        process.send_signal(signum)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def pids_in(folder: Path) -> list[int]:
    """Processes whose working directory is `folder`: a server that a killed parent left behind.

    Empty where the system has no /proc.
    """
    found = []
    target = str(folder.resolve())
    for entry in _pids():
        with contextlib.suppress(OSError):
            if os.readlink(_PROC / str(entry) / "cwd") == target and entry != os.getpid():
                found.append(entry)
    return found


def _pids() -> Iterator[int]:
    with contextlib.suppress(OSError):
        for name in os.listdir(_PROC):
            if name.isdigit():
                yield int(name)


def forget_stale_pid(pid_file: Path, folder: Path, program: str) -> None:
    """Remove a dead server's pid file when its number now belongs to a stranger.

    A server would otherwise take the stranger for itself and refuse to start.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        pid = int(pid_file.read_text().split()[0])
        alive = (_PROC / str(pid)).exists()
        if alive and _program(pid) != program and not pids_in(folder):
            pid_file.unlink()


def stop_leftovers(folder: Path, program: str, signum: int) -> None:
    """End what an earlier run left in `folder`; only processes of that program and folder."""
    end_all([pid for pid in pids_in(folder) if _program(pid) == program], signum)


def end_all(pids: list[int], signum: int, *, timeout_s: float = STOP_S) -> None:
    """Signal processes that are not our children and wait until they are gone."""
    for number in (signum, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if wait_until(lambda: not _running(pids), timeout_s=timeout_s):
            return
    raise LocalError(f"An earlier process does not end: {pids}")


def pids_with(*words: str) -> list[int]:
    """Processes whose command line has all these words; empty where there is no /proc."""
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            command = (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")
            if set(words) <= set(command.split("\0")) and pid != os.getpid():
                found.append(pid)
    return found


def _running(pids: list[int]) -> bool:
    return any((_PROC / str(pid)).exists() and _state(pid) != "Z" for pid in pids)


def _state(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return "Z"


def _program(pid: int) -> str:
    """File name of the running program; it survives the deletion of the file."""
    try:
        return Path(os.readlink(_PROC / str(pid) / "exe").removesuffix(" (deleted)")).name
    except OSError:
        return ""


def choose_port(memory: Path) -> int:
    """The loopback port remembered in a file if it is free, else a free one, remembered."""
    with contextlib.suppress(OSError, ValueError):
        port = int(memory.read_text())
        if _free(port):
            return port
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port = int(probe.getsockname()[1])
    write_private(memory, str(port))
    return port


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def keep_secret(file: Path) -> str:
    """The secret kept in a file that only its owner reads; made at the first call."""
    with contextlib.suppress(OSError):
        if secret := file.read_text().strip():
            return secret
    secret = secrets.token_hex(24)
    write_private(file, secret)
    return secret


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read; all of it or nothing."""
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.replace(draft, file)
    except OSError as error:
        raise LocalError(explain(error, file)) from None


def make_folder(folder: Path) -> None:
    """A folder that only its owner enters."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise LocalError(explain(error, folder)) from None


def explain(error: OSError, path: Path) -> str:
    """One line about a file that could not be written."""
    reason = (error.strerror or str(error)).lower()
    return f"Cannot write {path}: {reason}. Set GATEWAYZ_HOME to a folder of your own."


def last_line(log: Path) -> str:
    """The last line of a server's log: what it died of."""
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").split("\n")
        for line in reversed(lines):
            if line.strip():
                return line.strip()[:300]
    return "it wrote no log"
