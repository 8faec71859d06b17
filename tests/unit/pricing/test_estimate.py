"""Estimated token counts against counts of real tokenizers (F55).

counted_texts.json holds [kind, tokens, text]; tokens is the larger count of two widely used
byte-pair vocabularies, taken once with their own encoders.
"""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.pricing.estimate import likely_tokens, text_tokens

COUNTED = json.loads(Path(__file__).with_name("counted_texts.json").read_text("utf-8"))


@pytest.mark.parametrize(("kind", "tokens", "text"), COUNTED)
def test_F55_the_upper_estimate_is_no_less_than_the_real_count(
    kind: str, tokens: int, text: str
) -> None:
    assert text_tokens(text) >= tokens


def test_F55_the_upper_estimate_of_longer_english_stays_below_two_and_a_half_times_the_count() -> (
    None
):
    english = [(t, text) for kind, t, text in COUNTED if kind == "english" and len(text) > 50]
    assert english
    for tokens, text in english:
        assert text_tokens(text) <= 2.5 * tokens


def test_the_likely_estimate_of_all_texts_together_is_near_the_real_count() -> None:
    real = sum(tokens for _, tokens, _ in COUNTED)
    likely = sum(likely_tokens(text) for _, _, text in COUNTED)
    assert 0.7 * real < likely < 1.4 * real


def test_no_text_has_no_tokens() -> None:
    assert text_tokens("") == 0
    assert likely_tokens("") == 0


@given(st.text(max_size=300))
def test_any_text_has_an_estimate_and_the_upper_one_is_the_greater(text: str) -> None:
    upper, likely = text_tokens(text), likely_tokens(text)
    assert upper >= likely >= (1 if text else 0)


@given(st.text(max_size=200), st.text(max_size=200))
def test_more_text_never_has_fewer_tokens_by_more_than_the_spaces_it_adds(a: str, b: str) -> None:
    # Spaces say that the rest is language, which is cheaper: nothing else lowers the estimate.
    if " " not in b:
        assert text_tokens(a + b) >= text_tokens(a)


def test_long_texts_are_summed_exactly() -> None:
    for unit in ("Aé9\n", "word ", "x"):
        once, often = text_tokens(unit * 1000), text_tokens(unit * 100_000)
        assert abs(often - 100 * once) <= 500
