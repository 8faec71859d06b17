"""The Messages protocol as a Dialect: both directions, between the wire and the internal form."""

from gatewayz.dialects.anthropic.errors import decode_error, encode_error
from gatewayz.dialects.anthropic.read_answer import read_generation
from gatewayz.dialects.anthropic.read_request import decode_request
from gatewayz.dialects.anthropic.read_stream import MessagesDecoder
from gatewayz.dialects.anthropic.wire import NAME
from gatewayz.dialects.anthropic.write_answer import write_generation
from gatewayz.dialects.anthropic.write_request import QUIRKS, encode_request
from gatewayz.dialects.anthropic.write_stream import MessagesEncoder
from gatewayz.dialects.codec import BothSides

ANTHROPIC = BothSides(
    NAME,
    read_request=decode_request,
    write_request=encode_request,
    read_answer=read_generation,
    write_answer=write_generation,
    read_stream=lambda target, notes, n: MessagesDecoder(target, notes),
    write_stream=MessagesEncoder,
    read_error=decode_error,
    write_error=lambda error, style, request_id: encode_error(error, request_id=request_id),
    quirks=QUIRKS,
)
