from hypothesis import given
from hypothesis import strategies as st

from gatewayz.core import ids


def test_a_request_id_sorts_by_time_and_is_unique() -> None:
    early, late = ids.ulid(1_000), ids.ulid(2_000)
    assert early < late
    assert len({ids.new_request_id() for _ in range(1_000)}) == 1_000


def test_a_request_id_is_found_again_under_every_dialects_prefix() -> None:
    request_id = ids.new_request_id()
    for prefix in ("chatcmpl-", "cmpl-", "msg_", "resp_", "gen-", "req_"):
        assert ids.parse_request_id(ids.public_id(request_id, prefix)) == request_id


@given(st.text(max_size=60))
def test_anything_else_is_no_request_id(text: str) -> None:
    assert ids.parse_request_id(text + "!") is None


@given(st.integers(0, 2**48 - 1))
def test_a_ulid_carries_its_milliseconds(at_ms: int) -> None:
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    value = 0
    for character in ids.ulid(at_ms)[:10]:
        value = value * 32 + alphabet.index(character)
    assert value == at_ms
