"""What moved credit, as its owner and the staff read it; orders of staff."""

from typing import Annotated

from pydantic import Field

from gatewayz.api.schemas.billing import Asked, Time
from gatewayz.api.schemas.shape import Count, Ours, Usd

Name = Annotated[str, Field(min_length=1, max_length=64)]
Reason = Annotated[str, Field(min_length=1, max_length=200)]
# Dollars as a JSON number or as text; read as an exact decimal.
Dollars = Annotated[int | float | str, Field(description="US dollars, at most 9 decimals")]
Operation = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[!-~]+$")]


class Transaction(Ours):
    id: str
    type: str
    transaction_type: str
    kind: str
    amount: Usd
    amount_nanos: int
    balance_before: Usd | None
    balance_after: Usd | None
    description: str | None
    wallet: str | None
    created_at: Time


class TypeSum(Ours):
    count: Count
    total: Usd


class TransactionSummary(Ours):
    """Over everything that fits the filters, not only this page."""

    total_transactions: Count
    total_credits_added: Usd
    total_credits_used: Usd
    net_change: Usd
    by_type: dict[str, TypeSum]


class TransactionList(Ours):
    transactions: list[Transaction]
    summary: TransactionSummary
    total: Count
    limit: Count
    offset: Count


class FeedEntry(Ours):
    id: str
    model: str | None
    amount: Usd
    created_at: Time


class Feed(Ours):
    transactions: list[FeedEntry]
    total: Count


class FeedSummary(Ours):
    total_transactions: Count
    total_cost: Usd


class AskOrder(Asked):
    account: Name | None = None
    user_id: Name | None = None
    amount: Dollars
    reason: Reason
    operation_id: Operation | None = None


class AskNote(AskOrder):
    amount: Dollars | None = None  # type: ignore[assignment]
    request_id: Annotated[str, Field(min_length=1, max_length=64)]


class AskBulk(Asked):
    accounts: Annotated[list[Name], Field(min_length=1, max_length=200)] | None = None
    user_ids: Annotated[list[Name], Field(min_length=1, max_length=200)] | None = None
    amount: Dollars
    reason: Reason
    operation_id: Operation | None = None
