"""The events of a streamed answer in the internal form, in the order every reader keeps.

Begin, then per choice blocks one after another (opened, grown, closed: never two open at once in a
choice), then Ended per choice, then Done. UsageSeen, Pinged and Failed may stand anywhere; nothing
follows Failed. A provider may go on after it ended a choice: more blocks, no second Ended.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

from gatewayz.core.errors import UpstreamError
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.generation import Finish
from gatewayz.dialects.parts import Citation, Part
from gatewayz.pricing.usage import Usage


@dataclass(slots=True)
class Begin:
    """The provider's first sign of life. `usage` only where it already counted the prompt.
    `dialect` is whose the `extras` of the parts that follow are."""

    dialect: str
    id: str | None = None
    model: str | None = None
    created_s: int | None = None
    usage: Usage | None = None


@dataclass(slots=True)
class BlockStart:
    """`part` as far as it is known: Text(""), Thinking(""), Refusal(""), ToolCall(id, name, "").
    All other parts are whole, and so are these when the provider sends them whole."""

    index: int  # of the block within its choice, counted from 0 without gaps
    part: Part
    choice: int = 0


@dataclass(slots=True)
class TextDelta:
    """More of an open Text or Refusal. `logprobs`: the list of OpenAI's `logprobs.content`."""

    index: int
    text: str
    choice: int = 0
    logprobs: Any = None


@dataclass(slots=True)
class ThinkingDelta:
    index: int
    text: str
    choice: int = 0


@dataclass(slots=True)
class SignatureDelta:
    """The signature of the open block, whole or the next piece of it. `id`: the thought's own,
    where it is known only now."""

    index: int
    signature: str
    origin: str
    choice: int = 0
    id: str | None = None


@dataclass(slots=True)
class ArgumentsDelta:
    """The next piece of the open tool call's arguments, byte for byte."""

    index: int
    text: str
    choice: int = 0


@dataclass(slots=True)
class CitationDelta:
    index: int
    citation: Citation
    choice: int = 0


@dataclass(slots=True)
class BlockStop:
    index: int
    choice: int = 0


@dataclass(slots=True)
class Ended:
    """A choice is complete."""

    finish: Finish
    choice: int = 0


@dataclass(slots=True)
class UsageSeen:
    """Counts so far: cumulative, the last one wins. `usage` None: `raw` cannot be true."""

    usage: Usage | None
    raw: JsonObject
    stated_cost: float | None = None


@dataclass(slots=True)
class Failed:
    error: UpstreamError


@dataclass(slots=True)
class Pinged:
    pass


@dataclass(slots=True)
class Done:
    """The provider said that nothing follows."""


Event: TypeAlias = (
    Begin
    | BlockStart
    | TextDelta
    | ThinkingDelta
    | SignatureDelta
    | ArgumentsDelta
    | CitationDelta
    | BlockStop
    | Ended
    | UsageSeen
    | Failed
    | Pinged
    | Done
)
