"""The Cohere chat protocol as an Upstream: the provider's side, whole answers and streams."""

from gatewayz.dialects.codec import ProviderSide
from gatewayz.dialects.cohere.errors import decode_error
from gatewayz.dialects.cohere.read_answer import read_generation
from gatewayz.dialects.cohere.read_stream import CohereDecoder
from gatewayz.dialects.cohere.wire import NAME
from gatewayz.dialects.cohere.write_request import QUIRKS, encode_request
from gatewayz.dialects.parts import File

COHERE = ProviderSide(
    NAME,
    write_request=encode_request,
    read_answer=read_generation,
    read_stream=lambda target, notes, n: CohereDecoder(target, notes),
    read_error=decode_error,
    quirks=QUIRKS,
    bytes_only=(File,),
)
