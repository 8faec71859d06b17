"""Whole chat completions: reads what a provider answered, writes what the client gets.

Only id, model, usage and provider are ours; everything else of the answer travels. Anything that
is no completion raises before a caller sees it (F33, F37).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from gatewayz.core.errors import UpstreamBroken
from gatewayz.dialects.form import JsonObject, Style, UsageReport
from gatewayz.dialects.openai_chat.errors import decode_error_object, refuses
from gatewayz.dialects.openai_chat.frames import created_s
from gatewayz.dialects.openai_chat.mend import (
    FAILED_REASONS,
    mend_finish,
    mend_message,
    mend_reasoning,
)
from gatewayz.dialects.openai_chat.meter import OutputMeter
from gatewayz.dialects.openai_chat.usage import encode_usage, find_cost, find_usage, read_usage
from gatewayz.pricing.usage import Usage

NO_COMPLETION = "The provider's answer is no chat completion."


class Answer(NamedTuple):
    """A decoded completion. `usage` is the upstream's, raw; `stated_cost` its own price in USD.

    `empty`: neither content nor a finish reason nor counted output (D20: no charge).
    """

    body: JsonObject
    usage: JsonObject | None
    stated_cost: float | None
    finish: str | None
    paths: Mapping[str, str]
    meter: OutputMeter
    empty: bool

    @property
    def output_tokens_estimate(self) -> int:
        return self.meter.tokens

    @property
    def output_bytes(self) -> int:
        return self.meter.bytes

    def counted(self) -> Usage | None:
        """What the provider stated, None if nothing; InvalidUsage when it cannot be true."""
        return read_usage(self.usage, self.paths)

    @property
    def native_id(self) -> str | None:
        value = self.body.get("id")
        return value if type(value) is str else None


def decode_answer(
    raw: bytes,
    usage_paths: Mapping[str, str],
    *,
    provider: str = "",
    error_map: Mapping[str, str] | None = None,
) -> Answer:
    """UpstreamBroken for anything that is no completion; an error object raises its own class."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise UpstreamBroken(NO_COMPLETION, provider=provider) from None
    if type(body) is not dict:
        raise UpstreamBroken(NO_COMPLETION, provider=provider)
    choices = body.get("choices")
    if refuses(body):
        raise decode_error_object(provider, body, error_map)
    if type(choices) is not list or not choices:
        raise UpstreamBroken(NO_COMPLETION, provider=provider)
    try:
        meter, finish, content = _read_choices(choices, provider, error_map)
    except (TypeError, AttributeError):
        # A value of another kind where text, a number or an object belongs.
        raise UpstreamBroken(NO_COMPLETION, provider=provider) from None
    usage = find_usage(body)
    counted = bool(usage and (usage.get("completion_tokens") or usage.get("output_tokens")))
    return Answer(
        body=body,
        usage=usage,
        stated_cost=find_cost(body, usage_paths),
        finish=finish,
        paths=usage_paths,
        meter=meter,
        empty=not content and finish is None and not counted,
    )


def _read_choices(
    choices: list[Any], provider: str, error_map: Mapping[str, str] | None
) -> tuple[OutputMeter, str | None, bool]:
    """What was said, the first finish reason, whether there is any content."""
    meter = OutputMeter()
    finish: str | None = None
    content = False
    for choice in choices:
        message = choice.get("message") if type(choice) is dict else None
        if type(message) is not dict:
            raise UpstreamBroken(NO_COMPLETION, provider=provider)
        if choice.get("error") or choice.get("finish_reason") in FAILED_REASONS:
            raise decode_error_object(provider, choice, error_map)
        spoke = meter.add_message(message)
        reason = choice.get("finish_reason") or ("stop" if spoke else None)
        finish = finish or mend_finish(reason, bool(message.get("tool_calls")))
        content = content or spoke
    return meter, finish, content


def encode_answer(
    answer: Answer,
    *,
    chat_id: str,
    model: str,
    provider: str,
    style: Style,
    report: UsageReport,
) -> bytes:
    body = {name: value for name, value in answer.body.items() if name not in _OURS}
    ours: JsonObject = {
        "id": chat_id,
        "object": "chat.completion",
        "created": body.pop("created", None) or created_s(chat_id),
        "model": model,
    }
    if style == "openrouter":
        ours |= {"provider": provider, "system_fingerprint": None}
    prefix = chat_id[-12:].lower()
    ours["choices"] = [
        _choice(choice, i, prefix, style) for i, choice in enumerate(body.pop("choices"))
    ]
    usage = encode_usage(answer.usage, report, style)
    return orjson.dumps({**ours, **body, "usage": usage})


_OURS = frozenset({"id", "object", "model", "usage", "provider", "x_groq", "cost"})


def _choice(choice: JsonObject, position: int, prefix: str, style: Style) -> JsonObject:
    message: dict[str, Any] = dict(choice["message"])
    mend_message(message, prefix)
    if style == "openrouter":
        mend_reasoning(message)
    message.setdefault("role", "assistant")
    native = choice.get("finish_reason")
    finish = mend_finish(native or "stop", bool(message.get("tool_calls")))
    written = {**choice, "message": message, "finish_reason": finish}
    written.setdefault("index", position)
    written.setdefault("logprobs", None)
    written.pop("usage", None)
    if style == "openrouter":
        written.setdefault("native_finish_reason", native)
    return written
