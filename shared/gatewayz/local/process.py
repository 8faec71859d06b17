"""Child processes of the local stack: tied to their parent, awaited, stopped.

Guarantees that a child does not outlive its parent, on Linux by the kernel itself.
"""

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import sleep

from gatewayz.core import clock

LOOPBACK = "127.0.0.1"
PR_SET_PDEATHSIG = 1
POLL_S = 0.01
STOP_S = 15.0


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


def last_line(log: Path) -> str:
    """The last line of a server's log: what it died of."""
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").split("\n")
        for line in reversed(lines):
            if line.strip():
                return line.strip()[:300]
    return "it wrote no log"
