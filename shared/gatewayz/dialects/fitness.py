"""What would be lost of a request at one target: found by writing it there. Pure, and exact.

Costs as much as writing the request does, so it is asked only where the answer decides something.
"""

from typing import NamedTuple

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.exchange import ClientCall
from gatewayz.dialects.form import Target
from gatewayz.dialects.gateway_fields import stays_here
from gatewayz.dialects.protocol import Reply

NOBODY = Reply(request_id="req_00000000000000000000000000", model="")
# What is not a parameter: history that another provider made, marks that only save money.
_NO_PARAMETER = ("messages", "cache_control")


class Fit(NamedTuple):
    """`lost`: parameters in the caller's words that would be dropped; `refusal`: why the target
    cannot serve the request at all."""

    lost: tuple[str, ...] = ()
    refusal: InvalidRequest | None = None

    @property
    def whole(self) -> bool:
        """Nothing is lost: what `provider.require_parameters` asks for."""
        return self.refusal is None and not self.lost


def fit(call: ClientCall, upstream: str, target: Target) -> Fit:
    """How a request fits a provider of dialect `upstream`."""
    try:
        exchange = call.exchange(upstream, target, NOBODY, None)
    except InvalidRequest as refusal:
        return Fit(refusal=refusal)
    return Fit(lost_parameters(exchange.request.dropped))


def lost_parameters(dropped: tuple[str, ...]) -> tuple[str, ...]:
    """What of it a provider could have acted on."""
    heads = ((name, name.partition(".")[0]) for name in dropped)
    return tuple(name for name, head in heads if head not in _NO_PARAMETER and not stays_here(head))
