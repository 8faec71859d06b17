"""The Converse protocol as an Upstream: the provider's side, whole answers and binary streams."""

from gatewayz.dialects.bedrock.errors import decode_error
from gatewayz.dialects.bedrock.read_answer import read_generation
from gatewayz.dialects.bedrock.read_stream import ConverseDecoder
from gatewayz.dialects.bedrock.wire import NAME
from gatewayz.dialects.bedrock.write_request import QUIRKS, encode_request
from gatewayz.dialects.codec import ProviderSide
from gatewayz.dialects.parts import Audio, File, Image, Video

BEDROCK = ProviderSide(
    NAME,
    write_request=encode_request,
    read_answer=read_generation,
    read_stream=lambda target, notes, n: ConverseDecoder(target, notes),
    read_error=decode_error,
    quirks=QUIRKS,
    bytes_only=(Image, File, Audio, Video),
)
