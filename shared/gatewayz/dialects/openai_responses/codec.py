"""The Responses protocol as a Dialect: both directions, between the wire and the internal form.

A reply made by shell.with_echo() repeats the request's settings in its answer.
"""

from gatewayz.dialects.codec import BothSides
from gatewayz.dialects.openai_chat.errors import encode_error
from gatewayz.dialects.openai_responses.errors import decode_error
from gatewayz.dialects.openai_responses.read_answer import read_generation
from gatewayz.dialects.openai_responses.read_request import decode_request
from gatewayz.dialects.openai_responses.read_stream import ResponsesDecoder
from gatewayz.dialects.openai_responses.wire import NAME
from gatewayz.dialects.openai_responses.write_answer import write_generation
from gatewayz.dialects.openai_responses.write_request import QUIRKS, encode_request
from gatewayz.dialects.openai_responses.write_stream import ResponsesEncoder

OPENAI_RESPONSES = BothSides(
    NAME,
    read_request=lambda body, headers: decode_request(body),
    write_request=encode_request,
    read_answer=read_generation,
    write_answer=write_generation,
    read_stream=lambda target, notes, n: ResponsesDecoder(target, notes),
    write_stream=ResponsesEncoder,
    read_error=decode_error,
    write_error=lambda error, style, request_id: encode_error(
        error, style=style, request_id=request_id
    ),
    quirks=QUIRKS,
)
