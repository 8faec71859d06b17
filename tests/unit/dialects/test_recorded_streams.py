"""Streams of real providers through ChatStream: nothing lost, nothing added, however cut."""

import random
from itertools import pairwise

import orjson
import pytest
from openai.types.chat import ChatCompletionChunk

from gatewayz.dialects.form import Style
from gatewayz.dialects.openai_chat.usage import read_usage
from tests.unit.dialects.recorded import (
    CHAT_ID,
    MODEL,
    Recording,
    events,
    plain,
    run,
    stream,
    streams,
)

STREAMS = streams()
KEPT = streams(beside=False)
SHORT = [r for r in KEPT if len(r.raw) < 1600]
IDS = [r.name for r in STREAMS]
STYLES: tuple[Style, ...] = ("openai", "openrouter")


def test_the_project_keeps_streams_of_its_own() -> None:
    assert len(KEPT) >= 15
    assert len({r.provider for r in KEPT}) >= 10
    assert SHORT


@pytest.mark.parametrize("recording", STREAMS, ids=IDS)
@pytest.mark.parametrize("style", STYLES)
def test_the_client_reads_the_text_calls_and_finish_the_provider_sent(
    recording: Recording, style: Style
) -> None:
    reader = stream(style)
    out = run(reader, recording.raw)
    sent, got = plain(recording.raw), plain(out)
    if reader.error is not None:
        assert sent.failed and got.failed
        return
    assert (got.text, got.reasoning) == (sent.text, sent.reasoning)
    assert got.calls == sent.calls
    assert got.finishes.keys() == sent.finishes.keys()
    assert reader.usage == sent.usage
    assert reader.started == bool(sent.text or sent.reasoning or sent.calls)
    assert out.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("recording", STREAMS, ids=IDS)
@pytest.mark.parametrize("style", STYLES)
def test_every_frame_is_a_chunk_of_ours_to_the_openai_client(
    recording: Recording, style: Style
) -> None:
    reader = stream(style, include_usage=True)
    out = run(reader, recording.raw)
    if reader.error is not None:
        return
    frames = list(events(out))
    for frame in frames:
        # Tiers of other providers travel; the client reads them though its type names fewer.
        chunk = ChatCompletionChunk.model_validate({**frame, "service_tier": None})
        assert (chunk.id, chunk.model, chunk.object) == (CHAT_ID, MODEL, "chat.completion.chunk")
        assert frame.get("provider") == (
            "Provider" if style == "openrouter" else frame.get("provider")
        )
    assert frames[-1]["usage"]["cost"] == 0.00123
    assert frames[-1]["choices"] == [] if style == "openai" else frames[-1]["choices"]
    assert all(not frame.get("usage") for frame in frames[:-1])
    assert len({frame["created"] for frame in frames}) == 1


@pytest.mark.parametrize("recording", STREAMS, ids=IDS)
def test_F34_one_byte_at_a_time_gives_the_same_bytes(recording: Recording) -> None:
    whole = run(stream(), recording.raw)
    assert run(stream(), *[recording.raw[i : i + 1] for i in range(len(recording.raw))]) == whole


@pytest.mark.parametrize("recording", SHORT, ids=[r.name for r in SHORT])
def test_F34_a_cut_at_any_offset_between_two_blocks_gives_the_same_bytes(
    recording: Recording,
) -> None:
    whole = run(stream("openrouter"), recording.raw)
    for cut in range(1, len(recording.raw)):
        blocks = recording.raw[:cut], recording.raw[cut:]
        assert run(stream("openrouter"), *blocks) == whole


@pytest.mark.parametrize("recording", KEPT, ids=[r.name for r in KEPT])
def test_F34_random_cuts_give_the_same_bytes(recording: Recording) -> None:
    raw, dice = recording.raw, random.Random(recording.name)
    whole = run(stream(), raw)
    for _ in range(10):
        edges = sorted([0, len(raw), *(dice.randrange(len(raw)) for _ in range(12))])
        blocks = [raw[a:b] for a, b in pairwise(edges)]
        assert run(stream(), *blocks) == whole


@pytest.mark.parametrize("recording", KEPT, ids=[r.name for r in KEPT])
def test_F34_crlf_reads_the_same(recording: Recording) -> None:
    assert run(stream(), recording.raw.replace(b"\n", b"\r\n")) == run(stream(), recording.raw)


@pytest.mark.parametrize("recording", SHORT, ids=[r.name for r in SHORT])
@pytest.mark.parametrize("style", STYLES)
def test_F32_a_stream_that_ends_at_any_offset_gives_a_prefix_and_never_ends_cleanly(
    recording: Recording, style: Style
) -> None:
    sent = plain(recording.raw)
    for cut in range(len(recording.raw)):
        reader = stream(style)
        out = run(reader, recording.raw[:cut])
        got = plain(out)
        assert sent.text.startswith(got.text)
        assert sent.reasoning.startswith(got.reasoning)
        finished = reader.clean_end
        assert finished == (reader.error is None)
        assert finished == (not got.failed)
        if not finished and style == "openai":
            assert b"[DONE]" not in out


@pytest.mark.parametrize("recording", STREAMS, ids=IDS)
def test_F36_usage_can_be_read_as_disjoint_classes_that_add_up(recording: Recording) -> None:
    reader = stream()
    run(reader, recording.raw)
    usage = read_usage(reader.usage)
    if usage is None:
        return
    assert reader.usage is not None
    stated = reader.usage
    assert usage.input_tokens == stated["prompt_tokens"]
    outside = stated["total_tokens"] - stated["prompt_tokens"] - stated["completion_tokens"]
    assert usage.output_tokens == stated["completion_tokens"] + outside


@pytest.mark.parametrize("recording", STREAMS, ids=IDS)
def test_other_fields_of_content_frames_travel(recording: Recording) -> None:
    reader = stream()
    out = run(reader, recording.raw)
    if reader.error is not None:
        return
    theirs = {name for chunk in events(recording.raw) for name in chunk if chunk[name] is not None}
    ours = {name for chunk in events(out) for name in chunk}
    hidden = {"usage", "x_groq", "cost", "error", "provider"}
    assert theirs - hidden <= ours


def test_frames_are_relayed_as_the_bytes_that_came_but_for_id_and_model() -> None:
    recording = next(r for r in KEPT if r.name.startswith("openai__parallel"))
    out = run(stream(), recording.raw)
    chunk = next(c for c in events(recording.raw) if c["choices"][0]["delta"].get("tool_calls"))
    raw = next(e for e in recording.raw.split(b"\n\n") if b"tool_calls" in e)
    expected = raw.replace(orjson.dumps(chunk["id"]), orjson.dumps(CHAT_ID))
    expected = expected.replace(orjson.dumps(chunk["model"]), orjson.dumps(MODEL))
    expected = expected.replace(b',"usage":null', b"")
    assert expected in out
