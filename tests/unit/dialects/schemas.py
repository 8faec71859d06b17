"""The published schemas of answers (tests/schemas), and what real answers of their owners say
beyond them.
"""

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from tests.unit.dialects import recorded

FOLDER = recorded.ROOT / "tests" / "schemas"
# The owner's own streams say null where its file knows no null.
NULL_IN_CHUNKS = ("usage",)


@cache
def _validator(owner: str, name: str) -> Any:
    document = json.loads((FOLDER / f"{owner}.json").read_text("utf-8"))
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", **document})


def problems(owner: str, name: str, value: Any) -> list[str]:
    """What of `value` does not fit the schema `name` of `owner`; nothing is right."""
    if owner == "openai":
        value = _as_published(value)
    errors = _validator(owner, name).iter_errors(value)
    return [f"{'/'.join(map(str, e.path))}: {e.message[:200]}" for e in errors]


def _as_published(value: Any) -> Any:
    if type(value) is not dict or "choices" not in value:
        return value
    shown = {k: v for k, v in value.items() if v is not None or k not in NULL_IN_CHUNKS}
    kind = str(value.get("object", ""))
    if kind.endswith("chunk"):
        shown["choices"] = [
            _without(choice, "finish_reason", "logprobs") for choice in value["choices"]
        ]
    elif kind == "text_completion":
        shown["choices"] = [_without(choice, "finish_reason") for choice in value["choices"]]
    return shown


def _without(choice: dict[str, Any], *names: str) -> dict[str, Any]:
    """A choice without these where they are null; one is required, and null until the end."""
    kept = {k: v for k, v in choice.items() if v is not None or k not in names}
    return {"finish_reason": "stop", **kept}
