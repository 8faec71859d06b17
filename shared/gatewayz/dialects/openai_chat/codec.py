"""Chat completions as a Dialect: both directions, between the wire and the internal form."""

from collections.abc import Mapping

from gatewayz.core.errors import UpstreamError
from gatewayz.dialects.codec import BothSides
from gatewayz.dialects.form import Target
from gatewayz.dialects.openai_chat.errors import decode_error, encode_error
from gatewayz.dialects.openai_chat.read_answer import read_generation
from gatewayz.dialects.openai_chat.read_message import NAME
from gatewayz.dialects.openai_chat.read_request import decode_request
from gatewayz.dialects.openai_chat.read_stream import ChatDecoder
from gatewayz.dialects.openai_chat.write_answer import write_generation
from gatewayz.dialects.openai_chat.write_request import QUIRKS, encode_request
from gatewayz.dialects.openai_chat.write_stream import ChatEncoder
from gatewayz.dialects.parts import File


def read_error(
    target: Target, status: int, headers: Mapping[str, str], body: bytes
) -> UpstreamError:
    return decode_error(target.provider, status, headers, body, target.errors)


OPENAI_CHAT = BothSides(
    NAME,
    read_request=lambda body, headers: decode_request(body),
    write_request=encode_request,
    read_answer=read_generation,
    write_answer=write_generation,
    read_stream=lambda target, notes, n: ChatDecoder(target, n=n),
    write_stream=ChatEncoder,
    read_error=read_error,
    write_error=lambda error, style, request_id: encode_error(
        error, style=style, request_id=request_id
    ),
    quirks=QUIRKS,
    bytes_only=(File,),
)
