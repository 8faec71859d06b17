"""A provider's row applied to a request body: what it refuses, names otherwise, bounds, wants."""

from typing import Any

from gatewayz.dialects.form import JsonObject, Target


def apply_rules(body: JsonObject, target: Target) -> list[str]:
    """Change `body` in place; the fields that were there and are dropped."""
    dropped = [name for name in sorted(target.drop) if name in body]
    for name in dropped:
        del body[name]
    for name, (low, high) in target.clamp.items():
        value: Any = body.get(name)
        if type(value) in (int, float):
            body[name] = min(max(value, low), high)
    for name, new in target.rename.items():
        if name in body:
            value = body.pop(name)
            body.setdefault(new, value)
    for name, text in target.defaults.items():
        body.setdefault(name, text)
    return dropped
