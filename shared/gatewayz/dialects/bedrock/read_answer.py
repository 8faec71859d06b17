"""A provider's whole Converse answer → the internal form."""

from typing import Any

import orjson

from gatewayz.core.errors import UpstreamBroken
from gatewayz.dialects.anthropic.read_answer import restore_finish
from gatewayz.dialects.bedrock.read_parts import read_block
from gatewayz.dialects.bedrock.usage import read_counts
from gatewayz.dialects.bedrock.wire import NAME, family_of, read_stop
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import Choice, Generation
from gatewayz.dialects.parts import Part, Text, ToolCall
from gatewayz.dialects.protocol import Notes

NO_MESSAGE = "The provider's answer is no message."
NOTHING_USABLE = "The provider's model wrote nothing that could be read."
_READ = frozenset({"output", "stopReason", "usage"})


def read_generation(raw: bytes, target: Target, notes: Notes) -> Generation:
    """UpstreamBroken for what is no answer; `extras` keep the provider's metrics and traces."""
    try:
        body = orjson.loads(raw)
        parts = _read_parts(body["output"]["message"]["content"], target, notes)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise UpstreamBroken(NO_MESSAGE, provider=target.provider) from None
    called = any(isinstance(part, ToolCall) for part in parts)
    fields = body.get("additionalModelResponseFields")
    finish = restore_finish(read_stop(body.get("stopReason"), fields, called_tools=called), notes)
    if finish is not None and finish.reason == "error" and not parts:
        raise UpstreamBroken(NOTHING_USABLE, provider=target.provider)
    usage, raw_usage = read_counts(body.get("usage"))
    return Generation(
        dialect=NAME,
        choices=(Choice(parts, finish),),
        usage=usage,
        raw_usage=raw_usage,
        service_tier=_tier(body),
        extras={k: v for k, v in body.items() if k not in _READ and v is not None},
    )


def _read_parts(content: Any, target: Target, notes: Notes) -> tuple[Part, ...]:
    if type(content) is not list:
        raise TypeError
    parts: list[Part] = []
    family = family_of(target)
    for block in content:
        part = read_block(block, family=family, notes=notes)
        if isinstance(part, Text) and not part.text:
            if not part.citations:
                continue
            # Sources without a text of their own belong to the text before them.
            if parts and isinstance(before := parts[-1], Text):
                parts[-1] = Text(before.text, before.citations + part.citations)
                continue
        parts.append(part)
    return tuple(parts)


def _tier(body: JsonObject) -> str | None:
    tier = body.get("serviceTier")
    kind = tier.get("type") if type(tier) is dict else None
    return kind if type(kind) is str else None
