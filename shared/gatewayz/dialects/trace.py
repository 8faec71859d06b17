"""Where an answer of any dialect tells how it was routed: one more field of its JSON, on request.

Pure. Works on finished bytes, so that nobody who does not ask pays for it.
"""

from collections.abc import Mapping

# Header that asks → the field that answers.
TRACE_FIELDS: Mapping[bytes, str] = {
    b"x-openrouter-metadata": "openrouter_metadata",
    b"x-openrouter-experimental-metadata": "openrouter_metadata",
    b"x-gatewayz-trace": "gatewayz_trace",
}
_DATA = b"data: {"


def with_field(body: bytes, name: str, value: bytes) -> bytes:
    """A JSON object with one more field; anything else as it was. `value` is JSON."""
    end = body.rstrip()
    if not (end.startswith(b"{") and end.endswith(b"}")):
        return body
    comma = b"" if end[1:-1].strip() == b"" else b","
    return b"".join([end[:-1], comma, b'"', name.encode(), b'":', value, b"}"])


def with_frame_field(last: bytes, name: str, value: bytes) -> bytes:
    """The last bytes of an event stream with one more field in their last JSON frame; a frame of
    its own before the end when they have none."""
    start = last.rfind(_DATA)
    if start < 0:
        own = b'data: {"choices":[],"' + name.encode() + b'":' + value + b"}\n\n"
        return own + last if last.startswith(b"data:") else last
    stop = last.find(b"\n", start)
    stop = len(last) if stop < 0 else stop
    frame = with_field(last[start + len(b"data: ") : stop].rstrip(b"\r"), name, value)
    return last[: start + len(b"data: ")] + frame + last[stop:]
