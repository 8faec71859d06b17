"""A provider's whole answer → the internal form."""

import hashlib
from dataclasses import replace
from typing import Any

import orjson

from gatewayz.core.errors import InvalidRequest, UpstreamBroken
from gatewayz.dialects.counts import stated
from gatewayz.dialects.custom_tools import restore
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import Choice, Finish, Generation
from gatewayz.dialects.google.citations import cite
from gatewayz.dialects.google.errors import decode_error_object
from gatewayz.dialects.google.logprobs import read_logprobs
from gatewayz.dialects.google.read_parts import read_part
from gatewayz.dialects.google.usage import read_usage
from gatewayz.dialects.google.wire import FAILED_FINISHES, FAMILY, NAME, items, read_finish, said
from gatewayz.dialects.parts import Part, Text, ToolCall
from gatewayz.dialects.protocol import Notes
from gatewayz.pricing.usage import Usage

NO_ANSWER = "The provider's answer is no generated content."
FAILED = "The provider could not finish its answer."
_READ = frozenset({"candidates", "usageMetadata", "responseId", "modelVersion", "error"})
_READ_CANDIDATE = frozenset({"content", "finishReason", "index", "logprobsResult"})


def parse_answer(raw: bytes, target: Target) -> JsonObject:
    """UpstreamBroken for anything that is no answer; an error object raises its own class."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise UpstreamBroken(NO_ANSWER, provider=target.provider) from None
    if type(body) is list and body and all(type(chunk) is dict for chunk in body):
        body = _joined(body)
    if type(body) is not dict:
        raise UpstreamBroken(NO_ANSWER, provider=target.provider)
    if body.get("error"):
        raise decode_error_object(target, body)
    candidates = body.get("candidates")
    if blocked(body) is None and (
        type(candidates) is not list
        or not candidates
        or any(type(candidate) is not dict for candidate in candidates)
    ):
        raise UpstreamBroken(NO_ANSWER, provider=target.provider)
    return body


def _joined(chunks: list[JsonObject]) -> JsonObject:
    """A streamed answer that came as one array, as the whole it stands for."""
    if len(chunks) == 1:
        return chunks[0]
    out: JsonObject = {}
    whole: dict[int, JsonObject] = {}
    for chunk in chunks:
        out |= chunk
        candidates = chunk.get("candidates")
        for candidate in candidates if type(candidates) is list else ():
            if type(candidate) is not dict:
                continue
            index = candidate.get("index")
            before = whole.setdefault(index if type(index) is int else 0, {})
            parts = [*_parts(before), *_parts(candidate)]
            before |= {**candidate, "content": {"role": "model", "parts": parts}}
    return {**out, "candidates": list(whole.values())} if whole else out


def _parts(candidate: JsonObject) -> list[Any]:
    content = candidate.get("content")
    held = items(content.get("parts")) if type(content) is dict else None
    return held if type(held) is list else []


def blocked(body: JsonObject) -> Finish | None:
    """Why a prompt was refused, when it was: then there are no candidates."""
    feedback = body.get("promptFeedback")
    reason = feedback.get("blockReason") if type(feedback) is dict else None
    if body.get("candidates") or not reason:
        return None
    return Finish("content_filter", str(reason), details=feedback)


def read_counts(raw: Any) -> tuple[Usage | None, JsonObject | None]:
    """usageMetadata as counts, None if they cannot be true, and as it came."""
    return stated(raw, read_usage)


def id_prefix(body: JsonObject, raw: bytes) -> str:
    """What the ids of calls that came without one begin with: new in every answer."""
    native = body.get("responseId")
    known = "".join(filter(str.isalnum, native))[-12:].lower() if type(native) is str else ""
    return known or hashlib.blake2s(raw).hexdigest()[:12]


def tier_of(raw_usage: JsonObject | None) -> str | None:
    tier = (raw_usage or {}).get("serviceTier")
    return tier if type(tier) is str else None


def read_generation(raw: bytes, target: Target, notes: Notes) -> Generation:
    body = parse_answer(raw, target)
    usage, raw_usage = read_counts(body.get("usageMetadata"))
    native, model = body.get("responseId"), body.get("modelVersion")
    refused = blocked(body)
    prefix = id_prefix(body, raw)
    if refused is not None:
        choices: tuple[Choice, ...] = (Choice((), refused),)
    else:
        try:
            choices = tuple(
                _choice(candidate, f"{prefix}_{index}", target, notes)
                for index, candidate in enumerate(body["candidates"])
            )
        except InvalidRequest:
            # What is wrong in a caller's content is as wrong in a provider's.
            raise UpstreamBroken(NO_ANSWER, provider=target.provider) from None
    generation = Generation(
        dialect=NAME,
        choices=choices,
        id=native if type(native) is str else None,
        model=model if type(model) is str else None,
        usage=usage,
        raw_usage=raw_usage,
        service_tier=tier_of(raw_usage),
        extras={k: v for k, v in body.items() if k not in _READ and v is not None},
    )
    return restore(generation, notes.custom)


def _choice(candidate: JsonObject, prefix: str, target: Target, notes: Notes) -> Choice:
    parts: list[Part] = []
    for index, value in enumerate(_parts(candidate)):
        if value == {}:
            continue
        part = read_part(value, f"parts[{index}]", family=target.family or FAMILY)
        parts.append(restored(part, f"{prefix}_{index}", notes))
    calls = any(isinstance(part, ToolCall) for part in parts)
    reason = candidate.get("finishReason")
    if type(reason) is str and reason in FAILED_FINISHES and not says_anything(parts):
        raise UpstreamBroken(FAILED, provider=target.provider)
    logprobs = read_logprobs(candidate.get("logprobsResult"))
    return Choice(
        parts=tuple(cite(candidate, parts)),
        finish=read_finish(reason, called_tools=calls, details=finish_details(candidate)),
        logprobs=None if logprobs is None else {"content": logprobs},
        extras={k: v for k, v in candidate.items() if k not in _READ_CANDIDATE and v is not None},
    )


def restored(part: Part, name: str, notes: Notes) -> Part:
    """A call with the name its caller knows, and an id in any case."""
    if not isinstance(part, ToolCall):
        return part
    known = notes.names.get(part.name, part.name)
    return replace(part, id=part.id or f"call_{name}", name=known)


def says_anything(parts: list[Part]) -> bool:
    return any(not isinstance(part, Text) or part.text for part in parts)


def finish_details(candidate: JsonObject) -> JsonObject | None:
    """What explains the end, in the provider's words."""
    found = said(
        finishMessage=candidate.get("finishMessage"), safetyRatings=candidate.get("safetyRatings")
    )
    return found or None
