"""Quotes of a request, and the past prices of offers."""

from typing import Literal

from pydantic import AwareDatetime, Field

from gatewayz.api.schemas.models import DataPolicy, Pricing
from gatewayz.api.schemas.shape import Count, Ours, Usd

QuoteId = str


class PastPrice(Ours):
    offer: str
    model: str
    provider: str
    native_id: str
    version: str = Field(description="names this price for ever")
    state: str
    source: str
    checked_at: AwareDatetime | None
    valid_from: AwareDatetime | None
    valid_to: AwareDatetime | None = Field(description="null: it is in force")
    pricing: Pricing


class PriceHistory(Ours):
    """The newest first; nothing is ever deleted."""

    object: Literal["list"]
    data: list[PastPrice]
    next_before_ms: Count | None = Field(description="before_ms of the next page")


class Fit(Ours):
    """`fits` is null when nobody states a length, or only the upper estimate is beyond it."""

    length: Count | None
    fits: bool | None
    prompt_tokens_max: Count
    left_tokens: Count | None
    max_output_tokens: Count | None


class Candidate(Ours):
    attempt: Count | None = Field(description="1 is tried first; null: only when others are closed")
    is_byok: bool = Field(description="at the account's own provider key: the price is our fee")
    offer: str
    model: str
    provider: str
    provider_name: str
    expected_usd: Usd
    expected_nanos: Count
    max_usd: Usd = Field(description="what is held for it at most")
    max_nanos: Count
    price_version: str
    price_checked: str | None
    pricing: Pricing
    context: Fit
    data_policy: DataPolicy
    demoted: list[str] = Field(description="why others come before it")


class ExcludedOffer(Ours):
    offer: str
    model: str
    provider: str
    provider_name: str
    reason: str = Field(description="a stable code: branch on it")
    detail: str
    expected_usd: Usd | None
    max_usd: Usd | None
    context: Fit | None
    data_policy: DataPolicy | None


class Assumptions(Ours):
    """What the amounts are reckoned from."""

    prompt_tokens_likely: Count
    prompt_tokens_max: Count
    output_tokens_expected: Count
    output_tokens_limit: Count | None
    answers: Count
    held_output_tokens: Count | None = Field(
        description="a stream without a limit is held for so many at first; the hold grows"
    )


class QuoteAnswer(Ours):
    """What a request would cost. Nothing was executed and no credit was touched."""

    object: Literal["quote"]
    id: str
    quote_id: QuoteId | None = Field(
        description="send it as X-Gatewayz-Quote-Id or quote_id to be charged at these prices;"
        " null when they could not be pinned"
    )
    created_at: AwareDatetime
    expires_at: AwareDatetime | None
    model: str
    requested_model: str
    redirected_from: str | None = Field(description="a retired model that an operator leads on")
    models: list[str]
    dialect: str
    stream: bool
    strategy: str
    assumptions: Assumptions
    candidates: list[Candidate]
    excluded: list[ExcludedOffer]
