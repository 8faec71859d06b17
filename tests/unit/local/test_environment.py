"""`.env` is read as a shell would read it, and never silently."""

import pytest

from gatewayz.local.environment import parse_env
from gatewayz.local.errors import LocalError


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=1", "1"),
        ("export A=1", "1"),
        ("  A = 1  ", "1"),
        ("A=", ""),
        ("A=a b", "a b"),
        ("A=a # said in passing", "a"),
        ("A=a#b", "a#b"),
        ("A='a # b' # c", "a # b"),
        ('A="a\\nb\\"c"', 'a\nb"c'),
        ("A='a\\nb'", "a\\nb"),
        ("A=sk-abc=/+==", "sk-abc=/+=="),
        ("A=$HOME", "$HOME"),
    ],
)
def test_a_line_gives_its_value(line: str, value: str) -> None:
    assert parse_env(line) == {"A": value}


def test_comments_blank_lines_and_a_byte_order_mark_are_no_values() -> None:
    assert parse_env("\ufeff# first\n\nA=1\r\nB=2\n") == {"A": "1", "B": "2"}


@pytest.mark.parametrize("text", ["A=1\nnonsense", "A=1\n1A=2", "A=1\nB='open", 'A=1\nB="a"b'])
def test_what_cannot_be_read_is_named_by_its_line_and_without_its_text(text: str) -> None:
    with pytest.raises(LocalError, match=r"^\.env, line 2: ") as error:
        parse_env(text)
    assert "open" not in str(error.value)
