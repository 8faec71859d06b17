"""A Messages request for a provider of the same dialect: the caller's body with what is ours.

Only the model, the token limit and the provider's own rules change it. A body that holds thoughts
of another provider is written anew from the internal form, so that none of them gets there.
"""

from gatewayz.dialects.anthropic.hosts import address, address_count
from gatewayz.dialects.anthropic.wire import FAMILY
from gatewayz.dialects.anthropic.write_request import encode_request
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.gateway_fields import stays_here
from gatewayz.dialects.generation import GenerationRequest
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
    sent["model"] = target.native_id
    sent["max_tokens"] = request.max_output_tokens
    dropped = (*request.ignored, *apply_rules(sent, target))
    return address(sent, request, target, dropped=dropped)


def forward_count(body: JsonObject, request: GenerationRequest, target: Target) -> HttpRequest:
    """The same for a count of the prompt's tokens."""
    sent = {name: value for name, value in body.items() if not stays_here(name)}
    return address_count({**sent, "model": target.native_id}, request)


def _has_foreign_thought(request: GenerationRequest) -> bool:
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, Thinking | RedactedThinking):
                if part.origin != FAMILY:
                    return True
            elif isinstance(part, ToolCall) and part.signature is not None:
                return True
    return False
