"""Rules of ChatStream that recordings do not show (D20, D25, D27, D28, F35–F37, F45)."""

from typing import Any

import orjson
import pytest

from gatewayz.core.errors import (
    InternalError,
    UpstreamBroken,
    UpstreamRejected,
    UpstreamThrottled,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gatewayz.dialects.form import UsageReport
from gatewayz.dialects.openai_chat.stream import MAX_HELD_BYTES, ChatStream
from gatewayz.dialects.sse import MAX_EVENT_BYTES
from tests.unit.dialects.recorded import CHAT_ID, MODEL, REPORT, events, run, stream

DONE = b"data: [DONE]\n\n"


def chunk(
    delta: dict[str, Any] | None = None,
    finish: str | None = None,
    *,
    index: int = 0,
    **fields: Any,
) -> bytes:
    """One event of an upstream with the id up-1 and the model native."""
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    value = {
        "id": "up-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "native",
        "choices": [choice],
        **fields,
    }
    return event(value)


def event(value: Any) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


ROLE = chunk({"role": "assistant", "content": ""})
HELLO = chunk({"content": "Hello"})
STOP = chunk({}, "stop")


# ---------------------------------------------------------------- holding back


def test_lifecycle_frames_wait_for_the_first_content_and_go_before_it() -> None:
    reader = stream()
    assert reader.feed(ROLE) == b""
    assert reader.feed(chunk({})) == b""
    assert not reader.started
    frames = list(events(reader.feed(HELLO)))
    assert reader.started
    assert [f["choices"][0]["delta"] for f in frames] == [
        {"role": "assistant", "content": ""},
        {},
        {"content": "Hello"},
    ]


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"reasoning_content": "x"},
        {"reasoning": "x"},
        {"refusal": "x"},
        {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]},
        {"function_call": {"name": "f"}},
        {"audio": {"id": "a", "data": "AAAA"}},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]},
        {"images": [{"type": "image_url"}]},
        {"content": [{"type": "text", "text": "x"}]},
    ],
)
def test_every_kind_of_content_is_a_first_token(delta: dict[str, Any]) -> None:
    reader = stream()
    assert reader.feed(chunk(delta))
    assert reader.started


@pytest.mark.parametrize(
    "delta", [{}, {"role": "assistant"}, {"content": ""}, {"content": None}, {"tool_calls": []},
              {"reasoning_content": ""}, {"reasoning_details": []}, {"audio": None}]
)  # fmt: skip
def test_frames_without_content_are_no_first_token(delta: dict[str, Any]) -> None:
    reader = stream()
    assert reader.feed(chunk(delta)) == b""
    assert not reader.started


def test_endless_lifecycle_frames_are_not_hoarded() -> None:
    reader = stream()
    for turn in range(10_000):
        reader.feed(ROLE + event({"choices": [], f"field{turn}": "x" * 100}))
    assert len(reader.feed(HELLO)) < 2 * MAX_HELD_BYTES


def test_an_upstream_that_never_stops_after_its_finish_is_broken() -> None:
    reader = stream()
    reader.feed(HELLO + STOP)
    for _ in range(10_000):
        reader.feed(HELLO)
    assert isinstance(reader.error, UpstreamBroken)


def test_everything_from_the_last_finish_on_waits_for_close() -> None:
    reader = stream()
    reader.feed(ROLE + HELLO)
    assert reader.feed(STOP) == b""
    assert reader.feed(DONE) == b""
    out = reader.close(REPORT)
    assert out.endswith(DONE)
    assert [c["choices"][0]["finish_reason"] for c in events(out)] == ["stop"]


def test_content_in_the_finish_frame_is_kept_with_it() -> None:
    reader = stream()
    assert reader.feed(chunk({"content": "all"}, "stop")) == b""
    assert reader.started
    assert next(events(reader.close(REPORT)))["choices"][0]["delta"] == {"content": "all"}


def test_with_several_choices_only_the_last_finish_is_held() -> None:
    reader = stream(n=2)
    reader.feed(HELLO + chunk({"content": "Hi"}, index=1))
    assert b'"finish_reason":"stop"' in reader.feed(STOP)
    assert not reader.clean_end
    assert reader.feed(chunk({"content": "!"}, index=1))
    assert reader.feed(chunk({}, "length", index=1)) == b""
    assert reader.clean_end


def test_comments_and_keepalives_are_not_relayed() -> None:
    reader = stream()
    assert reader.feed(b": OPENROUTER PROCESSING\n\n: ping - 1\n\n") == b""
    assert reader.feed(HELLO).startswith(b"data: ")


# ---------------------------------------------------------------- the end


def test_an_answer_without_content_but_with_a_finish_is_complete_and_not_empty() -> None:
    reader = stream()
    out = run(reader, ROLE + STOP + DONE)
    assert (reader.started, reader.finish, reader.empty) == (False, "stop", False)
    assert [f["choices"][0]["finish_reason"] for f in events(out)] == [None, "stop"]


def test_done_alone_is_a_clean_end_of_an_empty_answer() -> None:
    reader = stream()
    reader.feed(DONE)
    reader.end()
    assert reader.clean_end and reader.empty and reader.error is None


def test_a_missing_done_is_no_cut_once_all_is_finished() -> None:
    reader = stream()
    run(reader, HELLO + STOP)
    assert reader.clean_end and not reader.done


def test_a_last_event_without_its_blank_line_is_read() -> None:
    for ending in (STOP[:-1], STOP[:-2], b"data: [DONE]", b"data: [DONE]\n"):
        reader = stream()
        run(reader, HELLO + ending)
        assert reader.clean_end


def test_done_without_a_finish_is_closed_with_one() -> None:
    out = run(stream(), HELLO + DONE)
    assert [f["choices"][0]["finish_reason"] for f in events(out)] == [None, "stop"]


def test_D9_the_gateway_can_end_an_answer_with_length() -> None:
    reader = stream("openrouter")
    out = reader.feed(HELLO) + reader.close(REPORT, finish="length")
    assert [f["choices"][0]["finish_reason"] for f in events(out)] == [None, "length", "length"]
    assert out.endswith(DONE)


def test_F32_a_cut_is_an_error_and_never_a_clean_end() -> None:
    for raw in (HELLO, HELLO + STOP[:40], ROLE, HELLO + b"data: {"):
        reader = stream()
        out = run(reader, raw)
        assert isinstance(reader.error, UpstreamBroken)
        assert not reader.clean_end
        assert b"[DONE]" not in out and b'"finish_reason":"stop"' not in out


@pytest.mark.parametrize(
    "raw", [b"", b"<html>no</html>", b'{"choices":[{"message":{}}]}', b"\xff\xfe\x00", b"\n\n\n"]
)
def test_F33_what_is_no_event_stream_is_broken(raw: bytes) -> None:
    reader = stream()
    run(reader, raw)
    assert isinstance(reader.error, UpstreamBroken)
    assert not reader.started


@pytest.mark.parametrize(
    "data", [b"{", b"[]", b"1", b'"x"', b"{}}", b'{"choices":1}', b'{"choices":[1]}', b"\xff",
             b'{"choices":[{"delta":{"content":"a\xff"}}]}']
)  # fmt: skip
def test_F34_an_event_that_is_no_chunk_breaks_the_stream(data: bytes) -> None:
    for before in (b"", HELLO):
        reader = stream()
        reader.feed(before + b"data: " + data + b"\n\n" + HELLO)
        assert isinstance(reader.error, UpstreamBroken)
        assert reader.feed(HELLO) == b""


def test_F35_an_endless_event_is_cut_at_the_cap() -> None:
    reader = stream()
    reader.feed(HELLO)
    fed = 0
    while reader.error is None:
        reader.feed(b"data: " if not fed else b"x" * 1_000_000)
        fed += 1_000_000
        assert fed < 2 * MAX_EVENT_BYTES
    assert isinstance(reader.error, UpstreamBroken)


# ---------------------------------------------------------------- errors inside (F37)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "slow down", "code": 429}, UpstreamThrottled),
        ({"message": "boom", "type": "server_error"}, UpstreamUnavailable),
        ({"message": "m", "code": 502}, UpstreamUnavailable),
        ({"message": "m", "code": "rate_limit_exceeded"}, UpstreamThrottled),
        ({"message": "maximum context length is 10", "code": 400}, UpstreamRejected),
        ("text", UpstreamUnavailable),
        ({"code": 504, "message": "late"}, UpstreamTimeout),
    ],
)
@pytest.mark.parametrize("started", [False, True])
def test_F37_an_error_object_ends_the_stream_with_its_class(
    error: Any, kind: type[Exception], started: bool
) -> None:
    for raw in (event({"error": error}), b"event: error\n" + event({"error": error})):
        reader = stream()
        reader.feed((HELLO if started else ROLE) + raw)
        assert type(reader.error) is kind
        assert reader.started == started
        assert not reader.clean_end


def test_F37_error_frames_in_other_shapes_are_recognised() -> None:
    for raw in (
        event({"object": "error", "message": "no", "code": 500}),
        b'event: error\ndata: {"message":"no"}\n\n',
        chunk({"content": ""}, "error", error={"code": 502, "message": "no"}),
        chunk({}, "error"),
        chunk({}, "network_error"),
        chunk({}, "insufficient_system_resource"),
    ):
        reader = stream()
        reader.feed(HELLO + raw)
        assert isinstance(reader.error, UpstreamUnavailable)


def test_an_error_said_after_the_finish_does_not_spoil_the_answer() -> None:
    reader = stream()
    run(reader, HELLO + chunk({}, "length") + event({"error": {"message": "late"}, "choices": []}))
    assert reader.error is None and reader.clean_end


def test_D27_failures_after_content_are_frames_no_client_takes_for_an_end() -> None:
    reader = stream()
    reader.feed(HELLO)
    frame = reader.fail(UpstreamBroken("It broke."))
    assert frame == event(
        {"error": {"message": "It broke.", "type": "upstream_error",
                   "code": "upstream_invalid_response", "param": None}}
    )  # fmt: skip
    reader = stream("openrouter")
    reader.feed(HELLO)
    failed, done = reader.fail(UpstreamThrottled("Slow down.")).split(b"\n\n")[:2]
    value = orjson.loads(failed[6:])
    assert done == b"data: [DONE]"
    assert value["error"]["code"] == 429
    assert value["error"]["metadata"]["error_type"] == "rate_limit_exceeded"
    assert value["choices"] == [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]
    assert (value["id"], value["model"], value["provider"]) == (CHAT_ID, MODEL, "Provider")
    assert b"Internal error" in stream().fail(InternalError())


# ---------------------------------------------------------------- rewriting (D28, F45)


def test_F45_content_that_looks_like_our_frames_stays_content() -> None:
    nasty = (
        '\n\ndata: [DONE]\n\ndata: {"error":{"message":"x"}}\n\n"id":"up-1","model":"native"'
        ',"usage":null \\"id\\":\\"up-1\\" "finish_reason":"stop"'
    )
    reader = stream()
    out = run(reader, HELLO + chunk({"content": nasty}) + STOP + DONE)
    texts = [f["choices"][0]["delta"].get("content", "") for f in events(out)]
    assert texts[1] == nasty
    assert out.count(b"[DONE]\n\n") == 1
    assert b'\\"id\\":\\"up-1\\"' in out


def test_F45_ids_inside_nested_objects_are_not_touched() -> None:
    call = {
        "index": 0,
        "id": "up-1",
        "type": "function",
        "function": {"name": "f", "arguments": ""},
    }
    out = run(stream(), HELLO + chunk({"tool_calls": [call]}) + STOP + DONE)
    frame = list(events(out))[1]
    assert frame["id"] == CHAT_ID
    assert frame["choices"][0]["delta"]["tool_calls"][0]["id"] == "up-1"


@pytest.mark.parametrize(
    "fields", [{}, {"id": ""}, {"id": "other"}, {"model": None}, {"created": 5}, {"object": ""},
               {"model": "other"}]
)  # fmt: skip
def test_id_and_model_are_ours_whatever_the_chunk_says(fields: dict[str, Any]) -> None:
    for first in (HELLO, chunk({"content": "a"}, **fields)):
        reader = stream("openrouter")
        out = reader.feed(first) + reader.feed(chunk({"content": "b"}, **fields))
        for frame in events(out):
            assert (frame["id"], frame["model"]) == (CHAT_ID, MODEL)
            assert frame["object"] == "chat.completion.chunk" and frame["provider"] == "Provider"


def test_chunks_may_be_pretty_printed_or_span_lines() -> None:
    pretty = orjson.dumps(orjson.loads(HELLO[6:]), option=orjson.OPT_INDENT_2)
    raw = b"".join(b"data: " + line + b"\n" for line in pretty.split(b"\n")) + b"\n"
    spaced = HELLO.replace(b'":', b'": ')
    for sent in (raw, spaced):
        reader = stream()
        frames = reader.feed(sent) + reader.feed(sent)
        assert [f["choices"][0]["delta"]["content"] for f in events(frames)] == ["Hello"] * 2
        assert all(f["id"] == CHAT_ID for f in events(frames))


def test_a_chunk_without_choices_lends_its_fields_to_the_next() -> None:
    filters = event({"id": "", "model": "", "choices": [], "prompt_filter_results": [{"a": 1}]})
    reader = stream()
    assert reader.feed(filters) == b""
    frame = next(events(reader.feed(HELLO)))
    assert frame["prompt_filter_results"] == [{"a": 1}]
    assert frame["choices"]


def test_unknown_fields_travel() -> None:
    out = run(stream(), chunk({"content": "x", "odd": 1}, extra={"a": [1]}) + STOP + DONE)
    frame = next(events(out))
    assert frame["extra"] == {"a": [1]} and frame["choices"][0]["delta"]["odd"] == 1


# ---------------------------------------------------------------- small departures


def deltas(out: bytes) -> list[Any]:
    return [f["choices"][0]["delta"] for f in events(out) if f["choices"]]


def test_tool_calls_without_index_or_id_get_them() -> None:
    reader = stream()
    first = {"id": "", "type": "function", "function": {"name": "f", "arguments": '{"a":'}}
    more = {"function": {"arguments": "1}"}}
    second = {"id": "x", "function": {"name": "g", "arguments": {"b": 2}}}
    out = run(
        reader,
        chunk({"tool_calls": [first]}) + chunk({"tool_calls": [more]})
        + chunk({"tool_calls": [second]}) + STOP,
    )  # fmt: skip
    calls = [d["tool_calls"][0] for d in deltas(out) if "tool_calls" in d]
    assert [c["index"] for c in calls] == [0, 0, 1]
    assert calls[0]["id"] and "id" not in calls[1] and calls[2]["id"] == "x"
    assert calls[2]["function"]["arguments"] == '{"b":2}'
    assert reader.finish == "tool_calls"  # the provider said stop


def test_content_parts_become_text_and_thoughts() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "yes"},
    ]
    assert deltas(stream().feed(chunk({"content": parts}))) == [
        {"content": "yes", "reasoning_content": "hm"}
    ]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("eos", "stop"), ("tool_call", "tool_calls"), ("sensitive", "content_filter"),
     ("model_context_window_exceeded", "length"), ("odd", "odd")],
)  # fmt: skip
def test_finish_reasons_are_put_into_the_clients_words(theirs: str, ours: str) -> None:
    reader = stream("openrouter")
    out = run(reader, HELLO + chunk({}, theirs))
    last = list(events(out))[-1]["choices"][0]
    assert reader.finish == ours
    assert (last["finish_reason"], last["native_finish_reason"]) == (ours, theirs)


# ---------------------------------------------------------------- usage (D25, F36)


def usage(prompt: Any = 10, output: Any = 5) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": 15}


def test_D25_the_openai_style_shows_usage_only_when_asked_and_without_choices() -> None:
    raw = HELLO + STOP + chunk(usage=usage(), choices=[]) + DONE
    assert b'"usage"' not in run(stream(), raw)
    last = list(events(run(stream(include_usage=True), raw)))[-1]
    assert last["choices"] == []
    assert last["usage"]["prompt_tokens"] == REPORT.prompt_tokens


def test_D25_the_openrouter_style_always_shows_usage_with_a_choice() -> None:
    last = list(events(run(stream("openrouter"), HELLO + STOP + DONE)))[-1]
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["usage"]["cost"] == 0.00123
    assert last["usage"]["cost_details"] == {
        "upstream_inference_cost": None,
        "upstream_inference_prompt_cost": 0,
        "upstream_inference_completions_cost": 0.00123,
    }
    assert last["usage"]["is_byok"] is False


def test_F36_cumulative_usage_is_stripped_from_the_way_and_the_last_one_wins() -> None:
    reader = stream()
    raw = b"".join(chunk({"content": "x"}, usage=usage(10, i)) for i in range(1, 4))
    out = run(reader, raw + chunk({}, "stop", usage=usage(10, 4)) + DONE)
    assert reader.usage == usage(10, 4)
    assert b"usage" not in out


@pytest.mark.parametrize(
    "last",
    [
        chunk({}, "stop", usage=usage()),
        chunk({}, "stop", x_groq={"id": "r", "usage": usage()}),
        event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage()}]}),
        STOP + event({"choices": [], "usage": usage()}),
        STOP + event({"usage": usage()}),
        STOP + STOP.replace(b"}]}", b'}],"usage":' + orjson.dumps(usage()) + b"}"),
    ],
)
def test_F36_usage_is_found_wherever_it_stands(last: bytes) -> None:
    reader = stream()
    assert b"usage" not in run(reader, HELLO + last + DONE)
    assert reader.usage == usage()


def test_null_usage_is_shown_only_to_those_who_asked_for_usage() -> None:
    null = chunk({"content": "x"}, usage=None)
    assert b'"usage":null' not in stream().feed(null) + stream("openrouter").feed(null)
    assert b'"usage":null' in stream(include_usage=True).feed(null)


def test_missing_usage_is_written_from_the_report_and_marked() -> None:
    report = UsageReport(cost_nanos=1, prompt_tokens=3, completion_tokens=4, estimated=True)
    reader = stream(include_usage=True)
    reader.feed(HELLO + STOP)
    last = list(events(reader.close(report)))[-1]["usage"]
    assert last["total_tokens"] == 7 and last["estimated"] is True
    assert b'"cost":0.000000001,' in stream("openrouter").close(report)


def test_the_upstreams_own_price_is_read_but_shown_only_as_upstream_cost() -> None:
    reader = stream("openrouter")
    priced = {**usage(), "cost": 0.5, "cost_details": {"x": 1}, "market_cost": "0.7"}
    reader.feed(HELLO + chunk({}, "stop", usage=priced))
    assert reader.stated_cost == 0.5
    report = UsageReport(
        cost_nanos=600_000_000,
        prompt_tokens=1,
        completion_tokens=1,
        upstream_cost_nanos=500_000_000,
        prompt_cost_nanos=200_000_000,
    )
    shown = list(events(reader.close(report)))[-1]["usage"]
    assert shown["cost"] == 0.6
    assert shown["cost_details"] == {
        "upstream_inference_cost": 0.5,
        "upstream_inference_prompt_cost": 0.2,
        "upstream_inference_completions_cost": 0.4,
    }
    assert "market_cost" not in shown


def test_other_places_of_the_stated_price_are_named_by_paths() -> None:
    for paths, fields in (
        ({"cost_usd": "cost.usd"}, {"cost": {"usd": 0.25}}),
        (
            {"cost_usd_ticks": "usage.cost_in_usd_ticks"},
            {"usage": {"cost_in_usd_ticks": 2500000000}},
        ),
        ({"cost_usd": "usage.cost.total_cost"}, {"usage": {"cost": {"total_cost": 0.25}}}),
    ):
        reader = ChatStream(
            chat_id=CHAT_ID, model=MODEL, provider="P", style="openai", include_usage=False,
            usage_paths=paths,
        )  # fmt: skip
        reader.feed(HELLO + chunk({}, "stop", **{"usage": usage(), **fields}))
        assert reader.stated_cost == 0.25


def test_delivered_text_is_counted_in_bytes_and_tokens() -> None:
    reader = stream()
    for _ in range(1000):
        reader.feed(chunk({"content": "wörter "}))
    assert reader.output_bytes == 8 * 1000
    assert 1000 < reader.output_tokens_estimate < 5000
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}
    before = reader.output_tokens_estimate
    reader.feed(chunk({"tool_calls": [call]}))
    assert reader.output_tokens_estimate > before
