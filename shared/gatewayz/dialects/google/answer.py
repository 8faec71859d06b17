"""A whole answer for a client of the same dialect: only id, model and usage are ours."""

from dataclasses import dataclass

import orjson

from gatewayz.core.ids import public_id
from gatewayz.dialects.form import JsonObject, Target, UsageReport
from gatewayz.dialects.google.codec import GOOGLE
from gatewayz.dialects.google.read_answer import parse_answer
from gatewayz.dialects.google.usage import write_usage
from gatewayz.dialects.google.wire import ID_PREFIX
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.translated import TranslatedAnswer, read_answer


@dataclass(frozen=True, slots=True)
class GoogleAnswer(TranslatedAnswer):
    """`body` as the provider wrote it."""

    body: JsonObject


def decode_answer(raw: bytes, target: Target) -> GoogleAnswer:
    """UpstreamBroken for anything that is no answer; an error object raises its own class."""
    read = read_answer(GOOGLE, raw, target)
    return GoogleAnswer(
        generation=read.generation,
        output_tokens_estimate=read.output_tokens_estimate,
        output_bytes=read.output_bytes,
        empty=read.empty,
        body=parse_answer(raw, target),
    )


def encode_answer(answer: GoogleAnswer, reply: Reply, report: UsageReport) -> bytes:
    ours = {
        "usageMetadata": write_usage(None, report, answer.generation.raw_usage),
        "modelVersion": reply.model,
        "responseId": public_id(reply.request_id, ID_PREFIX),
    }
    return orjson.dumps({**answer.body, **ours})
