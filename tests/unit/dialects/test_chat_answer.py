"""Whole answers: of real providers, and broken ones (F33, F36, F37)."""

import contextlib
from typing import Any

import orjson
import pytest
from openai.types.chat import ChatCompletion

from gatewayz.core.errors import UpstreamBroken, UpstreamError, UpstreamThrottled
from gatewayz.dialects.form import Style, UsageReport
from gatewayz.dialects.openai_chat.answer import Answer, decode_answer, encode_answer
from gatewayz.dialects.openai_chat.stream import ChatStream
from gatewayz.dialects.openai_chat.usage import InvalidUsage, read_usage
from tests.unit.dialects.recorded import CHAT_ID, MODEL, REPORT, Recording, recordings

ANSWERS = [r for r in recordings() if not r.is_stream and r.status == 200]
STYLES: tuple[Style, ...] = ("openai", "openrouter")


def written(answer: Answer, style: Style = "openai", report: UsageReport = REPORT) -> Any:
    raw = encode_answer(
        answer, chat_id=CHAT_ID, model=MODEL, provider="Provider", style=style, report=report
    )
    return orjson.loads(raw)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("recording", ANSWERS, ids=[r.name for r in ANSWERS])
def test_recorded_answers_keep_their_messages_and_are_ours_to_the_openai_client(
    recording: Recording, style: Style
) -> None:
    theirs = orjson.loads(recording.raw)
    try:
        answer = decode_answer(recording.raw, {})
    except UpstreamError:
        assert theirs.get("error")
        return
    ours = written(answer, style)
    # The client's types name fewer tiers and annotations than it reads.
    typed = orjson.loads(orjson.dumps({**ours, "service_tier": None}))
    for choice in typed["choices"]:
        choice["message"].pop("annotations", None)
    ChatCompletion.model_validate(typed)
    assert (ours["id"], ours["model"], ours["object"]) == (CHAT_ID, MODEL, "chat.completion")
    assert ours.get("provider") == ("Provider" if style == "openrouter" else None)
    assert ours["usage"]["cost"] == 0.00123
    assert not answer.empty
    for sent, got in zip(theirs["choices"], ours["choices"], strict=True):
        for name, value in sent["message"].items():
            if name == "tool_calls" and not value:
                continue
            assert got["message"][name] == value
        assert got["finish_reason"]
    for name in theirs.keys() - {"id", "model", "object", "usage", "choices", "x_groq", "cost"}:
        if name != "provider" and (name != "created" or theirs[name]):
            assert ours[name] == theirs[name]


def answer(message: dict[str, Any] | None = None, **fields: Any) -> bytes:
    message = {"role": "assistant", "content": "hi"} if message is None else message
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return orjson.dumps({"id": "x", "model": "n", "choices": [choice], **fields})


@pytest.mark.parametrize(
    "raw",
    [b"", b"<html></html>", b"{", b"[]", b"null", b"{}", b'{"choices":[]}', b'{"choices":{}}',
     b'{"choices":[{}]}', b'{"choices":[null]}', b'{"choices":[{"message":"x"}]}', b"\xff\xfe",
     b'{"choices":[{"message":{"content":"\xff"}}]}', b"data: {}\n\n"],
)  # fmt: skip
def test_F33_what_is_no_completion_is_broken(raw: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        decode_answer(raw, {})


def test_F37_an_error_object_in_a_200_is_its_class() -> None:
    with pytest.raises(UpstreamThrottled):
        decode_answer(b'{"error":{"message":"slow","code":429}}', {})
    with pytest.raises(UpstreamThrottled):
        decode_answer(answer(error={"message": "slow", "code": 429}), {})
    inner = {"index": 0, "message": {"content": ""}, "error": {"code": 429, "message": "slow"}}
    with pytest.raises(UpstreamThrottled):
        decode_answer(orjson.dumps({"choices": [inner]}), {})


def test_D20_an_answer_is_empty_without_content_finish_and_counted_output() -> None:
    nothing = {"index": 0, "message": {"content": ""}, "finish_reason": None}
    assert decode_answer(orjson.dumps({"choices": [nothing]}), {}).empty
    assert not decode_answer(answer({"content": ""}), {}).empty
    counted = {"choices": [nothing], "usage": {"completion_tokens": 5}}
    assert not decode_answer(orjson.dumps(counted), {}).empty


def test_messages_are_put_right_for_openai_clients() -> None:
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    ours = written(decode_answer(answer({"tool_calls": [call]}), {}))["choices"][0]
    made = ours["message"]["tool_calls"][0]
    assert made["function"]["arguments"] == '{"a":1}' and made["id"] and made["type"] == "function"
    assert ours["message"]["content"] is None and ours["message"]["role"] == "assistant"
    assert ours["finish_reason"] == "tool_calls"
    none = written(decode_answer(answer({"content": "x", "tool_calls": []}), {}))
    assert "tool_calls" not in none["choices"][0]["message"]
    parts = [{"type": "thinking", "thinking": [{"text": "hm"}]}, {"type": "text", "text": "x"}]
    message = written(decode_answer(answer({"content": parts}), {}))["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("x", "hm")
    obj = written(decode_answer(answer({"content": {"a": 1}}), {}))
    assert obj["choices"][0]["message"]["content"] == '{"a":1}'


def test_a_missing_creation_time_is_that_of_our_id() -> None:
    assert written(decode_answer(answer(), {}))["created"] == 1_469_922_850


def test_costs_are_exact_numbers() -> None:
    report = UsageReport(cost_nanos=123_456_789_012_345_678, prompt_tokens=1, completion_tokens=1)
    raw = encode_answer(
        decode_answer(answer(), {}), chat_id=CHAT_ID, model=MODEL, provider="P", style="openai",
        report=report,
    )  # fmt: skip
    assert b'"cost":123456789.012345678,' in raw


# ---------------------------------------------------------------- usage


def counts(prompt: Any = 100, output: Any = 50, **fields: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": output, **fields}


def units(raw: dict[str, Any] | None, paths: dict[str, str] | None = None) -> dict[str, int] | None:
    usage = read_usage(raw, paths or {})
    return None if usage is None else {k: v for k, v in usage.units.items() if v}


@pytest.mark.parametrize("raw", [None, {}, {"prompt_tokens": None, "completion_tokens": None}])
def test_F36_missing_usage_is_none(raw: dict[str, Any] | None) -> None:
    assert units(raw) is None


def test_F36_an_explicit_zero_is_a_statement() -> None:
    usage = read_usage(counts(0, 0))
    assert usage is not None and usage.input_tokens == usage.output_tokens == 0


@pytest.mark.parametrize("value", [-1, "5", 1e308, 1.5, True, [], {}, 2**60, float("inf")])
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "prompt_tokens_details"])
def test_F36_impossible_counts_are_refused(name: str, value: Any) -> None:
    raw = counts()
    if name == "prompt_tokens_details":
        raw[name] = {"cached_tokens": value}
    else:
        raw[name] = value
    with pytest.raises(InvalidUsage):
        read_usage(raw)


def test_F36_usage_without_any_total_is_refused() -> None:
    with pytest.raises(InvalidUsage):
        read_usage({"promptTokens": 4})


def test_D16_details_inside_their_totals_are_split_off() -> None:
    details = {"cached_tokens": 60, "audio_tokens": 10}
    raw = counts(prompt_tokens_details=details,
                 completion_tokens_details={"reasoning_tokens": 20, "audio_tokens": 5})  # fmt: skip
    assert units(raw) == {"input": 30, "cache_read": 60, "audio_in": 10, "output": 25,
                          "reasoning": 20, "audio_out": 5}  # fmt: skip
    assert units(counts(prompt_tokens_details=None, completion_tokens_details=None)) == {
        "input": 100, "output": 50}  # fmt: skip
    assert units(counts(100.0, 50.0)) == {"input": 100, "output": 50}
    written = counts(prompt_tokens_details={"cache_write_tokens": 40, "cached_tokens": 10})
    assert units(written) == {"input": 50, "cache_read": 10, "cache_write_5m": 40, "output": 50}


def test_D16_details_outside_their_totals_are_added_when_the_row_or_the_total_says_so() -> None:
    thought = {"completion_tokens_details": {"reasoning_tokens": 200}}
    assert units(counts(total_tokens=350, **thought)) == {
        "input": 100, "output": 50, "reasoning": 200}  # fmt: skip
    assert units(counts(**thought), {"reasoning_outside": "true"}) == {
        "input": 100, "output": 50, "reasoning": 200}  # fmt: skip
    assert units(counts(**thought)) == {"input": 100, "reasoning": 50}
    heard = {"prompt_tokens_details": {"audio_tokens": 30}}
    assert units(counts(total_tokens=180, **heard)) == {
        "input": 100, "audio_in": 30, "output": 50}  # fmt: skip
    cached = {"prompt_tokens_details": {"cached_tokens": 30}}
    assert units(counts(**cached), {"cached_outside": "true"}) == {
        "input": 100, "cache_read": 30, "output": 50}  # fmt: skip
    created = counts(cache_creation_input_tokens=30)
    assert units(created, {"cache_write_outside": "true"}) == {
        "input": 100, "cache_write_5m": 30, "output": 50}  # fmt: skip


def test_D16_parts_greater_than_their_whole_are_cut() -> None:
    assert units(counts(208, 5, prompt_tokens_details={"cached_tokens": 314})) == {
        "cache_read": 208, "output": 5}  # fmt: skip


def test_paths_of_the_providers_row_are_read_first() -> None:
    raw = counts(cached_tokens=40, deep={"x": 7})
    assert units(raw) == {"input": 60, "cache_read": 40, "output": 50}
    assert units(raw, {"cached_input": "usage.deep.x"}) == {
        "input": 93, "cache_read": 7, "output": 50}  # fmt: skip


@pytest.mark.parametrize(
    "choice",
    [
        {"message": {"content": 5}, "finish_reason": "stop"},
        {"message": {"content": "x", "tool_calls": 7}, "finish_reason": "stop"},
        {"message": {"content": "x"}, "finish_reason": ["stop"]},
        {"message": {"content": {"a": 1}, "audio": [1]}, "finish_reason": {}},
    ],
)
def test_junk_where_text_belongs_is_a_broken_answer_or_travels_but_never_crashes(
    choice: dict[str, object],
) -> None:
    raw = orjson.dumps({"choices": [choice]})
    with contextlib.suppress(UpstreamBroken):
        decode_answer(raw, {})
    stream = ChatStream(
        chat_id="chatcmpl-1", model="m", provider="p", style="openai", include_usage=False
    )
    delta = {"delta": choice["message"], "finish_reason": choice["finish_reason"]}
    stream.feed(b"data: " + orjson.dumps({"id": "1", "choices": [delta]}) + b"\n\n")
