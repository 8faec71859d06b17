import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.accounts.keys import generate_key, hash_key, well_formed
from gatewayz.accounts.principals import key_in

PEPPER = b"p" * 32


@pytest.mark.parametrize(
    ("stage", "prefix"),
    [("production", "gw_live_"), ("test", "gw_test_"), ("local", "gw_dev_")],
)
def test_a_key_has_its_stages_prefix_and_a_checksum(stage: str, prefix: str) -> None:
    key = generate_key(stage)
    assert key.text.startswith(prefix)
    assert well_formed(key.text.encode())
    assert key.text not in repr(key)


def test_one_wrong_character_anywhere_breaks_the_checksum() -> None:
    text = generate_key("local").text
    for i in range(len(text)):
        other = "A" if text[i] != "A" else "B"
        assert not well_formed((text[:i] + other + text[i + 1 :]).encode())


@given(st.binary(max_size=200))
def test_random_bytes_are_no_key(junk: bytes) -> None:
    assert not well_formed(junk)


def test_F85_keys_that_share_their_first_twenty_characters_hash_apart() -> None:
    one = generate_key("local").text
    two = one[:20] + generate_key("local").text[20:]
    assert hash_key(one.encode(), PEPPER) != hash_key(two.encode(), PEPPER)


def test_a_hash_depends_on_the_pepper() -> None:
    key = generate_key("local").text.encode()
    assert hash_key(key, PEPPER) != hash_key(key, b"q" * 32)


def test_both_headers_carry_a_key() -> None:
    assert key_in([(b"authorization", b"Bearer  abc ")]) == b"abc"
    assert key_in([(b"x-api-key", b"abc")]) == b"abc"
    assert key_in([(b"authorization", b"Basic abc")]) is None
