"""Thoughts that a caller asked not to be shown, taken out of an answer whoever gave it.

Guarantees that they are counted all the same. A proof of thought, which a later turn needs, goes
only where a dialect's callers have one word for both.
"""

from dataclasses import replace

from gatewayz.dialects.events import (
    BlockStart,
    BlockStop,
    Event,
    SignatureDelta,
    ThinkingDelta,
)
from gatewayz.dialects.form import Hides
from gatewayz.dialects.generation import Generation, GenerationRequest
from gatewayz.dialects.parts import Part, RedactedThinking, Thinking

OMITTED = "omitted"  # the form's word for it (generation.Reasoning.show)


def hides_of(request: GenerationRequest, what: Hides) -> Hides:
    """`what` a dialect leaves out, if the request asks for it."""
    reasoning = request.reasoning
    return what if reasoning is not None and reasoning.show == OMITTED else ""


def hidden(generation: Generation, hides: Hides) -> Generation:
    """A whole answer as it is shown."""
    if not hides:
        return generation
    choices = tuple(
        replace(choice, parts=tuple(p for part in choice.parts if (p := _shown(part, hides))))
        for choice in generation.choices
    )
    return replace(generation, choices=choices)


def _shown(part: Part, hides: Hides) -> Part | None:
    match part:
        case Thinking():
            kept = hides == "text" and part.signature is not None
            return replace(part, text="") if kept else None
        case RedactedThinking():
            return part if hides == "text" else None
    return part


class Hider:
    """The same of a stream, event by event; blocks keep being numbered without gaps."""

    __slots__ = ("_hides", "_left", "_open", "_waiting")

    def __init__(self, hides: Hides) -> None:
        self._hides = hides
        self._left: dict[int, int] = {}  # blocks left out so far, by choice
        self._open: set[int] = set()  # choices within a block that is left out
        self._waiting: dict[int, BlockStart] = {}  # thoughts that may have a proof

    def take(self, event: Event) -> list[Event]:
        """What of it is shown."""
        match event:
            case BlockStart(_, Thinking() | RedactedThinking() as part):
                return self._begin(event, part)
            case ThinkingDelta():
                return []
            case SignatureDelta() if event.choice in self._waiting:
                start = self._waiting.pop(event.choice)
                return [start, self._renumbered(event)]
            case SignatureDelta() if event.choice in self._open:
                return []
            case BlockStop() if event.choice in self._waiting or event.choice in self._open:
                self._waiting.pop(event.choice, None)
                self._open.discard(event.choice)
                self._left[event.choice] = self._left.get(event.choice, 0) + 1
                return []
        return [self._renumbered(event)]

    def _begin(self, event: BlockStart, part: Thinking | RedactedThinking) -> list[Event]:
        shown = _shown(part, self._hides)
        if shown is not None:
            event.part = shown
            return [self._renumbered(event)]
        if self._hides == "text":
            event.part = replace(part, text="") if isinstance(part, Thinking) else part
            self._renumbered(event)
            self._waiting[event.choice] = event
        else:
            self._open.add(event.choice)
        return []

    def _renumbered(self, event: Event) -> Event:
        left = self._left.get(getattr(event, "choice", 0), 0)
        if left and hasattr(event, "index"):
            event.index -= left
        return event
