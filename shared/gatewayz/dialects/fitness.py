"""What would be lost of a request at one target: found by writing it there. Pure, and exact.

Costs as much as writing the request does, so it is asked only where the answer decides something.
"""

from typing import NamedTuple

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.exchange import ClientCall
from gatewayz.dialects.form import Target
from gatewayz.dialects.protocol import Reply

_NOBODY = Reply(request_id="req_00000000000000000000000000", model="")
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
        exchange = call.exchange(upstream, target, _NOBODY, None)
    except InvalidRequest as refusal:
        return Fit(refusal=refusal)
    dropped = exchange.request.dropped
    return Fit(tuple(name for name in dropped if name.partition(".")[0] not in _NO_PARAMETER))
