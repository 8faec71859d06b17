"""Thoughts that a provider leaves in the text, between <think> and </think>, put apart (§7).

Only for providers that are flagged so, and only at the very beginning of an answer: what comes
after the first closing tag is never touched. Holds back no more than could begin a tag.
"""

from collections.abc import Iterator

THINK_TAGS = "think_tags"  # answers may begin with <think>
THINK_OPEN = "think_open"  # answers begin inside a thought: only </think> is written
QUIRKS = frozenset({THINK_TAGS, THINK_OPEN})
_OPEN, _CLOSE = "<think>", "</think>"


class ThinkTags:
    """feed(text) → (is thought, text) in order; close() → what was held back."""

    __slots__ = ("_held", "_state")

    def __init__(self, *, inside: bool = False) -> None:
        self._state = "inside" if inside else "before"
        self._held = ""

    def feed(self, text: str) -> Iterator[tuple[bool, str]]:
        if self._state == "after":
            yield False, text
            return
        text, self._held = self._held + text, ""
        if self._state == "before":
            begun = text.lstrip()
            if not begun.startswith(_OPEN):
                if _OPEN.startswith(begun):
                    self._held = text
                    return
                self._state = "after"
                yield False, text
                return
            self._state = "inside"
            text = begun[len(_OPEN) :]
        thought, closed, rest = text.partition(_CLOSE)
        if not closed:
            kept = _possible_start(thought)
            self._held = thought[len(thought) - kept :]
            thought = thought[: len(thought) - kept]
        else:
            self._state = "after"
        if thought:
            yield True, thought
        if rest:
            yield False, rest

    def close(self) -> Iterator[tuple[bool, str]]:
        held, self._held = self._held, ""
        if held:
            yield self._state == "inside", held


def _possible_start(text: str) -> int:
    """How many characters at the end of `text` could begin the closing tag."""
    for size in range(min(len(text), len(_CLOSE) - 1), 0, -1):
        if _CLOSE.startswith(text[-size:]):
            return size
    return 0


def for_quirks(quirks: frozenset[str]) -> ThinkTags | None:
    """The splitter for a provider; None for the many that need none."""
    if not quirks & QUIRKS:
        return None
    return ThinkTags(inside=THINK_OPEN in quirks)


def split(text: str, quirks: frozenset[str]) -> list[tuple[bool, str]]:
    """A whole text, put apart."""
    tags = for_quirks(quirks)
    if tags is None:
        return [(False, text)]
    if THINK_OPEN in quirks and _CLOSE not in text:
        return [(False, text)]  # it was no thought after all
    return [*tags.feed(text), *tags.close()]
