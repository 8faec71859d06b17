"""A whole response for a client of the same dialect: only id, model and usage are ours."""

from dataclasses import dataclass
from typing import Any

import orjson

from gatewayz.core.ids import public_id
from gatewayz.dialects.form import JsonObject, Target, UsageReport
from gatewayz.dialects.openai_chat.meter import OutputMeter
from gatewayz.dialects.openai_chat.usage import find_cost
from gatewayz.dialects.openai_responses.read_answer import parse_response
from gatewayz.dialects.openai_responses.shell import PROMISED
from gatewayz.dialects.openai_responses.usage import (
    count_searches,
    raw_usage,
    read_usage,
    write_usage,
)
from gatewayz.dialects.openai_responses.wire import ID_PREFIX, read_status
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.translated import openai_finish
from gatewayz.pricing.usage import Usage

CALLS = ("function_call", "custom_tool_call")


@dataclass(frozen=True, slots=True)
class ResponsesAnswer:
    """A decoded response. `usage` is the provider's own, raw."""

    body: JsonObject
    target: Target
    usage: JsonObject | None
    finish: str | None
    output_tokens_estimate: int
    output_bytes: int
    empty: bool
    stated_cost: float | None

    @property
    def native_id(self) -> str | None:
        value = self.body.get("id")
        return value if type(value) is str else None

    def counted(self) -> Usage | None:
        """What the provider stated, None if nothing; InvalidUsage when it cannot be true."""
        searches = count_searches(self.body)
        return read_usage(self.usage, self.target.usage, searches=searches)


def decode_answer(raw: bytes, target: Target) -> ResponsesAnswer:
    """UpstreamBroken for anything that is no response; an error object raises its own class."""
    body = parse_response(raw, target)
    meter = OutputMeter()
    spoke = False
    for item in body["output"]:
        spoke = measure_item(meter, item) or spoke
    counts = raw_usage(body)
    called = any(item.get("type") in CALLS for item in body["output"])
    finish = read_status(body, called_tools=called)
    return ResponsesAnswer(
        body=body,
        target=target,
        usage=counts,
        finish=openai_finish(finish) if body.get("status") else None,
        output_tokens_estimate=meter.tokens,
        output_bytes=meter.bytes,
        empty=not spoke and not body.get("status") and not (counts or {}).get("output_tokens"),
        stated_cost=find_cost(body, target.usage),
    )


def measure_item(meter: OutputMeter, item: JsonObject) -> bool:
    """Count what an output item brings; whether it is content at all."""
    match item.get("type"):
        case "message":
            return _measure_texts(meter, item.get("content"))
        case "reasoning":
            return _measure_texts(meter, item.get("content") or item.get("summary"))
        case kind if kind in CALLS:
            return measure_call(meter, item.get("name"), item.get("arguments", item.get("input")))
    return True


def measure_call(meter: OutputMeter, name: Any, arguments: Any) -> bool:
    function = {"name": name, "arguments": arguments}
    return meter.add_message({"tool_calls": [{"function": function}]})


def _measure_texts(meter: OutputMeter, parts: Any) -> bool:
    spoke = False
    for part in parts if type(parts) is list else ():
        text = (part.get("text") or part.get("refusal")) if type(part) is dict else None
        if type(text) is str and text:
            meter.add(text)
            spoke = True
    return spoke


def encode_answer(answer: ResponsesAnswer, reply: Reply, report: UsageReport) -> bytes:
    ours = {"id": public_id(reply.request_id, ID_PREFIX), "model": reply.model, "store": False}
    usage = write_usage(None, report, answer.usage)
    promised = PROMISED if reply.style == "openrouter" else {}
    return orjson.dumps({**promised, **answer.body, **ours, "usage": usage})
