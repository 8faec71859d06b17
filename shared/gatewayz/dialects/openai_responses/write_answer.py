"""The internal form → a whole response for a client."""

import orjson

from gatewayz.dialects.form import JsonObject, UsageReport
from gatewayz.dialects.generation import Choice, Generation
from gatewayz.dialects.openai_responses import write_parts as write
from gatewayz.dialects.openai_responses.namespaces import Spaces, spaces_of
from gatewayz.dialects.openai_responses.shell import shell
from gatewayz.dialects.openai_responses.usage import write_usage
from gatewayz.dialects.openai_responses.wire import NAME, ItemIds, write_status
from gatewayz.dialects.parts import (
    Image,
    Opaque,
    RedactedThinking,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from gatewayz.dialects.protocol import Reply


def write_generation(generation: Generation, reply: Reply, report: UsageReport) -> bytes:
    choice = generation.choices[0]
    own = generation.dialect == NAME
    refused = any(isinstance(part, Refusal) for part in choice.parts)
    response = {
        **shell(reply, generation.extras if own else None),
        **write_status(choice.finish, refused=refused),
    }
    if generation.created_s is not None:
        response["created_at"] = generation.created_s
    if own and generation.service_tier is not None:
        response["service_tier"] = generation.service_tier
    complete = response["status"] == "completed"
    ids = ItemIds(reply.request_id)
    spaces = {} if own else spaces_of(reply)
    response["output"] = write_output(choice, ids, own=own, complete=complete, spaces=spaces)
    raw = generation.raw_usage if own else None
    response["usage"] = write_usage(generation.usage, report, raw)
    return orjson.dumps(response)


def write_output(
    choice: Choice, ids: ItemIds, *, own: bool, complete: bool, spaces: Spaces
) -> list[JsonObject]:
    """The output items. The last one of an answer that was cut is incomplete itself."""
    out: list[JsonObject] = []
    for part in choice.parts:
        match part:
            case Text() | Refusal():
                _say(out, part, ids, own=own)
            case Thinking() | RedactedThinking():
                identity = part.id or ids.next("rs")
                item = write.write_reasoning(part, own=own)
                out.append({"id": identity, **item})
            case ToolCall():
                if part.signature is not None:
                    out.append(write_call_signature(part.origin, part.signature, part.id, ids))
                out.append(write_call_item(part, ids, own=own, spaces=spaces))
            case Image():
                if (made := write_picture_item(part, ids, own=own)) is not None:
                    out.append(made)
            case Opaque() if part.dialect == NAME:
                out.append(part.raw)
    _put_logprobs(out, choice)
    last = out[-1] if out else {}
    if not complete and last.get("status") == "completed":
        last["status"] = "incomplete"
    return out


def _say(out: list[JsonObject], part: Text | Refusal, ids: ItemIds, *, own: bool) -> None:
    said = write.write_output_part(part)
    phase = part.extras.get("phase") if own and isinstance(part, Text) else None
    if own and isinstance(part, Text):
        said.update({k: v for k, v in part.extras.items() if k != "phase"})
    last = out[-1] if out else {}
    if last.get("type") == "message" and (isinstance(part, Refusal) or last.get("phase") == phase):
        last["content"].append(said)
        return
    item = message_item(ids, phase)
    item["content"].append(said)
    out.append({**item, "status": "completed"})


def message_item(ids: ItemIds, phase: str | None) -> JsonObject:
    item: JsonObject = {
        "id": ids.next("msg"),
        "type": "message",
        "status": "in_progress",
        "role": "assistant",
        "content": [],
    }
    return item if phase is None else {**item, "phase": phase}


def write_call_item(part: ToolCall, ids: ItemIds, *, own: bool, spaces: Spaces) -> JsonObject:
    prefix = "ctc" if part.custom else "fc"
    item = {"id": ids.next(prefix), "status": "completed", **write.write_call(part)}
    if part.name in spaces:
        item["namespace"], item["name"] = spaces[part.name]
    return {**item, **part.extras} if own else item


def write_call_signature(origin: str, signature: str, call_id: str, ids: ItemIds) -> JsonObject:
    """A call's proof of thought, in the only kind of item that clients send back unread."""
    return {
        "id": ids.next("rs"),
        "type": "reasoning",
        "summary": [],
        "encrypted_content": write.proof(signature, origin, None, call_id),
    }


def write_picture_item(part: Image, ids: ItemIds, *, own: bool) -> JsonObject | None:
    made = write.write_picture(part)
    if made is None:
        return None
    extras = part.extras if own else {}
    return {"id": extras.get("id") or ids.next("ig"), **made, **extras}


def _put_logprobs(out: list[JsonObject], choice: Choice) -> None:
    """Those of the whole answer, into its first text."""
    held = choice.logprobs.get("content") if choice.logprobs else None
    for item in out if held else ():
        for part in item.get("content") or ():
            if part.get("type") == "output_text":
                part["logprobs"] = write.write_logprobs(held)
                return
