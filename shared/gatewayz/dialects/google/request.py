"""A request for a provider of the same dialect: the caller's body with what is ours.

Only the token limit and the provider's own rules change it; the model stands in the path. A body
with thoughts of another provider is written anew from the internal form, so that none gets there.
"""

from gatewayz.dialects import checks
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.google.read_request import CONFIG
from gatewayz.dialects.google.wire import FAMILY, belongs_here, camel, write_path
from gatewayz.dialects.google.write_request import apply_body_rules, dump, encode_request
from gatewayz.dialects.parts import Part, RedactedThinking, Thinking
from gatewayz.dialects.protocol import HttpRequest

_OURS = ("model", "stream", "generationConfig")


def passes(target: Target) -> bool:
    """Whether bytes may go through: signatures of other families must be told apart later."""
    return target.family in ("", FAMILY)


def forward_request(body: JsonObject, request: GenerationRequest, target: Target) -> HttpRequest:
    """`request` is what `body` was read into, with our token limit in it."""
    if any(_is_foreign(part) for message in request.messages for part in message.parts):
        return encode_request(request, target)
    body = camel(body)
    config = dict(camel(checks.table(body, "generationConfig") or {}, CONFIG))
    if request.max_output_tokens is not None:
        config["maxOutputTokens"] = request.max_output_tokens
    sent = {
        name: value for name, value in body.items() if name not in _OURS and not belongs_here(name)
    }
    dropped = (*request.ignored, *apply_body_rules(sent, config, target))
    method = "streamGenerateContent" if request.stream else "generateContent"
    return HttpRequest(write_path(target, method), dump(sent), dropped=dropped)


def _is_foreign(part: Part) -> bool:
    """Whether it carries what this gateway sealed."""
    if isinstance(part, Thinking | RedactedThinking) and part.id is not None:
        return True
    return getattr(part, "origin", "") not in ("", FAMILY)
