"""The internal form → a whole answer for a client."""

import orjson

from gatewayz.core.ids import public_id
from gatewayz.dialects.form import JsonObject, UsageReport
from gatewayz.dialects.generation import Choice, Generation
from gatewayz.dialects.google.citations import write_grounding
from gatewayz.dialects.google.logprobs import write_logprobs
from gatewayz.dialects.google.usage import write_usage
from gatewayz.dialects.google.wire import ID_PREFIX, NAME, write_finish
from gatewayz.dialects.google.write_parts import write_answer_part
from gatewayz.dialects.parts import Refusal, Text
from gatewayz.dialects.protocol import Reply


def write_generation(generation: Generation, reply: Reply, report: UsageReport) -> bytes:
    own = generation.dialect == NAME
    extras = generation.extras if own else {}
    body: JsonObject = {}
    # A prompt that was refused has no candidates, only the reason.
    if "promptFeedback" not in extras or any(choice.parts for choice in generation.choices):
        body["candidates"] = [
            _candidate(choice, index, own=own) for index, choice in enumerate(generation.choices)
        ]
    body.update(extras)
    raw = generation.raw_usage if own else None
    body["usageMetadata"] = write_usage(generation.usage, report, raw)
    body["modelVersion"] = reply.model
    body["responseId"] = public_id(reply.request_id, ID_PREFIX)
    return orjson.dumps(body)


def _candidate(choice: Choice, index: int, *, own: bool) -> JsonObject:
    parts: list[JsonObject] = []
    cited = []
    for part in choice.parts:
        written = write_answer_part(part, own=own)
        if written is None:
            continue
        if isinstance(part, Text) and part.citations:
            cited.append((len(parts), part.text, part.citations))
        parts.append(written)
    candidate: JsonObject = {"content": {"parts": parts, "role": "model"}}
    if not parts:
        del candidate["content"]["parts"]
    refused = any(isinstance(part, Refusal) for part in choice.parts)
    candidate |= write_finish(choice.finish, refused=refused)
    candidate["index"] = index
    if choice.logprobs is not None:
        candidate |= write_logprobs(choice.logprobs.get("content"))
    grounding = None if own else write_grounding(cited)
    if grounding is not None:
        candidate["groundingMetadata"] = grounding
    return {**candidate, **choice.extras} if own else candidate
