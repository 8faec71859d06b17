"""Where the gateway listens and where a client on this machine finds it."""

import errno
import socket

from gatewayz.core.settings import Settings
from gatewayz.local.errors import LocalError
from gatewayz.local.process import LOOPBACK

ANY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound to
BACKLOG = 2048


def base_url(settings: Settings) -> str:
    """The origin for a client on this machine, without a path."""
    host = LOOPBACK if settings.http.host in ANY_ADDRESS else settings.http.host
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{settings.http.port}"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, or one line about why not."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        number = error.errno if isinstance(error, OSError) else None
        if number == errno.EADDRINUSE:
            message = f"Port {port} is busy: stop what uses it, or choose another with PORT=8001."
        elif number == errno.EACCES:
            message = f"Port {port} needs more rights: choose one above 1024 with PORT=8000."
        else:
            message = f"Cannot listen on {host}:{port}: {error}"
        raise LocalError(message) from None
    return listener
