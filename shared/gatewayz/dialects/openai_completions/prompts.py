"""Several prompts in one request, for targets that answer one at a time: apart and together again.

The answers to the first prompt come first, then those to the second, as the protocol numbers them.
"""

from collections.abc import Sequence
from dataclasses import replace

from gatewayz.dialects.events import Begin, Done, Event, Failed, Pinged, UsageSeen
from gatewayz.dialects.generation import Generation, GenerationRequest
from gatewayz.dialects.openai_chat.layout import usage_object
from gatewayz.dialects.openai_completions.wire import PROMPTS
from gatewayz.dialects.parts import Message, Opaque, Text
from gatewayz.pricing.usage import Usage


def split(request: GenerationRequest) -> tuple[GenerationRequest, ...]:
    """One request per prompt; the request itself when it has one only, or prompts of tokens."""
    message = request.messages[0]
    head, *rest = message.parts
    if not isinstance(head, Opaque) or head.kind != PROMPTS:
        return (request,)
    prompts: list[str] = head.raw[PROMPTS]
    return tuple(
        replace(
            request,
            messages=(Message("user", (Text(prompt), *rest)),),
            n=request.n // len(prompts),
        )
        for prompt in prompts
    )


def joined(answers: Sequence[Generation]) -> Generation:
    """The answers to the parts of a split request, in order, as the answer to the whole."""
    first = answers[0]
    counted = [answer.usage for answer in answers]
    usage = _sum([units for units in counted if units is not None]) if all(counted) else None
    costs = [answer.stated_cost for answer in answers]
    stated = [cost for cost in costs if cost is not None]
    return replace(
        first,
        choices=tuple(choice for answer in answers for choice in answer.choices),
        usage=usage,
        raw_usage=None if usage is None else usage_object(usage),
        stated_cost=sum(stated) if len(stated) == len(costs) else None,
    )


def _sum(counts: Sequence[Usage]) -> Usage:
    names = {name for usage in counts for name in usage.units}
    return Usage({name: sum(u.units.get(name, 0) for u in counts) for name in sorted(names)})


def renumber(event: Event, by: int) -> Event:
    """An event of the stream that answers a later prompt, with its choice's number in the whole."""
    if isinstance(event, Begin | UsageSeen | Failed | Pinged | Done):
        return event
    return replace(event, choice=event.choice + by)
