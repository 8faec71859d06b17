"""What a request brings along for its routing: its body as it was read, and its wishes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gatewayz.core.errors import InvalidRequest
from gatewayz.net.asgi import RawHeaders
from gatewayz.routing.preferences import NO_WISHES, Wishes
from gatewayz.routing.wishes import take_wishes


@dataclass(frozen=True, slots=True)
class Routing:
    """`body` is what the dialect reads too; only a suffix of the model's name adds to it."""

    body: dict[str, Any]
    wishes: Wishes = NO_WISHES
    dialect: str = ""


UNROUTED = Routing({})
CHAT = "openai_chat"


def read_routing(body: dict[str, Any], headers: RawHeaders, dialect: str = "") -> Routing:
    """Takes the routing fields out of `body`; InvalidRequest names one that is wrong."""
    return Routing(body, take_wishes(body, headers), dialect)


# A suffix → what it adds to a chat request that does not say it itself.
ADDED: Mapping[str, tuple[str, Any]] = {
    "online": ("web_search_options", {}),
    "thinking": ("reasoning_effort", "medium"),
}
SAID = frozenset({"reasoning", "reasoning_effort", "include_reasoning"})


def add_variants(routing: Routing, variants: Iterable[str]) -> None:
    """What the suffixes of a model's name ask of the answer; InvalidRequest where a dialect has
    no field for it."""
    for variant in variants:
        if variant not in ADDED:
            continue
        if routing.dialect != CHAT:
            raise InvalidRequest(
                f"':{variant}' is for chat completions only.",
                code="unsupported_parameter",
                param="model",
            )
        name, value = ADDED[variant]
        if variant != "thinking" or SAID.isdisjoint(routing.body):
            routing.body.setdefault(name, value)
