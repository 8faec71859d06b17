"""A whole message for a client of the same dialect: only id, model and usage are ours."""

from dataclasses import dataclass

import orjson

from gatewayz.core.ids import public_id
from gatewayz.dialects.anthropic.promised import full_message, full_usage
from gatewayz.dialects.anthropic.read_answer import parse_message
from gatewayz.dialects.anthropic.usage import read_usage, write_usage
from gatewayz.dialects.anthropic.wire import ID_PREFIX, read_stop
from gatewayz.dialects.form import JsonObject, Target, UsageReport
from gatewayz.dialects.openai_chat.meter import OutputMeter
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.translated import openai_finish
from gatewayz.pricing.usage import Usage


@dataclass(frozen=True, slots=True)
class MessagesAnswer:
    """A decoded message. `usage` is the provider's own, raw."""

    body: JsonObject
    usage: JsonObject | None
    finish: str | None
    output_tokens_estimate: int
    output_bytes: int
    empty: bool
    stated_cost: float | None = None

    @property
    def native_id(self) -> str | None:
        value = self.body.get("id")
        return value if type(value) is str else None

    def counted(self) -> Usage | None:
        """What the provider stated, None if nothing; InvalidUsage when it cannot be true."""
        return read_usage(self.usage)


def decode_answer(raw: bytes, target: Target) -> MessagesAnswer:
    """UpstreamBroken for anything that is no message; an error object raises its own class."""
    body = parse_message(raw, target)
    meter = OutputMeter()
    spoke = False
    for block in body["content"]:
        if type(block) is dict:
            spoke = measure_block(meter, block) or spoke
    usage = body.get("usage")
    usage = usage if type(usage) is dict and usage else None
    finish = openai_finish(read_stop(body.get("stop_reason")))
    counted = bool(usage and usage.get("output_tokens"))
    return MessagesAnswer(
        body=body,
        usage=usage,
        finish=finish,
        output_tokens_estimate=meter.tokens,
        output_bytes=meter.bytes,
        empty=not spoke and finish is None and not counted,
    )


def measure_block(meter: OutputMeter, block: JsonObject) -> bool:
    """Count what a block brings, at its start or whole; whether it is content at all."""
    kind = block.get("type")
    if kind in ("text", "thinking"):
        text = block.get(kind)
        if type(text) is not str or not text:
            return False
        meter.add(text)
    elif type(block.get("name")) is str:
        given = block.get("input")
        function = {"name": block["name"], "arguments": orjson.dumps(given).decode()}
        if not given:
            del function["arguments"]
        meter.add_message({"tool_calls": [{"function": function}]})
    return True


def encode_answer(answer: MessagesAnswer, reply: Reply, report: UsageReport) -> bytes:
    ours = {"id": public_id(reply.request_id, ID_PREFIX), "model": reply.model}
    usage = full_usage(write_usage(None, report, answer.usage), reply.style, report)
    return orjson.dumps(full_message({**answer.body, **ours, "usage": usage}, reply.style))
