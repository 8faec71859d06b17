"""The internal form → a Completions request for a provider, and a caller's own on its way there."""

from typing import Any

import orjson

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.gateway_fields import stays_here
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.losses import Losses
from gatewayz.dialects.openai_completions.wire import NAME, PATH, PROMISES, PROMPTS, TOKENS
from gatewayz.dialects.parts import Opaque, Text
from gatewayz.dialects.protocol import HttpRequest
from gatewayz.dialects.rules import apply_rules

TOP_K = "top_k"
QUIRKS = frozenset({TOP_K})
_FIELDS = (
    "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "logit_bias", "user",
)  # fmt: skip


class _Writer:
    def __init__(self, request: GenerationRequest, target: Target) -> None:
        self.request = request
        self.target = target
        self.losses = Losses(request)
        self.own = request.dialect == NAME

    def write(self) -> HttpRequest:
        request, target = self.request, self.target
        body: JsonObject = {"model": target.native_id}
        prompts = self._write_prompt(body)
        for name in _FIELDS:
            if (value := getattr(request, name)) is not None:
                body[name] = value
        taken = {*_FIELDS, "max_output_tokens", "stop", "n"}
        if request.max_output_tokens is not None:
            body["max_tokens"] = request.max_output_tokens
        if request.stop:
            body["stop"] = list(request.stop)
        if request.n != prompts:
            body["n"] = request.n // prompts
        if request.top_k is not None and (self.own or TOP_K in target.quirks):
            body["top_k"] = request.top_k
            taken.add("top_k")
        if request.logprobs:
            body["logprobs"] = request.top_logprobs or 0
            taken |= {"logprobs", "top_logprobs"}
        _write_stream(body, request, target)
        if self.own:
            body.update(request.extras)
        else:
            self.losses.leave_extras(request.extras)
        self.losses.leave(taken)
        self.losses.rules(body, target, own=self.own)
        return HttpRequest(PATH, _dump(body), dropped=self.losses.names)

    def _write_prompt(self, body: JsonObject) -> int:
        """The number of prompts."""
        messages = self.request.messages
        if len(messages) != 1 or messages[0].role != "user":
            what = "Only a single prompt of a user is supported, no conversation."
            raise self.losses.refuse("messages", what)
        texts: list[str] = []
        prompt: Any = None
        count = 1
        for index, part in enumerate(messages[0].parts):
            match part:
                case Text():
                    texts.append(part.text)
                case Opaque(dialect, raw) if dialect == NAME and part.kind in PROMISES:
                    body[part.kind] = raw[part.kind]
                case Opaque(dialect, raw) if dialect == NAME and part.kind in (PROMPTS, TOKENS):
                    prompt = raw[part.kind]
                    count = len(prompt)
                case _:
                    kind = part.kind if isinstance(part, Opaque) else type(part).__name__.lower()
                    where = f"messages[0].content[{index}]"
                    raise self.losses.refuse(where, f"A part of type '{kind}' is not supported.")
        body["prompt"] = "".join(texts) if prompt is None else prompt
        if count == 1 and prompt is not None:
            body["prompt"] = prompt[0]
        return count


def _write_stream(body: JsonObject, request: GenerationRequest, target: Target) -> None:
    if not request.stream:
        return
    body["stream"] = True
    if target.stream_usage == "stream_options":
        body["stream_options"] = {"include_usage": True}


def _dump(body: JsonObject) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        raise InvalidRequest("The request body cannot be written as JSON.") from None


def encode_request(request: GenerationRequest, target: Target) -> HttpRequest:
    return _Writer(request, target).write()


def forward_request(body: JsonObject, request: GenerationRequest, target: Target) -> HttpRequest:
    """A caller's own body for a provider of the same dialect. `request` is what it was read into,
    with our token limit in it."""
    sent = {
        name: value
        for name, value in body.items()
        if not stays_here(name) and name != "stream_options"
    }
    sent["model"] = target.native_id
    if request.max_output_tokens is not None:
        sent["max_tokens"] = request.max_output_tokens
    _write_stream(sent, request, target)
    dropped = (*request.ignored, *apply_rules(sent, target))
    return HttpRequest(PATH, _dump(sent), dropped=dropped)
