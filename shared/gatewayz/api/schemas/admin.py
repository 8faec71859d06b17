"""What staff send and get. Changes: a field that is absent stays as it is, null takes it back."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Change(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Decision(_Change):
    decision: Literal["accepted", "rejected"]


class OfferChange(_Change):
    """`price`: class → USD per 10^6 units as text, or {"free": true}; `markup`: a factor."""

    offer: str = Field(min_length=1, max_length=260)
    enabled: bool | None = None
    hidden: bool | None = None
    markup: str | None = None
    price: dict[str, str | bool] | None = None
    model: str | None = Field(default=None, max_length=128)


class ModelChange(_Change):
    model: str = Field(min_length=1, max_length=128)
    enabled: bool | None = None
    hidden: bool | None = None
    markup: str | None = None


class ProviderChange(_Change):
    provider: str = Field(pattern="^[a-z0-9][a-z0-9-]{0,39}$")
    enabled: bool | None = None
    markup: str | None = None


class AliasChange(_Change):
    """Without a model the name goes. A redirect leads on from a retired model's name."""

    alias: str = Field(min_length=1, max_length=128)
    model: str | None = Field(default=None, max_length=128)
    kind: Literal["alias", "redirect"] = "alias"


class PublishRequest(_Change):
    force: bool = False


class AdminList(BaseModel):
    data: list[dict[str, Any]]


class AdminAnswer(BaseModel):
    """Depends on the operation; further fields may come."""

    model_config = ConfigDict(extra="allow")
