"""Words of the legacy Completions protocol, and its log probabilities ⇄ those of chat."""

from collections.abc import Mapping
from typing import Any

from gatewayz.dialects.form import JsonObject, Style
from gatewayz.dialects.generation import Finish, FinishReason

NAME = "openai_completions"
PATH = "/completions"
ID_PREFIXES: Mapping[Style, str] = {"openai": "cmpl-", "openrouter": "gen-"}
# What a request may ask for besides a continuation. Each is a part of its prompt, so that targets
# that know nothing of it refuse it by its name.
SUFFIX, ECHO, BEST_OF, LOGPROBS = "suffix", "echo", "best_of", "logprobs"
PROMISES = (SUFFIX, ECHO, BEST_OF, LOGPROBS)
PROMPTS, TOKENS = "prompts", "tokens"

_FINISHES: Mapping[FinishReason, str] = {
    "length": "length",
    "context": "length",
    "content_filter": "content_filter",
}


def write_finish(finish: Finish | None) -> str:
    return "stop" if finish is None else _FINISHES.get(finish.reason, "stop")


def read_logprobs(value: Any) -> list[JsonObject] | None:
    """The list that chat completions would have; None when there is none."""
    tokens = value.get("tokens") if type(value) is dict else None
    if type(tokens) is not list or any(type(token) is not str for token in tokens):
        return None
    rows = [
        value[name] if type(value.get(name)) is list else []
        for name in ("token_logprobs", "top_logprobs", "text_offset")
    ]
    out: list[JsonObject] = []
    for index, token in enumerate(tokens):
        logprob, top, offset = (row[index] if index < len(row) else None for row in rows)
        best = top.items() if type(top) is dict else ()
        item: JsonObject = {"token": token, "logprob": logprob, "bytes": None}
        item["top_logprobs"] = [{"token": t, "logprob": p, "bytes": None} for t, p in best]
        if type(offset) is int:
            item["text_offset"] = offset
        out.append(item)
    return out


def write_logprobs(items: Any, offset: int = 0) -> JsonObject | None:
    """The other way round. `offset`: the characters before the first token."""
    rows = [row for row in items if _is_token(row)] if type(items) is list else []
    if not rows:
        return None
    offsets: list[int] = []
    for row in rows:
        offsets.append(row.get("text_offset", offset))
        offset = offsets[-1] + len(row["token"])
    tops = [row.get("top_logprobs") for row in rows]
    best = [
        {one["token"]: one.get("logprob") for one in top if _is_token(one)}
        for top in (top if type(top) is list else () for top in tops)
    ]
    return {
        "tokens": [row["token"] for row in rows],
        "token_logprobs": [row.get("logprob") for row in rows],
        "top_logprobs": best if any(best) else None,
        "text_offset": offsets,
    }


def _is_token(item: Any) -> bool:
    return type(item) is dict and type(item.get("token")) is str
