"""What charge messages show once the ledger has posted them: tokens, charge and cost by model.

Counted there and nowhere else, because a message comes at least once and is posted exactly once.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from gatewayz.core.metrics import metric, metrics_on

NOBODY = "none"
# A model's name is the catalog's, and bounded by it; one that is not is no label.
MAX_NAME_CHARS = 128


def measure_settled(messages: Iterable[Mapping[str, Any]]) -> None:
    if not metrics_on():
        return
    for message in messages:
        model = str(message.get("model") or NOBODY)[:MAX_NAME_CHARS]
        provider = str(message.get("provider") or NOBODY)
        outcome = str(message.get("outcome"))
        metric("settled", model=model, provider=provider, outcome=outcome)
        for cls, units, _ in message.get("lines") or ():
            if units:
                # No keyword of that name exists in Python.
                metric("tokens", units, **{"model": model, "provider": provider, "class": cls})
            if cls == "cache_read" and units:
                metric("cache_hits", kind="prompt")
        charge_nanos = message.get("charge_nanos") or 0
        cost_nanos = (message.get("cost_nanos") or 0) + (message.get("writeoff_nanos") or 0)
        if charge_nanos:
            metric("charge", charge_nanos, model=model, provider=provider)
        if cost_nanos:
            metric("cost", cost_nanos, model=model, provider=provider)
