"""One child of the local stack: `python -m gatewayz.local serve|work|sandbox|stripe HOME [FD]`.

Started by the supervisor only, which hands it its open socket and, by standard input, its
variables.
"""

import os
import signal
import socket
import sys
import threading
from time import sleep

import orjson

from gatewayz.core.settings import Settings, SettingsError, load_settings
from gatewayz.local.environment import adopt
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
    """Load the code, wait for the variables, begin."""
    from gatewayz.local import mount, serve

    if name == "work":
        work = serve.load_work()
        serve.run_work(_settings(), work)
        return
    assert listener is not None
    if name == "serve":
        functions = mount.mount_functions()
        serve.run_http(_settings(), functions, listener)
    elif name == "stripe":
        from gatewayz.local import standin

        module = standin.load_standin()
        serve.run_app(standin.make_app(module, _settings()), listener, grace_s=SANDBOX_GRACE_S)
    else:
        from gatewayz.local.sandbox import app

        _settings()
        serve.run_app(app, listener, grace_s=SANDBOX_GRACE_S)


def _settings() -> Settings:
    told = sys.stdin.buffer.read()
    if not told:
        sys.exit(0)  # the supervisor went before it had anything to say
    adopt(orjson.loads(told))
    return load_settings()


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
