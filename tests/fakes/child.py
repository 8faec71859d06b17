"""A gateway in a process of its own, so that a test can kill it without warning."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_S = 30.0


class ChildGateway:
    """`functions.chat.app` under uvicorn with the environment given and nothing else."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(1024)
            self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "uvicorn", "functions.chat.app:app",
                    "--fd", str(listening.fileno()), "--log-level", "warning", "--lifespan", "on",
                ],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "shared"), **environment},
                pass_fds=(listening.fileno(),),
                stderr=self._log,
            )  # fmt: skip

    def wait(self) -> "ChildGateway":
        """Until it answers."""
        ends_s = time.monotonic() + START_S
        while time.monotonic() < ends_s and self._process.poll() is None:
            try:
                with urllib.request.urlopen(self.url + "/healthz", timeout=START_S):
                    return self
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"the gateway did not start: {self.log()}")

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def kill(self) -> None:
        """SIGKILL; nothing of the process runs any more when this returns."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        self.kill()
        self._log.close()
