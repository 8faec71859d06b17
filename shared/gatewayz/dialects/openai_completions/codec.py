"""The legacy Completions protocol as a Dialect: between the wire and the internal form.

Answers always go through the form: a completion has nothing that the form does not keep.
"""

from gatewayz.dialects.codec import BothSides
from gatewayz.dialects.openai_chat.codec import read_error
from gatewayz.dialects.openai_chat.errors import encode_error
from gatewayz.dialects.openai_completions.read_answer import CompletionsDecoder, read_generation
from gatewayz.dialects.openai_completions.read_request import decode_request
from gatewayz.dialects.openai_completions.wire import NAME
from gatewayz.dialects.openai_completions.write_answer import (
    CompletionsEncoder,
    write_generation,
)
from gatewayz.dialects.openai_completions.write_request import QUIRKS, encode_request

OPENAI_COMPLETIONS = BothSides(
    NAME,
    read_request=lambda body, headers: decode_request(body),
    write_request=encode_request,
    read_answer=lambda raw, target, notes: read_generation(raw, target),
    write_answer=write_generation,
    read_stream=lambda target, notes, n: CompletionsDecoder(target, n=n),
    write_stream=CompletionsEncoder,
    read_error=read_error,
    write_error=lambda error, style, request_id: encode_error(
        error, style=style, request_id=request_id
    ),
    quirks=QUIRKS,
)
