"""The folder of the local stack: data, secrets, logs, and what is running from it.

Guarantees that only its owner can read it and that one stack at a time uses it.
"""

import base64
import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from gatewayz.core.settings import Settings
from gatewayz.local import files
from gatewayz.local.errors import LocalError

MAX_LOG_BYTES = 10 * 1024 * 1024
HOME_NAME = ".gatewayz"
CHECKOUT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Running:
    """What a running stack says about itself: its address and its children's variables.

    Of the providers: the names of the credentials it has, and the operator's file.
    """

    url: str
    environment: Mapping[str, str]
    credentials: tuple[str, ...] = ()
    providers_file: str = ""


@dataclass(frozen=True, slots=True)
class Home:
    path: Path

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def key_file(self) -> Path:
        return self.path / "key"

    def prepare(self) -> None:
        """Make the folders; a home inside a work tree hides itself from it."""
        files.make_folder(self.path)
        self.path.chmod(0o700)
        files.make_folder(self.logs)
        (self.path / ".gitignore").write_text("*\n")

    def secret(self, name: str) -> str:
        return files.keep_secret(self.path / name)

    def ring(self) -> str:
        """The ring that seals provider keys here (accounts/sealing.py), made of a kept secret."""
        key = hashlib.sha256(self.secret("ring").encode()).digest()
        return f"1:{base64.b64encode(key).decode()}"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the home; LocalError while another stack does. A killed holder holds nothing."""
        try:
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise LocalError(files.explain(error, self.path)) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(lock, 32, 0).decode() or "unknown"
            os.close(lock)
            running = self.running()
            where = f" at {running.url}" if running else ""
            raise LocalError(
                f"Gatewayz already runs from {self.path} (process {holder}){where}; stop it"
                " first, or set GATEWAYZ_HOME and PORT for a second one."
            ) from None
        try:
            os.truncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
            yield
        finally:
            (self.path / "running.json").unlink(missing_ok=True)
            os.close(lock)

    def note(self, running: Running) -> None:
        """Leave word for the other commands; it holds secrets, as the folder does."""
        said = {
            "url": running.url,
            "environment": dict(running.environment),
            "credentials": running.credentials,
            "providers_file": running.providers_file,
        }
        files.write_private(self.path / "running.json", orjson.dumps(said).decode())

    def running(self) -> Running | None:
        """The stack that runs from this home now, if one does."""
        try:
            said: dict[str, Any] = orjson.loads((self.path / "running.json").read_bytes())
            with open(self.path / "lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None  # nobody holds the home: the note is of a stack that was killed
        except BlockingIOError:
            return Running(
                said["url"],
                said["environment"],
                tuple(said.get("credentials", ())),
                said.get("providers_file", ""),
            )
        except (OSError, orjson.JSONDecodeError):
            return None

    @classmethod
    def of(cls, settings: Settings) -> "Home":
        """The home that is set; from a folder without one, that of this checkout if it has one."""
        checkout = CHECKOUT / settings.home
        if not settings.home_path.exists() and settings.home == HOME_NAME and checkout.exists():
            return cls(checkout)
        return cls(settings.home_path)

    def log_file(self, name: str) -> Path:
        """Where a child writes; begun anew when it has grown large."""
        log = self.logs / f"{name}.log"
        with contextlib.suppress(OSError):
            if log.stat().st_size > MAX_LOG_BYTES:
                log.replace(log.with_suffix(".log.old"))
        return log
