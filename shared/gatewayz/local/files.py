"""Small files of the home: folders and secrets that only their owner reads, remembered ports."""

import contextlib
import errno
import os
import secrets
import socket
from pathlib import Path

from gatewayz.local.errors import LocalError
from gatewayz.local.process import LOOPBACK

SECRET_BYTES = 24


def make_folder(folder: Path) -> None:
    """A folder that only its owner enters."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise LocalError(explain(error, folder)) from None


def keep_secret(file: Path) -> str:
    """The secret kept in a file; made at the first call, and never replaced."""
    try:
        if secret := file.read_text().strip():
            return secret
    except FileNotFoundError:
        pass
    except OSError as error:
        raise LocalError(f"Cannot read {file}: {(error.strerror or '').lower()}") from None
    secret = secrets.token_hex(SECRET_BYTES)
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


def explain(error: OSError, path: Path) -> str:
    """One line about a file that could not be written."""
    reason = (error.strerror or str(error)).lower()
    return f"Cannot write {path}: {reason}. Set GATEWAYZ_HOME to a folder of your own."


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
        except (OSError, OverflowError):
            return False
    return True
