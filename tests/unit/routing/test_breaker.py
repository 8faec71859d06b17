import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.routing import breaker
from gatewayz.routing.breaker import Row, apply, new_row

NOW = 1_000_000_000


def after(*events: str, row: Row | None = None, now_ms: int = NOW, jitter: int = 500) -> Row:
    current = row or new_row()
    for event in events:
        current, _ = apply(current, event, now_ms, jitter)
    return current


def is_open(row: Row, now_ms: int = NOW) -> bool:
    return row[breaker.UNTIL] > now_ms


def test_five_failures_in_a_row_open_it_and_a_success_starts_the_count_again() -> None:
    assert not is_open(after(*["f"] * 4))
    assert is_open(after(*["f"] * 5))
    assert not is_open(after(*["f"] * 4, "s1", *["f"] * 4))


def test_half_of_at_least_twenty_in_a_minute_open_it() -> None:
    mixed = ["f", "s1"] * 9 + ["s1"]
    assert not is_open(after(*mixed))  # nine of nineteen
    assert is_open(after(*mixed, "f"))  # ten of twenty


def test_failures_of_more_than_a_minute_ago_do_not_count() -> None:
    old = after(*["f", "s1"] * 9)
    assert not is_open(after("s1", "f", row=old, now_ms=NOW + 61_000), NOW + 61_000)
    assert is_open(after("f", "f", row=old, now_ms=NOW + 40_000), NOW + 40_000)


@pytest.mark.parametrize(("jitter", "share"), [(0, 0.9), (500, 1.0), (999, 1.099)])
def test_it_opens_for_thirty_seconds_times_n_up_to_five_minutes(jitter: int, share: float) -> None:
    row, now_ms = new_row(), NOW
    for n in range(1, 15):
        row, _ = apply(row, "o", now_ms, jitter)
        length_ms = row[breaker.UNTIL] - now_ms
        assert length_ms == min(int(min(30_000 * n, 300_000) * share), 300_000)
        now_ms = row[breaker.UNTIL]
        row, granted = apply(row, "p", now_ms, jitter)
        assert granted


def test_five_quiet_minutes_make_the_next_opening_a_first_one() -> None:
    row = after("o", "o")
    row = after("s1", row=row, now_ms=row[breaker.UNTIL])
    soon, later = row[breaker.CLOSED_AT] + 299_999, row[breaker.CLOSED_AT] + 300_000
    assert after("o", row=row, now_ms=soon)[breaker.OPENED] == 3
    assert after("o", row=row, now_ms=later)[breaker.OPENED] == 1


def test_half_open_one_probe_decides() -> None:
    row = after("o")
    assert apply(row, "p", NOW, 0)[1] is False
    due = row[breaker.UNTIL]
    row, granted = apply(row, "p", due, 0)
    assert granted and not apply(row, "p", due, 0)[1]
    assert after("s1", row=row, now_ms=due)[breaker.UNTIL] == 0
    assert is_open(after("f", row=row, now_ms=due), due)
    # Who was to probe died: another may, half a minute later.
    assert apply(row, "p", due + breaker.PROBE_MS, 0)[1]


def test_a_success_of_an_older_request_does_not_close_it_and_one_of_a_newer_does() -> None:
    assert is_open(after("o", "s1"))
    assert not is_open(after("o", "y"))


def test_a_probe_of_ours_that_succeeds_ends_everything_at_once() -> None:
    row = after("o", "c9000", "H1", "r")
    assert not is_open(row)
    assert (row[breaker.COOL], row[breaker.HIDDEN], row[breaker.CLOSED_AT]) == (0, 0, NOW)


def test_a_pause_is_kept_for_as_long_as_asked_and_at_most_five_minutes() -> None:
    assert after("c2000", "c1000")[breaker.COOL] == NOW + 2000
    assert after("c99999999")[breaker.COOL] == NOW + 300_000
    assert not is_open(after("c2000"))


def test_ten_percent_errors_demote_for_longer_each_time() -> None:
    row = after(*["s1"] * 18, "f", "f")
    assert row[breaker.SHAKY] == NOW + 60_000 and not is_open(row)
    again = row[breaker.SHAKY] + 1
    row = after(*["s1"] * 18, "f", "f", row=row, now_ms=again)
    assert row[breaker.SHAKY] == again + 120_000


def test_hidden_until_found_again_and_low_until_topped_up() -> None:
    assert after("H1")[breaker.HIDDEN] == 1
    assert after("H1", "s1")[breaker.HIDDEN] == after("H1", "H0")[breaker.HIDDEN] == 0
    # What a person took out of service only a person brings back.
    for event in ("s1", "y", "r", "f", "o", "H1"):
        assert after("H2", event)[breaker.HIDDEN] == 2, event
    assert after("H2", "H0")[breaker.HIDDEN] == 0
    assert after("L5000")[breaker.LOW] == NOW + 5000
    assert after("L5000", "L0")[breaker.LOW] == 0


EVENTS = ["s1", "s7", "f", "f", "f", "o", "c1500", "p", "x", "r", "y", "L9000", "H1", "H2", "H0"]
events = st.sampled_from(EVENTS)
steps = st.lists(
    st.tuples(events, st.sampled_from([0, 1, 4_999, 10_000, 31_000, 400_000]), st.integers(0, 999)),
    max_size=60,
)


@given(steps)
def test_whatever_happens_it_is_never_open_for_more_than_five_minutes(
    happened: list[tuple[str, int, int]],
) -> None:
    row, now_ms = new_row(), NOW
    for event, later_ms, jitter in happened:
        now_ms += later_ms
        before = row
        row, _ = apply(row, event, now_ms, jitter)
        assert before is not row and len(row) == breaker.SIZE
        assert min(row) >= 0
        assert row[breaker.UNTIL] <= now_ms + 300_000 and row[breaker.COOL] <= now_ms + 300_000
