"""generateContent as a Dialect: both directions, between the wire and the internal form.

A client's model and method stand in its path: wire.read_path() and Call.body() put them into the
body that decode_request() takes.
"""

from gatewayz.dialects.codec import BothSides
from gatewayz.dialects.google.errors import decode_error, encode_error
from gatewayz.dialects.google.read_answer import read_generation
from gatewayz.dialects.google.read_request import decode_request
from gatewayz.dialects.google.read_stream import ChunkDecoder
from gatewayz.dialects.google.wire import NAME
from gatewayz.dialects.google.write_answer import write_generation
from gatewayz.dialects.google.write_request import QUIRKS, encode_request
from gatewayz.dialects.google.write_stream import ChunkEncoder
from gatewayz.dialects.parts import Audio, File, Image

GOOGLE = BothSides(
    NAME,
    read_request=lambda body, headers: decode_request(body),
    write_request=encode_request,
    read_answer=read_generation,
    write_answer=write_generation,
    read_stream=lambda target, notes, n: ChunkDecoder(target, notes, n=n),
    write_stream=ChunkEncoder,
    read_error=decode_error,
    write_error=lambda error, style, request_id: encode_error(error, request_id=request_id),
    quirks=QUIRKS,
    # Addresses are taken by the newest models only; for videos they mean a place of the provider's.
    bytes_only=(Image, File, Audio),
)
