"""The response object around an answer: what a client expects to be there besides the output."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gatewayz.core.ids import public_id
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.openai_chat.frames import created_s
from gatewayz.dialects.openai_responses.wire import ID_PREFIX
from gatewayz.dialects.protocol import Reply

_REPEATED = (
    "instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls",
    "prompt_cache_key", "reasoning", "safety_identifier", "temperature", "text", "tool_choice",
    "tools", "top_logprobs", "top_p", "truncation", "user",
)  # fmt: skip
_DEFAULTS: Mapping[str, Any] = {
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
}

# What clients of the OpenRouter style are promised besides.
PROMISED: Mapping[str, Any] = {
    "completed_at": None,
    "frequency_penalty": None,
    "presence_penalty": None,
}


@dataclass(frozen=True, slots=True)
class EchoReply(Reply):
    """A reply that repeats the request's settings, as the protocol wants. `echo`: its fields."""

    echo: JsonObject = field(default_factory=dict)


def with_echo(reply: Reply, body: JsonObject) -> EchoReply:
    """`body` is a request that was read without an error."""
    echo = {name: body[name] for name in _REPEATED if body.get(name) is not None}
    if "tools" in echo:
        echo["tools"] = [_repeat_tool(tool) for tool in echo["tools"]]
    if "text" in echo:
        said = {name: value for name, value in echo["text"].items() if value is not None}
        echo["text"] = {"format": {"type": "text"}, **said}
    return EchoReply(
        reply.request_id,
        reply.model,
        reply.provider,
        reply.style,
        reply.include_usage,
        reply.n,
        reply.hides,
        echo,
    )


def _repeat_tool(tool: JsonObject) -> JsonObject:
    if tool.get("type") != "function":
        return tool
    return {"strict": None, "parameters": None, **tool}


def shell(reply: Reply, answered: Mapping[str, Any] | None = None) -> JsonObject:
    """A response in progress. `answered`: what a provider of this dialect said of the settings."""
    response_id = public_id(reply.request_id, ID_PREFIX)
    echo = reply.echo if isinstance(reply, EchoReply) else {}
    return {
        "id": response_id,
        "object": "response",
        "created_at": created_s(response_id),
        "status": "in_progress",
        **_DEFAULTS,
        **(PROMISED if reply.style == "openrouter" else {}),
        **(answered or {}),
        **echo,
        "model": reply.model,
        "output": [],
        "store": False,
    }
