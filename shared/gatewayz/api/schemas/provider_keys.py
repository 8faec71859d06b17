"""Provider keys (BYOK): what is asked and answered, in the web client's form and OpenRouter's."""

from typing import Annotated, Literal

from pydantic import Field

from gatewayz.api.schemas.billing import Asked, Time
from gatewayz.api.schemas.shape import Count, Ours

PLAIN = r"^[^\x00-\x1f\x7f]*$"
Slug = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
SecretKey = Annotated[str, Field(min_length=8, max_length=4096, description="kept sealed")]
Title = Annotated[str, Field(max_length=100, pattern=PLAIN)]
ModelPattern = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._:/@*-]+$")]
Models = Annotated[list[ModelPattern], Field(min_length=1, max_length=100)]
KeyHash = Annotated[str, Field(pattern=r"^[a-f0-9]{64}$")]
KeyHashes = Annotated[list[KeyHash], Field(min_length=1, max_length=100)]
Person = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[!-~]+$")]
People = Annotated[list[Person], Field(min_length=1, max_length=100)]
Place = Annotated[int, Field(ge=0, le=1_000_000)]
Mode = Literal["always", "fallback"]
MODE = "always: such requests use your own keys alone; fallback: a failure falls back to ours"


class ProviderKeyFields(Asked):
    name: Title | None = None
    mode: Mode | None = Field(default=None, description=MODE)
    priority: Place | None = Field(
        default=None, description="tried in rising order; a new key comes last"
    )
    is_fallback: bool | None = Field(
        default=None, description="only after the provider's other keys"
    )
    is_active: bool | None = None
    allowed_models: Models | None = Field(default=None, description="`*` stands for anything")
    allowed_api_key_hashes: KeyHashes | None = None
    allowed_user_ids: People | None = None


class NewProviderKey(ProviderKeyFields):
    provider_slug: Slug
    api_key: SecretKey


class ChangeProviderKey(ProviderKeyFields):
    api_key: SecretKey | None = Field(default=None, description="takes the place of the one before")


class ProviderKey(Ours):
    id: str
    provider_slug: str
    name: str | None
    label: str = Field(description="how it begins and ends")
    last4: str
    mode: Mode
    priority: Count
    is_fallback: bool
    is_active: bool
    allowed_models: list[str] | None
    allowed_api_key_hashes: list[str] | None
    allowed_user_ids: list[str] | None
    created_at: Time
    updated_at: Time | None


class ProviderKeyMade(ProviderKey):
    status: Literal["success"]
    message: str


class ProviderKeyList(Ours):
    status: Literal["success"]
    total_keys: Count
    provider_keys: list[ProviderKey]


class ProviderKeyGone(Ours):
    status: Literal["success"]
    message: str
    deleted: list[str]


class NewRoutedProviderKey(Asked):
    provider: Slug
    key: SecretKey
    name: Title | None = None
    disabled: bool = False
    is_fallback: bool = False
    allowed_models: Models | None = None
    allowed_api_key_hashes: KeyHashes | None = None
    allowed_user_ids: People | None = None
    sort_order: Place | None = None
    mode: Mode = Field(default="always", description=MODE)


class ChangeRoutedProviderKey(Asked):
    key: SecretKey | None = None
    name: Title | None = None
    disabled: bool | None = None
    is_fallback: bool | None = None
    allowed_models: Models | None = None
    allowed_api_key_hashes: KeyHashes | None = None
    allowed_user_ids: People | None = None
    sort_order: Place | None = None
    mode: Mode | None = Field(default=None, description=MODE)


class RoutedProviderKey(Ours):
    id: str
    provider: str
    name: str | None
    label: str
    disabled: bool
    is_fallback: bool
    sort_order: Count
    mode: Mode
    allowed_models: list[str] | None
    allowed_api_key_hashes: list[str] | None
    allowed_user_ids: list[str] | None
    workspace_id: str | None
    created_at: Time
    updated_at: Time | None


class RoutedProviderKeyAnswer(Ours):
    data: RoutedProviderKey


class RoutedProviderKeyList(Ours):
    data: list[RoutedProviderKey]
    total_count: Count


class RoutedProviderKeyGone(Ours):
    deleted: Literal[True]
