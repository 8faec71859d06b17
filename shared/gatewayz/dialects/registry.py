"""The dialects by name, loaded at first use: a cold start pays only for what its request speaks."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TypeVar

from gatewayz.dialects.exchange import ReadCall
from gatewayz.dialects.protocol import Client, Upstream

T = TypeVar("T")
Place = tuple[str, str]  # module below this package, attribute


class _AtFirstUse(Mapping[str, T]):
    """Name → object; its module is imported when somebody asks for it."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places
        self._loaded: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._loaded:
            module, attribute = self._places[name]
            self._loaded[name] = getattr(import_module(f"gatewayz.dialects.{module}"), attribute)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


_BOTH_SIDES: Mapping[str, Place] = {
    "openai_chat": ("openai_chat.codec", "OPENAI_CHAT"),
    "anthropic": ("anthropic.codec", "ANTHROPIC"),
    "google": ("google.codec", "GOOGLE"),
    "openai_responses": ("openai_responses.codec", "OPENAI_RESPONSES"),
    "openai_completions": ("openai_completions.codec", "OPENAI_COMPLETIONS"),
}
# What only providers speak.
_PROVIDERS_ONLY: Mapping[str, Place] = {
    "bedrock": ("bedrock.codec", "BEDROCK"),
    "cohere": ("cohere.codec", "COHERE"),
}
# What answers a client, what calls a provider, what reads a client's request.
CLIENTS: Mapping[str, Client] = _AtFirstUse(_BOTH_SIDES)
UPSTREAMS: Mapping[str, Upstream] = _AtFirstUse({**_BOTH_SIDES, **_PROVIDERS_ONLY})
CALLS: Mapping[str, ReadCall] = _AtFirstUse(
    {
        "openai_chat": ("openai_chat.exchange", "ChatCall"),
        "anthropic": ("anthropic.exchange", "MessagesCall"),
        "google": ("google.exchange", "read_call"),
        "openai_responses": ("openai_responses.exchange", "ResponsesCall"),
        "openai_completions": ("openai_completions.exchange", "CompletionsCall"),
    }
)
