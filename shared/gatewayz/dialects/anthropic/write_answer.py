"""The internal form → a whole message for a client."""

from typing import Any

import orjson

from gatewayz.core.ids import public_id
from gatewayz.dialects.anthropic import write_blocks as blocks
from gatewayz.dialects.anthropic.promised import full_block, full_message, full_usage
from gatewayz.dialects.anthropic.usage import write_usage
from gatewayz.dialects.anthropic.wire import ID_PREFIX, NAME, write_stop
from gatewayz.dialects.form import JsonObject, UsageReport
from gatewayz.dialects.generation import Generation
from gatewayz.dialects.names import safe_id
from gatewayz.dialects.parts import (
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from gatewayz.dialects.protocol import Reply

# A caller's own tool code wants an object; text that is none must not get lost.
RAW_FIELD = "_raw"


def write_generation(generation: Generation, reply: Reply, report: UsageReport) -> bytes:
    choice = generation.choices[0]
    own = generation.dialect == NAME
    content: list[JsonObject] = []
    for part in choice.parts:
        content += write_part(part, own=own)
    finish = choice.finish
    body: JsonObject = {
        "id": public_id(reply.request_id, ID_PREFIX),
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": [full_block(block, reply.style) for block in content],
        "stop_reason": write_stop(
            finish,
            called_tools=any(isinstance(p, ToolCall) for p in choice.parts),
            refused=any(isinstance(p, Refusal) for p in choice.parts),
        ),
        "stop_sequence": None if finish is None else finish.stop,
        "usage": full_usage(
            write_usage(generation.usage, report, generation.raw_usage if own else None),
            reply.style,
            report,
        ),
    }
    if own:
        body.update({k: v for k, v in generation.extras.items() if k not in body})
        if finish is not None and finish.details is not None:
            body["stop_details"] = finish.details
    return orjson.dumps(full_message(body, reply.style))


def write_part(part: Part, *, own: bool) -> list[JsonObject]:
    """The blocks of one part of an answer; none for what this dialect cannot show."""
    written = _write_blocks(part)
    if own and written and not isinstance(part, Opaque):
        written[-1] = {**written[-1], **getattr(part, "extras", {})}
    return written


def _write_blocks(part: Part) -> list[JsonObject]:
    match part:
        case Text():
            return [blocks.write_text(part)] if part.text else []
        case Refusal():
            return [{"type": "text", "text": part.text}] if part.text else []
        case Thinking():
            return [blocks.write_thinking(part)]
        case RedactedThinking():
            return [blocks.write_redacted(part)]
        case ToolCall():
            signed = [blocks.write_call_signature(part)] if part.signature else []
            return [*signed, write_call(part)]
        case Opaque():
            return [part.raw] if part.dialect == NAME else []
    return []


def write_call(call: ToolCall) -> JsonObject:
    given: Any = None if call.custom else blocks.parse_input(call.arguments)
    if given is None:
        given = {"input" if call.custom else RAW_FIELD: call.arguments}
    named = {"type": "tool_use", "id": safe_id(call.id, limit=512, prefix="toolu_")}
    return {**named, "name": call.name, "input": given}
