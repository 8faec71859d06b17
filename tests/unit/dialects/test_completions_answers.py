"""Legacy completions, whole and streamed: read, written, and read again by the official client."""

from itertools import pairwise
from typing import Any

import httpx2
import openai
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayz.core.errors import RateLimited, UpstreamBroken, UpstreamError, UpstreamUnavailable
from gatewayz.dialects.anthropic.codec import ANTHROPIC
from gatewayz.dialects.events import (
    BlockStart,
    BlockStop,
    Ended,
    Event,
    Failed,
    TextDelta,
)
from gatewayz.dialects.form import Style
from gatewayz.dialects.generation import Choice, Finish, Generation
from gatewayz.dialects.openai_chat.codec import OPENAI_CHAT
from gatewayz.dialects.openai_completions.codec import OPENAI_COMPLETIONS as COMPLETIONS
from gatewayz.dialects.openai_completions.wire import NAME
from gatewayz.dialects.parts import Text, Thinking
from gatewayz.dialects.translated import TranslatedStream, read_answer
from gatewayz.pricing.usage import Usage
from tests.unit.dialects import exchanges, recorded
from tests.unit.dialects.exchanges import MODEL, REPORT, TARGET, gather, reply, run, shown
from tests.unit.dialects.test_responses_clients import DOCUMENT, _validate

LOGPROBS = {
    "tokens": [" upon", " a"],
    "token_logprobs": [-0.25, -1.5],
    "top_logprobs": [{" upon": -0.25, " in": -2.0}, {" a": -1.5}],
    "text_offset": [4, 9],
}
WHOLE = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1700000000,
    "model": "native",
    "system_fingerprint": "fp",
    "choices": [
        {"text": " upon a", "index": 0, "logprobs": LOGPROBS, "finish_reason": "length"},
        {"text": " more", "index": 1, "logprobs": None, "finish_reason": "stop", "seed": 3},
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4},
}


def frame(value: Any) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def chunk(text: str, index: int = 0, finish: str | None = None, **more: Any) -> bytes:
    choice = {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
    return frame({"id": "cmpl-1", "created": 1, "model": "x", "choices": [choice], **more})


STREAM = b"".join(
    [
        chunk(" up"),
        chunk(" mo", 1),
        chunk("on ä"),
        chunk("re", 1, "stop"),
        chunk("", 0, "length"),
        frame({"id": "cmpl-1", "choices": [], "usage": WHOLE["usage"]}),
        b"data: [DONE]\n\n",
    ]
)


def client(body: bytes, kind: str, status: int = 200) -> openai.OpenAI:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, content=body, headers={"content-type": kind})

    wire = httpx2.Client(transport=httpx2.MockTransport(answer))
    return openai.OpenAI(api_key="k", base_url="http://gw/v1", http_client=wire, max_retries=0)


def through(upstream: Any, style: Style = "openai", *, n: int = 1) -> TranslatedStream:
    return TranslatedStream(
        upstream.stream_decoder(TARGET, n=n),
        COMPLETIONS.stream_encoder(reply(style, n=n)),
        n=n,
    )


# ---------------------------------------------------------------- whole


def test_a_whole_answer_keeps_all_that_the_provider_said() -> None:
    generation = COMPLETIONS.decode_answer(orjson.dumps(WHOLE), TARGET)
    assert [c.parts for c in generation.choices] == [(Text(" upon a"),), (Text(" more"),)]
    assert generation.usage == Usage({"input": 1, "output": 3})
    body = COMPLETIONS.encode_answer(generation, reply(n=2), REPORT)
    written = orjson.loads(body)
    assert written["choices"] == WHOLE["choices"]
    assert written["id"].startswith("cmpl-")
    assert (written["model"], written["system_fingerprint"]) == (MODEL, "fp")
    assert written["usage"]["cost"] == 0.00123
    read = client(body, "application/json").completions.create(model=MODEL, prompt="Once")
    assert [c.text for c in read.choices] == [" upon a", " more"]
    assert read.choices[0].logprobs is not None
    assert read.choices[0].logprobs.tokens == LOGPROBS["tokens"]
    if DOCUMENT is not None:
        _validate("CreateCompletionResponse", written)


@pytest.mark.parametrize("exchange", exchanges.answers(beside=False), ids=str)
@pytest.mark.parametrize("style", ["openai", "openrouter"])
def test_answers_of_chat_models_are_completions(exchange: Any, style: Style) -> None:
    upstreams = {"openai_chat": OPENAI_CHAT, "anthropic": ANTHROPIC}
    sent = exchanges.plain(exchange)
    if exchange.dialect not in upstreams or sent.failed:
        return
    answer = read_answer(upstreams[exchange.dialect], exchange.raw, TARGET)
    body = COMPLETIONS.encode_answer(answer.generation, reply(style), REPORT)
    read = client(body, "application/json").completions.create(model=MODEL, prompt="Once")
    assert read.choices[0].text == sent.text + sent.refusal
    assert read.choices[0].finish_reason in ("stop", "length", "content_filter")
    assert read.usage is not None
    if DOCUMENT is not None and style == "openai":
        _validate("CreateCompletionResponse", orjson.loads(body))


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[{}]}', b'{"choices":[1]}'],
)
def test_F33_what_is_no_completion_raises(body: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        COMPLETIONS.decode_answer(body, TARGET)


def test_F37_an_error_in_a_good_answer_raises_its_own_class() -> None:
    with pytest.raises(UpstreamError):
        COMPLETIONS.decode_answer(b'{"error":{"message":"x","code":503}}', TARGET)


# ---------------------------------------------------------------- streamed


def test_a_stream_of_two_choices_is_read_by_the_official_client() -> None:
    for style in ("openai", "openrouter"):
        out = run(through(COMPLETIONS, style, n=2), [STREAM])  # type: ignore[arg-type]
        texts, finishes, usage = ["", ""], ["", ""], None
        stream = client(out, "text/event-stream").completions.create(
            model=MODEL, prompt="Once", stream=True
        )
        for part in stream:
            assert (part.model, part.object) == (MODEL, "text_completion")
            usage = part.usage or usage
            for choice in part.choices:
                texts[choice.index] += choice.text
                finishes[choice.index] = choice.finish_reason or finishes[choice.index]
        assert texts == [" upon ä", " more"]
        assert finishes == ["length", "stop"]
        assert usage is not None
        assert out.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("exchange", exchanges.streams(beside=False), ids=str)
def test_streams_of_chat_models_are_completions(exchange: Any) -> None:
    upstreams = {"openai_chat": OPENAI_CHAT, "anthropic": ANTHROPIC}
    if exchange.dialect not in upstreams:
        return
    reader = through(upstreams[exchange.dialect])
    out = run(reader, [exchange.raw])
    stream = client(out, "text/event-stream").completions.create(
        model=MODEL, prompt="Once", stream=True
    )
    if reader.error is not None:
        with pytest.raises(openai.APIError):
            list(stream)
        return
    choices = [choice for part in stream for choice in part.choices if not choice.index]
    assert "".join(c.text for c in choices) == exchanges.plain(exchange).text
    assert choices[-1].finish_reason


def test_F34_a_cut_at_any_offset_gives_the_same_bytes() -> None:
    whole = run(through(COMPLETIONS, n=2), [STREAM])
    for cut in range(1, len(STREAM)):
        assert run(through(COMPLETIONS, n=2), [STREAM[:cut], STREAM[cut:]]) == whole
    crlf = STREAM.replace(b"\n", b"\r\n")
    assert run(through(COMPLETIONS, n=2), [crlf]) == whole


def test_F32_a_stream_that_ends_too_soon_never_ends_cleanly() -> None:
    for cut in range(len(STREAM)):
        reader = through(COMPLETIONS, n=2)
        out = run(reader, [STREAM[:cut]])
        assert (b"[DONE]" in out) == reader.clean_end == (reader.error is None)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"data: {no\n\n", UpstreamBroken),
        (b"data: [1]\n\n", UpstreamBroken),
        (b'data: {"choices":[1]}\n\n', UpstreamBroken),
        (b'data: {"error":{"message":"x","code":503}}\n\n', UpstreamUnavailable),
        (b'event: error\ndata: {"message":"x","code":503}\n\n', UpstreamUnavailable),
        (b"<html>", UpstreamBroken),
    ],
)
def test_F37_a_broken_stream_fails_and_never_raises(raw: bytes, kind: type[Exception]) -> None:
    decoder = COMPLETIONS.stream_decoder(TARGET)
    events = decoder.feed(raw) + decoder.end()
    assert isinstance(events[-1], Failed)
    assert type(events[-1].error) is kind


def test_D27_a_failure_is_an_error_frame_without_an_end() -> None:
    error = RateLimited("Slow down.")
    out = COMPLETIONS.stream_encoder(reply()).fail(error)
    assert b"[DONE]" not in out
    stream = client(out, "text/event-stream").completions.create(
        model=MODEL, prompt="Once", stream=True
    )
    with pytest.raises(openai.APIError):
        list(stream)
    out = COMPLETIONS.stream_encoder(reply("openrouter")).fail(error)
    assert next(recorded.events(out))["choices"][0]["finish_reason"] == "error"
    status, body, _ = COMPLETIONS.encode_error(error, style="openai", request_id="req_x")
    with pytest.raises(openai.RateLimitError):
        client(body, "application/json", status).completions.create(model=MODEL, prompt="Once")


def test_thoughts_are_told_only_in_the_style_that_has_a_field_for_them() -> None:
    parts = (Thinking("hm"), Text("so"))
    generation = Generation("anthropic", (Choice(parts, Finish("stop", "end_turn")),))
    plain = orjson.loads(COMPLETIONS.encode_answer(generation, reply(), REPORT))
    assert plain["choices"][0]["text"] == "so"
    assert "reasoning" not in plain["choices"][0]
    other = orjson.loads(COMPLETIONS.encode_answer(generation, reply("openrouter"), REPORT))
    assert other["choices"][0]["reasoning"] == "hm"
    assert other["choices"][0]["native_finish_reason"] == "end_turn"


# ---------------------------------------------------------------- there and back

_tokens = st.lists(
    st.fixed_dictionaries(
        {
            "token": st.text(min_size=1, max_size=5),
            "logprob": st.floats(-9, 0),
            "bytes": st.none(),
            "top_logprobs": st.just([{"token": "t", "logprob": -1.0, "bytes": None}]),
            "text_offset": st.integers(0, 99),
        }
    ),
    min_size=1,
    max_size=3,
)
_choices = st.builds(
    Choice,
    st.text(min_size=1, max_size=20).map(lambda text: (Text(text),)) | st.just(()),
    st.sampled_from([Finish("stop", "stop"), Finish("length", "length")]),
    st.none() | _tokens.map(lambda tokens: {"content": tokens}),
)


@settings(max_examples=60, deadline=None)
@given(choices=st.lists(_choices, min_size=1, max_size=3).map(tuple))
def test_an_answer_is_the_same_after_writing_and_reading(choices: tuple[Choice, ...]) -> None:
    generation = Generation(NAME, choices)
    raw = COMPLETIONS.encode_answer(generation, reply(n=len(choices)), REPORT)
    assert COMPLETIONS.decode_answer(raw, TARGET).choices == choices


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=3), data=st.data())
def test_a_stream_is_the_same_after_writing_and_reading(texts: list[str], data: Any) -> None:
    n = len(texts)
    encoder = COMPLETIONS.stream_encoder(reply(n=n))
    events: list[Event] = []
    for index, text in enumerate(texts):
        at = data.draw(st.integers(0, len(text)))
        events.append(BlockStart(0, Text(""), index))
        events += [TextDelta(0, piece, index) for piece in (text[:at], text[at:]) if piece]
        events += [BlockStop(0, index), Ended(Finish("length"), index)]
    raw = b"".join(map(encoder.encode, events)) + encoder.close(REPORT)
    decoder = COMPLETIONS.stream_decoder(TARGET, n=n)
    found = gather([*decoder.feed(raw), *decoder.end()])
    assert [found[index].parts for index in range(n)] == [[Text(text)] for text in texts]
    assert all(choice.finish and choice.finish.reason == "length" for choice in found.values())


def test_one_byte_at_a_time_gives_the_same_events() -> None:
    decoder = COMPLETIONS.stream_decoder(TARGET, n=2)
    edges = range(len(STREAM) + 1)
    events = [e for a, b in pairwise(edges) for e in decoder.feed(STREAM[a:b])]
    whole = COMPLETIONS.stream_decoder(TARGET, n=2)
    assert shown(events + decoder.end()) == shown(whole.feed(STREAM) + whole.end())
