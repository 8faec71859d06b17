"""Keeps child processes running: starts them, starts again what fell, stops them in order.

Guarantees that no child outlives the supervisor and that a child which cannot live is reported
with its own last words.
"""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGTERM

import orjson

from gatewayz.core import clock
from gatewayz.local import process
from gatewayz.local.errors import LocalError

# A child that falls this often within the window will not be helped by another start.
MAX_FALLS = 5
FALLS_WINDOW_S = 60.0


@dataclass(slots=True)
class Child:
    """One process of `gatewayz.local`; without a log it writes to our terminal.

    It loads its code at once and begins when it is told its variables, by standard input: so
    the gateway loads while the stores start, and no secret stands in a list of processes.
    """

    name: str
    arguments: list[str]
    log: Path | None = None
    variables: Mapping[str, str] | None = None
    pass_fds: tuple[int, ...] = ()
    stop_s: float = process.STOP_S
    running: "subprocess.Popen[bytes] | None" = None
    falls_at_s: list[float] = field(default_factory=list)

    def start(self) -> None:
        out = open(self.log, "ab") if self.log else None  # noqa: SIM115 - closed below
        try:
            self.running = subprocess.Popen(
                [sys.executable, "-m", "gatewayz.local", self.name, *self.arguments],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                pass_fds=self.pass_fds,
                # Ctrl-C reaches the supervisor alone, which stops its children in order.
                start_new_session=True,
                preexec_fn=process.die_with_parent(SIGTERM),
            )
        except OSError as error:
            raise LocalError(f"Cannot start {self.name}: {error}") from None
        finally:
            if out is not None:
                out.close()
        if self.variables is not None:
            self.begin(self.variables)

    def begin(self, variables: Mapping[str, str]) -> None:
        """Tell the child its variables; it keeps them over a fall."""
        self.variables = variables
        if self.running is not None and self.running.stdin is not None:
            with contextlib.suppress(BrokenPipeError), self.running.stdin as told:
                told.write(orjson.dumps(dict(variables)))

    def stop(self) -> None:
        if self.running is not None:
            process.stop(self.running, SIGTERM, timeout_s=self.stop_s)

    @property
    def fallen(self) -> bool:
        return self.running is not None and self.running.poll() is not None

    def last_words(self) -> str:
        return process.last_line(self.log) if self.log else "see above"


class Supervisor:
    """Children in the order in which they start; they stop in that order too."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._children: list[Child] = []

    def start(self, child: Child) -> None:
        child.start()
        self._children.append(child)

    def begin(self, variables: Mapping[str, str]) -> None:
        for child in self._children:
            child.begin(variables)

    def check_alive(self) -> None:
        """LocalError when a child has fallen: used while starting, when none may."""
        for child in self._children:
            if child.fallen:
                raise LocalError(f"{child.name} does not start: {child.last_words()}")

    def watch(self) -> None:
        """Start again what has fallen; LocalError when one falls again and again."""
        now_s = clock.monotonic_s()
        for child in self._children:
            if not child.fallen:
                continue
            recent = [at_s for at_s in child.falls_at_s if now_s - at_s < FALLS_WINDOW_S]
            child.falls_at_s = [*recent, now_s]
            if len(child.falls_at_s) >= MAX_FALLS:
                raise LocalError(f"{child.name} keeps falling: {child.last_words()}")
            self._say(f"{child.name} fell and is started again: {child.last_words()}")
            child.start()

    def stop(self) -> None:
        for child in self._children:
            child.stop()
