"""Moderations: OpenAI's request and answer."""

from typing import Annotated, Any

from pydantic import Field

from gatewayz.api.schemas.chat_request import Label
from gatewayz.api.schemas.embeddings import OneShotUsage
from gatewayz.api.schemas.shape import GenerationId, ModerationId, Ours, Passed
from gatewayz.dialects.moderations.call import MAX_ITEMS


class ModerationUrl(Passed):
    url: str


class ModerationText(Passed):
    type: Annotated[str, Field(pattern="^text$")]
    text: str


class ModerationImage(Passed):
    type: Annotated[str, Field(pattern="^image_url$")]
    image_url: ModerationUrl


class ModerationsRequest(Passed):
    """Texts are judged one by one; a list of parts is judged as one."""

    input: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=MAX_ITEMS)]
        | Annotated[
            list[ModerationText | ModerationImage], Field(min_length=1, max_length=MAX_ITEMS)
        ]
    )
    model: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="without it the model that clients of this protocol mean"
    )
    user: Label | None = None
    session_id: Annotated[str, Field(max_length=256)] | None = None


class Judgement(Passed):
    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, Any]


class ModerationsAnswer(Ours):
    id: ModerationId
    model: str
    results: list[Judgement]
    usage: OneShotUsage


class RoutedModerationsAnswer(ModerationsAnswer):
    """The same at /api/v1, with our id and the provider's name."""

    id: GenerationId
    provider: str
