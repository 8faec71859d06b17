"""One child of the local stack: `python -m gatewayz.local serve|work|sandbox HOME [FD]`.

Started by the supervisor only, which gives it its variables and its open socket.
"""

import os
import signal
import socket
import sys
import threading
from time import sleep

from gatewayz.core.settings import SettingsError, load_settings
from gatewayz.local.errors import LocalError

ORPHAN_CHECK_S = 1.0
SANDBOX_GRACE_S = 1.0


def main() -> int:
    _die_with_parent()
    name, fds = sys.argv[1], [int(text) for text in sys.argv[3:]]
    # SIGTERM before the server listens for it must not look like a crash.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        _run(name, socket.socket(fileno=fds[0]) if fds else None)
    except (LocalError, SettingsError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0


def _run(name: str, listener: socket.socket | None) -> None:
    settings = load_settings()
    if name == "work":
        from gatewayz.local.serve import run_work

        run_work(settings)
        return
    assert listener is not None
    from gatewayz.local.serve import run_app, run_http

    if name == "serve":
        run_http(settings, listener)
    else:
        from gatewayz.local.sandbox import app

        run_app(app, listener, grace_s=SANDBOX_GRACE_S)


def _die_with_parent() -> None:
    """Where the kernel does not tell us (not Linux), look for ourselves."""
    if sys.platform == "linux":
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            sleep(ORPHAN_CHECK_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
