"""A Completions request → the internal form: the prompt is what a user says."""

from dataclasses import replace
from typing import Any

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects import checks
from gatewayz.dialects.checks import wrong
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.gateway_fields import ignored, stays_here
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.openai_chat.request import (
    MAX_CHOICES,
    MAX_STOPS,
    MAX_USER_CHARS,
)
from gatewayz.dialects.openai_completions.wire import (
    BEST_OF,
    ECHO,
    LOGPROBS,
    NAME,
    PROMPTS,
    SUFFIX,
    TOKENS,
)
from gatewayz.dialects.parts import Message, Opaque, Part, Text

_READ = frozenset(
    {
        "model", "prompt", "suffix", "max_tokens", "temperature", "top_p", "top_k", "n", "stream",
        "stream_options", "logprobs", "echo", "stop", "presence_penalty", "frequency_penalty",
        "best_of", "logit_bias", "user", "seed",
    }
)  # fmt: skip
MAX_LOGPROBS = 20
MAX_PROMPTS = 64
_PARAMS = {PROMPTS: "prompt", TOKENS: "prompt"}
_WORDS = {
    PROMPTS: "Several prompts in one request are not supported",
    TOKENS: "Prompts of token ids are not supported",
}


def decode_request(body: JsonObject) -> GenerationRequest:
    """InvalidRequest names the field that is wrong. `n` counts the answers to all prompts."""
    model = checks.text(body, "model")
    if not model:
        raise wrong("model", "must be a non-empty string")
    prompt, prompts = _read_prompt(body.get("prompt"))
    each = checks.integer(body, "n", low=1, high=MAX_CHOICES) or 1
    stream = bool(checks.flag(body, "stream"))
    options = checks.table(body, "stream_options") or {}
    include_usage = bool(checks.flag(options, "include_usage", "stream_options."))
    return GenerationRequest(
        dialect=NAME,
        model=model,
        messages=(Message("user", (prompt, *_read_promises(body, each))),),
        max_output_tokens=checks.integer(body, "max_tokens", low=1),
        temperature=checks.number(body, "temperature", low=0, high=2),
        top_p=checks.number(body, "top_p", low=0, high=1),
        top_k=checks.integer(body, "top_k", low=-1),
        stop=_read_stop(body.get("stop")),
        seed=checks.integer(body, "seed", low=-(2**63), high=2**63 - 1),
        n=each * prompts,
        presence_penalty=checks.number(body, "presence_penalty", low=-2, high=2),
        frequency_penalty=checks.number(body, "frequency_penalty", low=-2, high=2),
        logit_bias=checks.table(body, "logit_bias"),
        stream=stream,
        include_usage=include_usage,
        user=checks.text(body, "user", most=MAX_USER_CHARS),
        session=checks.text(body, "session_id", most=256),
        extras={
            name: value
            for name, value in body.items()
            if name not in _READ and value is not None and not stays_here(name)
        },
        ignored=ignored(body),
    )


def candidates(request: GenerationRequest) -> int:
    """How many answers are written, and billed, whether they are shown or not (F53)."""
    prompt, *asked = request.messages[0].parts
    counts = [
        part.raw[BEST_OF] for part in asked if isinstance(part, Opaque) and part.kind == BEST_OF
    ]
    if not counts:
        return request.n
    several = prompt.raw[prompt.kind] if isinstance(prompt, Opaque) else [prompt]
    return int(counts[0]) * len(several)


def for_chat(request: GenerationRequest) -> GenerationRequest:
    """The request as a chat can answer it; InvalidRequest, in the caller's words, for what only
    targets of this dialect can do."""
    parts: list[Part] = []
    logprobs: int | None = None
    for part in request.messages[0].parts:
        if isinstance(part, Opaque) and part.kind == LOGPROBS:
            logprobs = part.raw[LOGPROBS]
        elif isinstance(part, Opaque):
            param = _PARAMS.get(part.kind, part.kind)
            words = _WORDS.get(part.kind, f"'{part.kind}' is not supported")
            raise InvalidRequest(
                f"{words} by providers that answer chat only, as this model's do.",
                param=param,
                code="unsupported_parameter",
            )
        else:
            parts.append(part)
    if logprobs is None:
        return request
    messages = (replace(request.messages[0], parts=tuple(parts)),)
    return replace(request, messages=messages, logprobs=True, top_logprobs=logprobs or None)


def prompts(request: GenerationRequest) -> tuple[GenerationRequest, ...]:
    """The same for each prompt of several."""
    prompt, *promises = request.messages[0].parts
    if not isinstance(prompt, Opaque) or prompt.kind not in (PROMPTS, TOKENS):
        return (request,)
    each = [
        Text(one) if prompt.kind == PROMPTS else Opaque(NAME, {"type": TOKENS, TOKENS: [one]})
        for one in prompt.raw[prompt.kind]
    ]
    return tuple(
        replace(request, messages=(Message("user", (one, *promises)),), n=request.n // len(each))
        for one in each
    )


def _read_prompt(prompt: Any) -> tuple[Part, int]:
    """The prompt and how many it is."""
    if type(prompt) is str:
        return Text(prompt), 1
    if type(prompt) is not list or not prompt:
        raise wrong("prompt", "must be a string, an array of strings or an array of token ids")
    kinds = {type(item) for item in prompt}
    if kinds == {int}:
        return Opaque(NAME, {"type": TOKENS, TOKENS: [prompt]}), 1
    if len(prompt) > MAX_PROMPTS:
        raise wrong("prompt", f"must have at most {MAX_PROMPTS} entries")
    if kinds == {str}:
        if len(prompt) == 1:
            return Text(prompt[0]), 1
        return Opaque(NAME, {"type": PROMPTS, PROMPTS: prompt}), len(prompt)
    if kinds == {list} and all(p and {type(token) for token in p} == {int} for p in prompt):
        return Opaque(NAME, {"type": TOKENS, TOKENS: prompt}), len(prompt)
    raise wrong("prompt", "must be a string, an array of strings or an array of token ids")


def _read_promises(body: JsonObject, each: int) -> list[Part]:
    """What only targets of this dialect can do, unless it is what all do anyway."""
    best = checks.integer(body, BEST_OF, low=1, high=MAX_CHOICES)
    if best is not None and best < each:
        raise wrong(BEST_OF, "must not be less than n")
    asked = {
        SUFFIX: checks.text(body, SUFFIX) or None,
        ECHO: checks.flag(body, ECHO) or None,
        BEST_OF: best if best != each else None,
        LOGPROBS: checks.integer(body, LOGPROBS, high=MAX_LOGPROBS),
    }
    return [
        Opaque(NAME, {"type": name, name: value})
        for name, value in asked.items()
        if value is not None
    ]


def _read_stop(stop: Any) -> tuple[str, ...]:
    if type(stop) is str:
        return (stop,)
    return checks.texts({"stop": stop}, "stop", most=MAX_STOPS)
