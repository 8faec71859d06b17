"""Moderation between the dialects: what is to be judged, what was said of it. Plain data."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gatewayz.dialects.embeddings.form import Piece
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.one_shot import Result
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.pricing.usage import Usage

# What is asked when a caller names no model, as OpenAI has it.
DEFAULT_MODEL = "omni-moderation-latest"

Judged: TypeAlias = "str | tuple[Piece, ...]"


@dataclass(frozen=True, slots=True)
class ModerationRequest:
    """`items`: texts, each judged by itself, or one mixture of text and images judged as one."""

    model: str
    items: tuple[Judged, ...]
    single: bool = False  # asked as one text, not as a list
    user: str | None = None
    session: str | None = None
    extras: JsonObject = field(default_factory=dict)


class Judgements(Result):
    """The answer: one object for each item, with `flagged`, `categories`, `category_scores`."""

    __slots__ = ("results",)

    def __init__(
        self,
        results: list[JsonObject],
        usage: Usage | InvalidUsage | None,
        stated_cost: Any = None,
    ) -> None:
        super().__init__(usage, stated_cost)
        self.results = results


def judged(results: Any, request: ModerationRequest) -> list[JsonObject]:
    """The results of an answer, in the clients' form; ValueError when they are none."""
    if type(results) is not list or len(results) != len(request.items):
        raise ValueError("other results than inputs")
    return [_judgement(result) for result in results]


def _judgement(result: Any) -> JsonObject:
    categories, scores = result["categories"], result["category_scores"]
    if type(categories) is not dict or type(scores) is not dict:
        raise ValueError("no judgement")
    if not all(type(hit) is bool for hit in categories.values()):
        raise ValueError("a category that is neither true nor false")
    flagged = result.get("flagged")
    if type(flagged) is not bool:
        # Not every provider sums it up.
        flagged = any(categories.values())
    return {**result, "flagged": flagged}
