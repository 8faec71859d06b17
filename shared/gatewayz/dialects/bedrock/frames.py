"""Binary frames of a stream → their headers and payloads, cut anywhere.

A frame is the lengths of itself and its headers, a CRC of those, headers, payload, a CRC of all.
No length is believed before its CRC was checked.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from zlib import crc32

# Both ends of the protocol allow no more.
MAX_FRAME_BYTES = 24 * 1024 * 1024
_LENGTHS = struct.Struct(">II")
_CRC = struct.Struct(">I")
_PRELUDE_BYTES = _LENGTHS.size + _CRC.size
_LEAST_BYTES = _PRELUDE_BYTES + _CRC.size
# Sizes of header values by type; texts and bytes name their own.
_FIXED_BYTES: Mapping[int, int] = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_BYTES, _TEXT = 6, 7


class FrameDamaged(ValueError):
    """These are no frames, or not those that were sent: nothing after here can be read."""


class Frame(NamedTuple):
    """`headers`: those whose values are texts."""

    headers: Mapping[str, str]
    payload: bytes


class FrameParser:
    """feed() every block; `waiting` tells whether half a frame is held."""

    __slots__ = ("_held", "_max_frame_bytes")

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._held = bytearray()
        self._max_frame_bytes = max_frame_bytes

    @property
    def waiting(self) -> bool:
        return bool(self._held)

    def feed(self, block: bytes) -> Iterator[Frame]:
        """All frames that are whole now; FrameDamaged after those that were good."""
        held = self._held
        held += block
        at = 0
        try:
            while len(held) - at >= _PRELUDE_BYTES:
                total_bytes, header_bytes = self._check_prelude(at)
                end = at + total_bytes
                if len(held) < end:
                    break
                body = bytes(held[at:end])
                at = end
                yield _read(body, header_bytes)
        finally:
            del held[:at]

    def _check_prelude(self, at: int) -> tuple[int, int]:
        held = self._held
        total_bytes, header_bytes = _LENGTHS.unpack_from(held, at)
        (crc,) = _CRC.unpack_from(held, at + _LENGTHS.size)
        if crc32(held[at : at + _LENGTHS.size]) != crc:
            raise FrameDamaged("the CRC of a frame's lengths is wrong")
        fits = _LEAST_BYTES + header_bytes <= total_bytes <= self._max_frame_bytes
        if not fits:
            raise FrameDamaged("a frame's lengths cannot be")
        return total_bytes, header_bytes


def _read(body: bytes, header_bytes: int) -> Frame:
    (crc,) = _CRC.unpack_from(body, len(body) - _CRC.size)
    if crc32(memoryview(body)[: -_CRC.size]) != crc:
        raise FrameDamaged("the CRC of a frame is wrong")
    begin = _PRELUDE_BYTES + header_bytes
    try:
        headers = dict(_headers(body[_PRELUDE_BYTES:begin]))
    except (IndexError, struct.error, UnicodeDecodeError, KeyError):
        raise FrameDamaged("the headers of a frame cannot be read") from None
    return Frame(headers, body[begin : -_CRC.size])


def _headers(raw: bytes) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(raw):
        begin = at + 1
        at = begin + raw[at]
        name, kind = raw[begin:at].decode(), raw[at]
        at += 1
        if kind in (_BYTES, _TEXT):
            (size,) = struct.unpack_from(">H", raw, at)
            at += 2
        else:
            size = _FIXED_BYTES[kind]
        if at + size > len(raw):
            raise IndexError
        if kind == _TEXT:
            yield name, raw[at : at + size].decode()
        at += size
