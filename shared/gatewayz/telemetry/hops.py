"""The hops of charge messages through a worker, traced where a message says so.

Loads the tracing library only when a message is traced and a collector is set.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from gatewayz.core.settings import load_settings
from gatewayz.telemetry.context import read_context

if TYPE_CHECKING:
    from gatewayz.stores.queue import Received
    from gatewayz.telemetry.control import Settling


class Hops(Protocol):
    def settled(self) -> None: ...
    def end(self, done: Collection[str]) -> None: ...


class _Untraced:
    def settled(self) -> None:
        return

    def end(self, done: Collection[str]) -> None:
        return


UNTRACED = _Untraced()


def hops_of(messages: "Sequence[Received]") -> "Hops | Settling":
    """One for a batch: `settled` when the ledger has answered, `end` with the ids that are done."""
    traced = [m for m in messages if m.body.get("trace")]
    if not any((c := read_context(m.body["trace"])) and c.sampled for m in traced):
        return UNTRACED
    settings = load_settings()
    if not settings.telemetry.endpoint:
        return UNTRACED
    from gatewayz.telemetry.control import Settling, control_tracer

    tracer = control_tracer(settings)
    return UNTRACED if tracer is None else Settling(tracer, traced)
