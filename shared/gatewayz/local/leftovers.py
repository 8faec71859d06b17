"""Finds and ends what a killed run left behind.

Never signals a process by its number alone: it must be the program, in the folder, or have the
command line, that was started from here. Reads /proc where there is one, else asks ps and lsof.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from gatewayz.local.errors import LocalError
from gatewayz.local.process import STOP_S, wait_until

PROC = Path("/proc")
ASK_S = 10.0


def stop_leftovers(folder: Path, program: str, signum: int) -> None:
    """End the servers of an earlier run that still use `folder`."""
    end_all(pids_in(folder, program), signum)


def forget_stale_pid(pid_file: Path, folder: Path, program: str) -> None:
    """Remove a dead server's pid file when its number is taken: by a stranger, or by its corpse.

    The server would otherwise take that for itself and refuse to start.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        pid = int(pid_file.read_text().split()[0])
        if _taken(pid) and not pids_in(folder, program):
            pid_file.unlink()


def end_all(pids: Iterable[int], signum: int, *, timeout_s: float = STOP_S) -> None:
    """Signal processes that are not our children, harder the second time; wait for their end."""
    left = list(pids)
    for number in (signum, signal.SIGKILL):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if wait_until(lambda: not any(map(_running, left)), timeout_s=timeout_s):
            return
    raise LocalError(f"Processes of an earlier run do not end: {left}")


def pids_in(folder: Path, program: str) -> list[int]:
    """Processes of that program whose working directory is `folder`."""
    target = str(folder.resolve())
    return [pid for pid, name in _programs() if name == program and _folder(pid) == target]


def pids_with(*words: str) -> list[int]:
    """Processes, not our own, whose command line has all these words."""
    return [
        pid
        for pid, command in _commands()
        if pid != os.getpid() and all(word in command for word in words)
    ]


def _pids() -> list[int]:
    return [int(name) for name in os.listdir(PROC) if name.isdigit()]


def _programs() -> Iterator[tuple[int, str]]:
    """(pid, file name of its program); the name survives the deletion of the file."""
    if not PROC.is_dir():
        yield from ((pid, Path(path).name) for pid, path in _ask_ps("comm"))
        return
    for pid in _pids():
        with contextlib.suppress(OSError):
            path = os.readlink(PROC / str(pid) / "exe")
            yield pid, Path(path.removesuffix(" (deleted)")).name


def _commands() -> Iterator[tuple[int, list[str] | str]]:
    if not PROC.is_dir():
        yield from _ask_ps("command")
        return
    for pid in _pids():
        with contextlib.suppress(OSError):
            command = (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")
            yield pid, command.split("\0")


def _folder(pid: int) -> str:
    if not PROC.is_dir():
        said = _ask("lsof", "-nP", "-a", "-p", str(pid), "-d", "cwd", "-Fn")
        return next((line[1:] for line in said if line.startswith("n")), "")
    try:
        return os.readlink(PROC / str(pid) / "cwd")
    except OSError:
        return ""


def _running(pid: int) -> bool:
    if PROC.is_dir():
        try:
            state = (PROC / str(pid) / "stat").read_text().rpartition(") ")[2][:1]
        except OSError:
            return False
        return state != "Z"
    return _taken(pid)


def _taken(pid: int) -> bool:
    """Does the number belong to a process, if only one that nobody has buried yet?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _ask_ps(column: str) -> Iterator[tuple[int, str]]:
    for line in _ask("ps", "-axww", "-o", f"pid=,{column}="):
        pid, _, rest = line.strip().partition(" ")
        yield int(pid), rest.strip()


def _ask(*command: str) -> list[str]:
    """Lines of a program's answer; none when it is not there."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=ASK_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.decode(errors="replace").splitlines()
