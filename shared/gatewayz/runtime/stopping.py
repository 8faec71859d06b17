"""Tells the application that SIGTERM came, before the server acts on it (D38)."""

import signal
import threading
from collections.abc import Callable
from types import FrameType


def on_stop(callback: Callable[[], None]) -> None:
    """Run `callback` at SIGTERM or SIGINT, then whatever handler the server had installed.

    Call it once the server runs. Outside the main thread, and where nobody handles the signal,
    nothing is installed: the platform's own end is then the only one.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)
        if not callable(before):
            continue

        def handle(
            received: int,
            frame: FrameType | None,
            before: Callable[[int, FrameType | None], object] = before,
        ) -> None:
            callback()
            before(received, frame)

        signal.signal(number, handle)
