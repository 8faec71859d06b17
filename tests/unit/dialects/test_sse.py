"""Event streams read the same however their bytes are cut (F34, F35)."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.dialects.sse import EventTooLarge, SseEvent, SseParser

MIXED = (
    b"\xef\xbb\xbf: welcome\n\ndata: one\n\nevent: error\ndata: two\ndata:three\n\n"
    b"data\n\nid: 7\nretry: 5\ndata: four\n: note\n\n\n\n"
    b'event: lonely\n\ndata: {"a": "\xe2\x82\xac"}\n\n'
    b"data:  five\n\ndata: last"
)
EVENTS = [
    SseEvent(None, b"one"),
    SseEvent("error", b"two\nthree"),
    SseEvent(None, b""),
    SseEvent(None, b"four"),
    SseEvent(None, b'{"a": "\xe2\x82\xac"}'),
    SseEvent(None, b" five"),
    SseEvent(None, b"last"),
]


def parse(*blocks: bytes) -> list[SseEvent]:
    parser = SseParser()
    events = [event for block in blocks for event in parser.feed(block)]
    return events + parser.close()


def feed_all(parser: SseParser, blocks: list[bytes]) -> None:
    for block in blocks:
        parser.feed(block)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_F34_events_are_the_same_for_every_line_end_and_every_cut(line_end: bytes) -> None:
    raw = MIXED.replace(b"\n", line_end)
    assert parse(raw) == EVENTS
    assert parse(*[raw[i : i + 1] for i in range(len(raw))]) == EVENTS
    for cut in range(len(raw) + 1):
        assert parse(raw[:cut], raw[cut:]) == EVENTS
        assert parse(raw[:cut], b"", raw[cut : cut + 3], raw[cut + 3 :]) == EVENTS


@given(st.lists(st.integers(0, len(MIXED)), max_size=12).map(sorted))
def test_F34_events_are_the_same_for_any_set_of_cuts(cuts: list[int]) -> None:
    edges = [0, *cuts, len(MIXED)]
    assert parse(*[MIXED[a:b] for a, b in pairwise(edges)]) == EVENTS


@given(
    st.lists(st.sampled_from([b"data: x\n\n", b"data: y\r\n\r\n", b": c\n", b"\r", b"data:z\r\r"])),
    st.integers(1, 9),
)
def test_F34_mixed_line_ends_read_the_same_whole_and_in_pieces(
    parts: list[bytes], size: int
) -> None:
    raw = b"".join(parts)
    assert parse(raw) == parse(*[raw[i : i + size] for i in range(0, len(raw), size)])


def test_F34_a_second_byte_order_mark_is_data() -> None:
    assert parse(b"data: x\n\n", b"\xef\xbb\xbfdata: y\n\n") == [SseEvent(None, b"x")]


def test_F35_an_event_above_the_cap_is_refused_however_it_comes() -> None:
    for blocks in (
        [b"data: " + b"x" * 200 + b"\n\n"],
        [b"data: ", *[b"x" * 10] * 20],
        [b"data: xxxx\n"] * 20,
        [b": comment\n"] * 20,
    ):
        parser = SseParser(max_event_bytes=100)
        parser.feed(b"data: fine\n\n")
        with pytest.raises(EventTooLarge):
            feed_all(parser, blocks)


def test_F35_the_cap_counts_each_event_alone() -> None:
    parser = SseParser(max_event_bytes=100)
    for _ in range(50):
        assert len(parser.feed(b"data: " + b"x" * 80)) == 0
        assert len(parser.feed(b"\n\n")) == 1
