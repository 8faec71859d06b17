"""A provider's whole response → the internal form."""

from dataclasses import replace
from typing import Any

import orjson

from gatewayz.core.errors import InvalidRequest, UpstreamBroken
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import Choice, Generation
from gatewayz.dialects.openai_chat.usage import InvalidUsage, find_cost
from gatewayz.dialects.openai_responses.errors import decode_failure
from gatewayz.dialects.openai_responses.read_items import read_item, sign
from gatewayz.dialects.openai_responses.read_parts import Signatures
from gatewayz.dialects.openai_responses.usage import count_searches, raw_usage, read_usage
from gatewayz.dialects.openai_responses.wire import FAMILY, NAME, read_status, read_time
from gatewayz.dialects.parts import Message, Part, Text, ToolCall
from gatewayz.dialects.protocol import Notes
from gatewayz.pricing.usage import Usage

NO_RESPONSE = "The provider's answer is no response."
_FAILED = ("failed", "cancelled")
_READ = frozenset(
    {
        "id", "object", "created_at", "model", "output", "status", "error", "incomplete_details",
        "usage", "service_tier", "store", "previous_response_id", "background", "output_text",
    }
)  # fmt: skip


def parse_response(raw: bytes, target: Target) -> JsonObject:
    """The body of an answer that is a response; UpstreamBroken for anything else."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise UpstreamBroken(NO_RESPONSE, provider=target.provider) from None
    if type(body) is not dict:
        raise UpstreamBroken(NO_RESPONSE, provider=target.provider)
    if body.get("error") or body.get("status") in _FAILED or body.get("object") == "error":
        raise decode_failure(target, body.get("error") or body)
    output = body.get("output")
    if type(output) is not list or any(type(item) is not dict for item in output):
        raise UpstreamBroken(NO_RESPONSE, provider=target.provider)
    return body


def read_counts(body: JsonObject, target: Target) -> tuple[Usage | None, JsonObject | None]:
    """The usage of a response and what was written of it."""
    raw = raw_usage(body)
    try:
        return read_usage(raw, target.usage, searches=count_searches(body)), raw
    except InvalidUsage:
        return None, raw


def read_generation(raw: bytes, target: Target, notes: Notes) -> Generation:
    body = parse_response(raw, target)
    try:
        parts = _read_output(body["output"], target.family or FAMILY)
    except InvalidRequest:
        # What is wrong in a caller's item is as wrong in a provider's.
        raise UpstreamBroken(NO_RESPONSE, provider=target.provider) from None
    usage, counts = read_counts(body, target)
    called = any(isinstance(part, ToolCall) for part in parts)
    native = body.get("id")
    model, tier = body.get("model"), body.get("service_tier")
    choice = Choice(
        parts=tuple(restore(part, notes) for part in parts),
        finish=read_status(body, called_tools=called),
        logprobs=_read_logprobs(body["output"]),
    )
    return Generation(
        dialect=NAME,
        choices=(choice,),
        id=native if type(native) is str else None,
        model=model if type(model) is str else None,
        created_s=read_time(body.get("created_at")),
        usage=usage,
        raw_usage=counts,
        stated_cost=find_cost(body, target.usage),
        service_tier=tier if type(tier) is str else None,
        extras={k: v for k, v in body.items() if k not in _READ and v is not None},
    )


def _read_output(output: list[JsonObject], family: str) -> tuple[Part, ...]:
    signatures: Signatures = {}
    parts: list[Part] = []
    for index, item in enumerate(output):
        parts += read_item(item, f"output[{index}]", signatures=signatures, family=family)
    spoken = tuple(part for part in parts if not (isinstance(part, Text) and not part.text))
    return sign(Message("assistant", spoken), signatures).parts if signatures else spoken


def _read_logprobs(output: list[JsonObject]) -> JsonObject | None:
    found: list[Any] = []
    for item in output:
        for part in item.get("content") or () if item.get("type") == "message" else ():
            held = part.get("logprobs") if type(part) is dict else None
            found += held if type(held) is list else []
    return {"content": found, "refusal": None} if found else None


def restore(part: Part, notes: Notes) -> Part:
    """A call with the tool's name as the caller knows it."""
    if isinstance(part, ToolCall) and part.name in notes.names:
        return replace(part, name=notes.names[part.name])
    return part
