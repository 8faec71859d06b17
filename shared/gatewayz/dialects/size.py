"""How many tokens a request's prompt may have: an upper estimate, for the hold (F53, F55)."""

import orjson

from gatewayz.dialects.generation import FunctionTool, GenerationRequest
from gatewayz.dialects.parts import (
    Audio,
    File,
    Image,
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Video,
)
from gatewayz.pricing.estimate import (
    AUDIO_BYTES_PER_TOKEN,
    FILE_BYTES_PER_TOKEN,
    FILE_MIN_TOKENS,
    IMAGE_TOKENS,
    MESSAGE_TOKENS,
    text_tokens,
)

REQUEST_TOKENS = 16


def prompt_tokens(request: GenerationRequest) -> int:
    total = REQUEST_TOKENS
    for message in request.messages:
        total += MESSAGE_TOKENS + sum(map(_part_tokens, message.parts))
    for tool in request.tools:
        described = tool.raw if isinstance(tool, Opaque) else _tool_text(tool)
        total += text_tokens(orjson.dumps(described).decode())
    if request.response_format and request.response_format.schema:
        total += text_tokens(orjson.dumps(request.response_format.schema).decode())
    return total


def _tool_text(tool: FunctionTool) -> list[object]:
    return [tool.name, tool.description, tool.parameters]


def _part_tokens(part: Part) -> int:
    match part:
        case Text() | Refusal() | Thinking():
            return text_tokens(part.text)
        case Image():
            return IMAGE_TOKENS
        case File(source):
            if source.kind == "text":
                return text_tokens(source.value)
            return max(FILE_MIN_TOKENS, _bytes(source) // FILE_BYTES_PER_TOKEN)
        case Audio(source):
            return _bytes(source) // AUDIO_BYTES_PER_TOKEN + 1
        case Video(source):
            return max(FILE_MIN_TOKENS, _bytes(source) // FILE_BYTES_PER_TOKEN)
        case ToolCall():
            return MESSAGE_TOKENS + text_tokens(part.name) + text_tokens(part.arguments)
        case ToolResult():
            return MESSAGE_TOKENS + sum(map(_part_tokens, part.parts))
        case RedactedThinking():
            return text_tokens(part.data)
        case Opaque():
            return text_tokens(orjson.dumps(part.raw).decode())


def _bytes(source: Source) -> int:
    return len(source.value) * 3 // 4 if source.kind == "data" else 0
