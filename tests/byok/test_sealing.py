"""Sealed secrets: opened by their ring, for their place, whole, and by nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.accounts.sealing import (
    NotSealed,
    Ring,
    find_ring,
    new_ring,
    read_ring,
)
from gatewayz.core.errors import SealingNotConfigured

OLD = new_ring()
NEW = new_ring(OLD)


@given(st.text(min_size=1, max_size=200), st.text(max_size=60))
def test_what_is_sealed_opens_for_its_place_alone(secret: str, place: str) -> None:
    ring = read_ring(OLD)
    sealed = ring.seal(secret, place)
    assert ring.open(sealed, place) == secret
    with pytest.raises(NotSealed):
        ring.open(sealed, place + "x")
    assert secret not in sealed or len(secret) < 4


def test_the_same_secret_is_never_sealed_alike() -> None:
    ring = read_ring(OLD)
    assert len({ring.seal("secret", "p") for _ in range(50)}) == 50


def test_every_changed_character_is_noticed() -> None:
    ring = read_ring(OLD)
    sealed = ring.seal("a secret of some length", "place")
    for index, sign in enumerate(sealed):
        # The last sign of a part may hold bits that stand for nothing.
        if sign == "." or sealed[index + 1 : index + 2] in ("", "."):
            continue
        other = "A" if sign != "A" else "B"
        with pytest.raises(NotSealed):
            ring.open(sealed[:index] + other + sealed[index + 1 :], "place")


@pytest.mark.parametrize("text", ["", "s1", "s1.1.a.b", "s2.1.AAAA.AAAA", "s1.x.AAAA.AAAA", "...."])
def test_what_is_no_seal_opens_nothing(text: str) -> None:
    with pytest.raises(NotSealed):
        read_ring(OLD).open(text, "place")


def test_a_new_key_in_front_seals_and_the_old_one_still_opens() -> None:
    old, new = read_ring(OLD), read_ring(NEW)
    assert (old.current, new.current, set(new.keys)) == (1, 2, {1, 2})
    sealed = old.seal("secret", "place")
    assert new.open(sealed, "place") == "secret"
    again = new.rewrap(sealed, "place")
    assert again.split(".")[1] == "2"
    assert again.split(".")[3] == sealed.split(".")[3], "the secret itself was not touched"
    assert new.open(again, "place") == "secret"
    only_new = Ring(2, {2: new.keys[2]})
    assert only_new.open(again, "place") == "secret"
    with pytest.raises(NotSealed):
        only_new.open(sealed, "place")
    with pytest.raises(NotSealed):
        new.rewrap(sealed, "elsewhere")


TWICE = pytest.param(f"{OLD} {OLD}", id="twice")


@pytest.mark.parametrize("text", ["", "1:short", "1", TWICE, "0:" + "A" * 43 + "=", "x"])
def test_a_ring_that_is_damaged_is_refused_without_a_word_of_it(text: str) -> None:
    with pytest.raises(ValueError, match="GATEWAYZ_KEY_RING") as refused:
        read_ring(text)
    assert "short" not in str(refused.value)
    with pytest.raises(SealingNotConfigured):
        find_ring(lambda name: text)


def test_a_ring_shows_no_key() -> None:
    assert str(read_ring(OLD).keys[1]) not in repr(read_ring(OLD))
