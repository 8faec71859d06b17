"""A stream as one JSON array: what a client gets that does not ask for server-sent events.

Blanks between the chunks keep the connection alive. The array is closed after a failure too, whose
last element is the error.
"""

from gatewayz.core.errors import GatewayError
from gatewayz.dialects.form import UsageReport
from gatewayz.dialects.translated import TranslatedStream

ARRAY_KEEPALIVE = b"\n"
ARRAY_TYPE = "application/json; charset=UTF-8"
_DATA = b"data: "
_END = b"\n]\n"


class ArrayStream(TranslatedStream):
    """Frames of this dialect's encoders, set into an array. The surface of TranslatedStream."""

    _opened = False

    def feed(self, block: bytes) -> bytes:
        return self._set(super().feed(block))

    def end(self) -> bytes:
        return self._set(super().end())

    def close(self, report: UsageReport, *, finish: str | None = None) -> bytes:
        return self._set(super().close(report, finish=finish)) + _END

    def fail(self, error: GatewayError) -> bytes:
        return self._set(super().fail(error)) + _END

    def _set(self, frames: bytes) -> bytes:
        out = _elements(frames, opened=self._opened)
        self._opened = self._opened or bool(out)
        return out


def array_of(frames: bytes) -> bytes:
    """A whole array of these frames."""
    return _elements(frames, opened=False) + _END


def _elements(frames: bytes, *, opened: bool) -> bytes:
    """No frame has a line break within."""
    out: list[bytes] = []
    for line in frames.split(b"\n"):
        if line.startswith(_DATA):
            out += (b",\n" if opened or out else b"[", line[len(_DATA) :])
    return b"".join(out)
