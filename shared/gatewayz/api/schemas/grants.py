"""Keys for applications: what is asked and answered, in OpenRouter's form."""

from typing import Annotated, Literal

from pydantic import Field

from gatewayz.api.schemas.billing import Asked, Time
from gatewayz.api.schemas.keys import Moment, Reset, Spend
from gatewayz.api.schemas.shape import Count, Ours

PLAIN = r"^[^\x00-\x1f\x7f]*$"
Method = Literal["S256", "plain"]
Challenge = Annotated[str, Field(min_length=43, max_length=128, pattern=r"^[A-Za-z0-9._~-]+$")]
Code = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[!-~]+$")]
Url = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[!-~]+$")]
Label = Annotated[str, Field(min_length=1, max_length=100, pattern=PLAIN)]


class ExchangeCode(Asked):
    code: Code
    code_verifier: Challenge | None = None
    code_challenge_method: Method | None = None


class GivenKey(Ours):
    key: str = Field(description="the whole key, this once")
    user_id: str | None = Field(description="who gave it: a member, or the account")


class AskCode(Asked):
    callback_url: Url
    code_challenge: Challenge | None = None
    code_challenge_method: Method | None = None
    key_label: Label | None = None
    limit: Spend | None = None
    usage_limit_type: Reset | None = None
    expires_at: Moment | None = None


class GivenCode(Ours):
    id: str = Field(description="the code, to be exchanged within ten minutes")
    app_id: Count
    created_at: Time


class GivenCodeAnswer(Ours):
    data: GivenCode
