"""What the sandbox says, and how a model's name bends it. Pure and deterministic.

A name is `echo`, `story` or `mock` followed by options, each after a dash:
n20 chunks · d10 ms between writes · t50 ms before the answer · b4 chunks a write · err503 status ·
p30 percent of requests fail · hang · reset · html · half (JSON cut) · empty (finish, no content) ·
silent (neither) · cut5 stall5 badjson5 errin5 (after so many chunks) · nodone · crlf · comments ·
nousage zerousage usage.neg|str|huge|null|cum|finish|choice|groq · in1000 out50 (stated counts) ·
tools · think · lockstep.NAME (each chunk waits for POST /lockstep/NAME/release).
"""

import re
from dataclasses import dataclass, field
from typing import Any

import orjson

JsonObject = dict[str, Any]

MODELS = ("echo", "story", "mock")
# Answered whole, by sandbox_kinds.py.
WHOLE_MODELS = ("embed", "rerank", "moderation")
LABEL = "[Gatewayz sandbox] "
CREATED = 1_760_000_000
BYTES_PER_TOKEN = 4
MAX_ECHO_CHARS = 4000
# A story is told at a pace at which one sees that it streams.
STORY_GAP_MS = 12
STORY = (
    "Once upon a time a request set out to find an answer. It carried one key, and every door it "
    "came to opened. At the first door somebody weighed it and set a few nano-dollars aside. At "
    "the second a model listened. The words came back one at a time, and for each of them a "
    "careful clerk wrote one line in a book whose two sides always agreed. When the last word had "
    "passed, what had not been spent was given back. No model was asked for this story: it is a "
    "fixed text, made so that your first request works without any provider's key."
)
_NUMBERED = re.compile(r"([a-z]+)(\d+)")
_FLAGS = frozenset(
    {"hang", "reset", "html", "half", "empty", "silent", "nodone", "crlf", "comments", "tools",
     "think"}
)  # fmt: skip
_COUNTS = {"n": "chunks", "d": "gap_ms", "t": "wait_ms", "b": "batch", "err": "status",
           "p": "percent", "in": "prompt", "out": "output"}  # fmt: skip
_TROUBLES = ("cut", "stall", "badjson", "errin")
_USAGES = {"nousage": "none", "zerousage": "zero"}


@dataclass(slots=True)
class Behaviour:
    """A model's name, understood. `troubles`: what happens after how many chunks."""

    model: str
    kind: str
    names: list[str] = field(default_factory=list)
    chunks: int = 20
    gap_ms: int = 0
    wait_ms: int = 0
    batch: int = 1
    status: int = 0
    percent: int = 100
    prompt: int | None = None
    output: int | None = None
    usage: str = "last"
    lock: str = ""
    hang: bool = False
    reset: bool = False
    html: bool = False
    half: bool = False
    empty: bool = False
    silent: bool = False
    nodone: bool = False
    crlf: bool = False
    comments: bool = False
    tools: bool = False
    think: bool = False
    troubles: dict[int, str] = field(default_factory=dict)

    def trouble_at(self, position: int) -> str:
        return self.troubles.get(position, "")


def behaviour_of(model: str) -> Behaviour | None:
    """None for a name the sandbox does not know."""
    kind, *options = model.split("-")
    if kind not in MODELS + WHOLE_MODELS:
        return None
    behaviour = Behaviour(model, kind, gap_ms=STORY_GAP_MS if kind == "story" else 0)
    for option in options:
        if not _apply(behaviour, option):
            return None
    return behaviour


def _apply(behaviour: Behaviour, option: str) -> bool:
    numbered = _NUMBERED.fullmatch(option)
    if option in _FLAGS:
        setattr(behaviour, option, True)
        behaviour.names.append(option)
    elif option in _USAGES:
        behaviour.usage = _USAGES[option]
        behaviour.names.append(option)
    elif option.startswith("usage."):
        behaviour.usage = option[6:]
        behaviour.names.append(option)
    elif option.startswith("lockstep."):
        behaviour.lock = option[9:]
        behaviour.names.append("lockstep")
    elif numbered and numbered[1] in _COUNTS:
        setattr(behaviour, _COUNTS[numbered[1]], max(int(numbered[2]), numbered[1] == "b"))
        behaviour.names.append(numbered[1])
    elif numbered and numbered[1] in _TROUBLES:
        behaviour.troubles[int(numbered[2])] = numbered[1]
        behaviour.names.append(numbered[1])
    else:
        return False
    return True


# ------------------------------------------------------------------ what is said


def prompt_tokens(body: JsonObject) -> int:
    """Deterministic: a quarter of the messages' bytes, at least 1."""
    return max(1, len(orjson.dumps(body.get("messages") or [])) // BYTES_PER_TOKEN)


def words_of(behaviour: Behaviour, body: JsonObject) -> list[str]:
    """The answer's words, one token each, cut at the caller's limit."""
    if behaviour.empty or behaviour.silent:
        return []
    if behaviour.kind == "mock":
        words = [LABEL, *(f"w{i} " for i in range(1, behaviour.chunks))][: behaviour.chunks]
    else:
        text = STORY if behaviour.kind == "story" else _echo(body)
        words = [LABEL, *re.findall(r"\S+\s*", text)]
    limit = _limit(body)
    return words if limit is None else words[:limit]


def _limit(body: JsonObject) -> int | None:
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    return limit if type(limit) is int else None


def _echo(body: JsonObject) -> str:
    """What the last user message says, and that nobody thought about it."""
    said = ""
    for message in body.get("messages") or ():
        if type(message) is dict and message.get("role") == "user":
            content = message.get("content")
            if type(content) is list:
                content = " ".join(str(p.get("text", "")) for p in content if type(p) is dict)
            said = str(content or "")
    return f"No model was asked; you said: {said[:MAX_ECHO_CHARS]}"


def pieces_of(behaviour: Behaviour, body: JsonObject) -> list[JsonObject]:
    """The deltas of the answer, one token each."""
    if behaviour.tools:
        return [_call_delta(0, "sandbox_tool", ""), _call_delta(0, None, '{"sandbox":'),
                _call_delta(0, None, "true}")]  # fmt: skip
    pieces: list[JsonObject] = [{"content": word} for word in words_of(behaviour, body)]
    if behaviour.think:
        pieces.insert(0, {"reasoning_content": "The sandbox does not think. "})
    return pieces


def _call_delta(index: int, name: str | None, arguments: str) -> JsonObject:
    call: JsonObject = {"index": index, "function": {"arguments": arguments}}
    if name is not None:
        call |= {"id": "call_sandbox", "type": "function"}
        call["function"]["name"] = name
    return {"tool_calls": [call]}


def finish_reason(behaviour: Behaviour, body: JsonObject, said: int) -> str:
    if behaviour.tools:
        return "tool_calls"
    limit = _limit(body)
    return "length" if limit is not None and said >= limit else "stop"


def usage_of(behaviour: Behaviour, body: JsonObject, said: int) -> JsonObject | None:
    """The usage object as this behaviour states it; None for none."""
    prompt = prompt_tokens(body) if behaviour.prompt is None else behaviour.prompt
    output = said if behaviour.output is None else behaviour.output
    stated: dict[str, JsonObject | None] = {
        "none": None,
        "null": None,
        "zero": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        "neg": {"prompt_tokens": -1, "completion_tokens": -5, "total_tokens": -6},
        "str": {"prompt_tokens": "many", "completion_tokens": "12", "total_tokens": "x"},
        "huge": {"prompt_tokens": 1e308, "completion_tokens": 1e308, "total_tokens": 1e308},
    }
    if behaviour.usage in stated:
        return stated[behaviour.usage]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
    }


def chunk(
    behaviour: Behaviour,
    delta: JsonObject,
    *,
    index: int = 0,
    finish: str | None = None,
    usage: JsonObject | None = None,
) -> JsonObject:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    made = _frame(behaviour, [choice])
    return made if usage is None else {**made, "usage": usage}


def _frame(behaviour: Behaviour, choices: list[JsonObject]) -> JsonObject:
    return {
        "id": "chatcmpl-sandbox",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": behaviour.model,
        "system_fingerprint": "fp_sandbox",
        "choices": choices,
    }


def choices_of(body: JsonObject) -> int:
    count = body.get("n")
    return count if type(count) is int and count > 0 else 1


def last_chunks(behaviour: Behaviour, body: JsonObject, said: int) -> list[JsonObject]:
    """The chunks after the last delta: finish and usage, wherever this behaviour puts it."""
    if behaviour.silent:
        return []
    finish, count = finish_reason(behaviour, body, said), choices_of(body)
    *others, last = [chunk(behaviour, {}, index=i, finish=finish) for i in range(count)]
    usage = usage_of(behaviour, body, said * count)
    match behaviour.usage:
        case "finish" | "cum":
            last["usage"] = usage
        case "choice":
            last["choices"][0]["usage"] = usage
        case "groq":
            last["x_groq"] = {"id": "req_sandbox", "usage": usage}
        case "null":
            return [*others, last, {**_frame(behaviour, []), "usage": None}]
        case _:
            asked = (body.get("stream_options") or {}).get("include_usage")
            if usage is not None and asked:
                return [*others, last, {**_frame(behaviour, []), "usage": usage}]
    return [*others, last]


def answer(behaviour: Behaviour, body: JsonObject) -> JsonObject:
    """A whole completion."""
    pieces = pieces_of(behaviour, body)
    message: JsonObject = {"role": "assistant", "content": None, "refusal": None}
    if behaviour.tools:
        function = {"name": "sandbox_tool", "arguments": '{"sandbox":true}'}
        message["tool_calls"] = [{"id": "call_sandbox", "type": "function", "function": function}]
    else:
        message["content"] = "".join(p.get("content", "") for p in pieces)
    if behaviour.think:
        message["reasoning_content"] = "".join(p.get("reasoning_content", "") for p in pieces)
    finish = None if behaviour.silent else finish_reason(behaviour, body, len(pieces))
    count = choices_of(body)
    choice = {"message": message, "logprobs": None, "finish_reason": finish}
    made = _frame(behaviour, [{"index": i, **choice} for i in range(count)])
    made["object"] = "chat.completion"
    usage = usage_of(behaviour, body, len(pieces) * count)
    if usage is not None or behaviour.usage == "null":
        made["usage"] = usage
    return made
