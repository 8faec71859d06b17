"""Our gateway as a target of the shared benchmark: its stores, its start, its process ids.

Owns the processes it starts and ends them. Imports nothing of the gateway: trees of several commits
are measured side by side.
"""

import importlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
TREE = HERE.parent
CLIENT_PORT = 9500
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Shared(NamedTuple):
    """The shared harness: its modules and where it keeps what it installed."""

    folder: Path
    bench: ModuleType
    targets: ModuleType

    @classmethod
    def load(cls, folder: Path) -> "Shared":
        """Its modules, imported; a clear end when the folder or its tools are missing."""
        folder = folder.resolve()
        if not (folder / "bench.py").exists():
            sys.exit(f"{folder} is not the shared benchmark (name it with --shared)")
        sys.dont_write_bytecode = True  # the folder may be read-only
        sys.path.insert(0, str(folder))
        bench, targets = importlib.import_module("bench"), importlib.import_module("targets")
        if not Path(bench.MOCK).exists() or shutil.which("wrk") is None:
            sys.exit(f"The benchmark's tools are missing: {folder}/setup.sh refs litellm")
        targets.RUN.mkdir(parents=True, exist_ok=True)
        return cls(folder, bench, targets)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process with its present and past children."""
    total = 0.0
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            fields = Path("/proc", entry, "stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        if int(entry) == pid:
            total += sum(map(int, fields[11:15])) * TICK_S
        elif int(fields[1]) == pid:
            total += sum(map(int, fields[11:13])) * TICK_S
    return total


class Stack:
    """The stores and the settle worker of one tree, and the script that starts its gateway."""

    def __init__(
        self, shared: Shared, home: Path, *, tree: Path, python: str, cores: str, port: int
    ) -> None:
        self.tree, self.home, self.python, self.port = tree, home, python, port
        self._shared = shared
        home.mkdir(parents=True)
        models = ",".join(shared.targets.MODELS.values())
        command = [python, str(HERE / "stack.py"), "serve", "--home", str(home / "stack")]
        command += ["--upstream", shared.targets.UP, "--models", models]
        if cores and shutil.which("taskset"):
            command = ["taskset", "-c", cores, *command]
        self._log = open(home / "stack.log", "wb")  # noqa: SIM115 - open as long as the process
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": self._python_path()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        ready = self._read()
        self.environ: dict[str, str] = ready["environ"]
        self.key: str = ready["key"]
        self.pids: dict[str, int] = ready["pids"]
        self.script = home / "gateway.sh"
        self._write_script()

    def _python_path(self) -> str:
        return f"{self.tree / 'shared'}:{self.tree}"

    def _write_script(self) -> None:
        """The gateway as it is deployed (functions/chat/run.sh), with this stack's environment.

        A file, because the variables must not reach the rivals that the same harness starts.
        """
        environ = self.environ | {
            "PYTHONPATH": self._python_path(),
            "PATH": f"{Path(self.python).parent}:{os.environ['PATH']}",
        }
        lines = [f"export {name}={shlex.quote(value)}" for name, value in environ.items()]
        run = shlex.quote(str(self.tree / "functions" / "chat" / "run.sh"))
        # Deployed code is compiled once, not at every start.
        lines = ["#!/bin/sh", "unset PYTHONDONTWRITEBYTECODE", *lines, f"exec sh {run}", ""]
        self.script.write_text("\n".join(lines))
        self.script.chmod(0o700)

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"The stores did not start; see {self.home / 'stack.log'}")
        return json.loads(line)

    def ask(self, command: str) -> dict[str, Any]:
        """`depth` of the queue or `check` of the books."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = self._read()
        return answer

    def cpu_s(self) -> dict[str, float]:
        return {name: cpu_s(pid) for name, pid in self.pids.items()}

    def target(self, name: str) -> Any:
        """This tree's gateway as a target of the shared harness."""
        targets = self._shared.targets
        environ = {
            "BENCH_UPSTREAM_KEY": targets.UPKEY,
            "PORT": str(self.port),
        }
        bearer = "Authorization: Bearer " + self.key
        return targets.Target(
            name, ["sh", str(self.script)], self.port, "0", env=environ, headers=(bearer,)
        )

    def plug_in(self) -> dict[str, str]:
        """The variables by which the shared harness takes us in as `ours`."""
        return {
            "BENCH_OURS_CMD": shlex.join(["sh", str(self.script)]),
            "BENCH_OURS_PORT": str(self.port),
            "BENCH_OURS_KEY": self.key,
            "BENCH_OURS_NOTE": "key auth, hold, settlement; stores and worker apart",
        }

    def __enter__(self) -> "Stack":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the stores and the worker."""
        assert self._process.stdin is not None
        self._process.stdin.close()  # the stack ends with its input
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._log.close()
