"""`serve --all`: the HTTP side and the work side in one container, as two processes (D52)."""

import signal
import sys
from threading import Event

from gatewayz.core.checks import check_serving
from gatewayz.core.settings import Settings
from gatewayz.local import process
from gatewayz.local.address import base_url, listen
from gatewayz.local.supervisor import Child, Supervisor

WATCH_S = 0.25


def run_all(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; LocalError when one side keeps falling."""
    check_serving(settings)
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    children = Supervisor(_say)
    with listen(settings.http.host, settings.http.port) as listener:
        fd = listener.fileno()
        stop_s = settings.http.stop_grace_s + process.STOP_S
        try:
            children.start(Child("serve", ["-", str(fd)], pass_fds=(fd,), stop_s=stop_s))
            children.start(Child("work", ["-"]))
            # Their variables are our own, which they inherit, and the port that was asked for.
            children.begin({"PORT": str(settings.http.port)})
            _say(f"Gatewayz serves {base_url(settings)}")
            while not stopping.wait(WATCH_S):
                children.watch()
        finally:
            children.stop()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
