"""A Responses request for a provider of the same dialect: the caller's body with what is ours.

Only the model, the token limit, that nothing is stored and the provider's own rules change it. A
body that holds thoughts of another provider is written anew from the internal form.
"""

import orjson

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.gateway_fields import stays_here
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.openai_responses.wire import FAMILY, PATH
from gatewayz.dialects.openai_responses.write_request import encode_request
from gatewayz.dialects.parts import RedactedThinking, Thinking, ToolCall
from gatewayz.dialects.protocol import HttpRequest
from gatewayz.dialects.rules import apply_rules


def passes(target: Target) -> bool:
    """Whether bytes may go through: signatures of other families must be told apart later."""
    return target.family in ("", FAMILY)


def forward_request(body: JsonObject, request: GenerationRequest, target: Target) -> HttpRequest:
    """`request` is what `body` was read into, with our token limit in it."""
    if _has_foreign_thought(request):
        return encode_request(request, target)
    sent = {name: value for name, value in body.items() if not stays_here(name)}
    sent["model"], sent["store"] = target.native_id, False
    if request.max_output_tokens is not None:
        sent["max_output_tokens"] = request.max_output_tokens
    dropped = (*request.ignored, *apply_rules(sent, target))
    try:
        raw = orjson.dumps(sent)
    except TypeError:
        raise InvalidRequest("The request body cannot be written as JSON.") from None
    return HttpRequest(PATH, raw, dropped=dropped)


def _has_foreign_thought(request: GenerationRequest) -> bool:
    """Thoughts without a signature count: nothing was stored that their ids could mean."""
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, Thinking | RedactedThinking):
                if part.origin != FAMILY:
                    return True
            elif isinstance(part, ToolCall) and part.signature is not None:
                return True
    return False
