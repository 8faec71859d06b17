"""logprobsResult ⇄ the `logprobs.content` of chat completions, which the internal form has (§8)."""

from typing import Any

from gatewayz.dialects.form import JsonObject


def read_logprobs(result: Any) -> list[JsonObject] | None:
    """None when nothing was said."""
    chosen = result.get("chosenCandidates") if type(result) is dict else None
    if type(chosen) is not list or not chosen:
        return None
    tops = result.get("topCandidates")
    tops = tops if type(tops) is list else []
    out: list[JsonObject] = []
    for position, candidate in enumerate(chosen):
        token = _token(candidate)
        if token is None:
            return None
        top = tops[position] if position < len(tops) else None
        others = top.get("candidates") if type(top) is dict else None
        listed = [t for c in others if (t := _token(c))] if type(others) is list else []
        out.append({**token, "top_logprobs": listed})
    return out


def _token(candidate: Any) -> JsonObject | None:
    if type(candidate) is not dict or type(candidate.get("token")) is not str:
        return None
    token, value = candidate["token"], candidate.get("logProbability", 0.0)
    if type(value) not in (int, float):
        return None
    return {"token": token, "logprob": value, "bytes": list(token.encode("utf-8", "replace"))}


def write_logprobs(content: Any) -> JsonObject:
    """The fields of a candidate; {} when there is nothing to say."""
    if type(content) is not list:
        return {}
    known = [item for item in content if type(item) is dict and "token" in item]
    if not known:
        return {}
    tops = [item.get("top_logprobs") or [] for item in known]
    return {
        "logprobsResult": {
            "chosenCandidates": list(map(_candidate, known)),
            "topCandidates": [{"candidates": list(map(_candidate, top))} for top in tops],
        }
    }


def _candidate(item: JsonObject) -> JsonObject:
    return {"token": item["token"], "logProbability": item.get("logprob")}
