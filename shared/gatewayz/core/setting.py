"""What a documented setting is: a field with its environment variable, default and meaning."""

import dataclasses
from typing import Any


def setting(env: str, default: Any, doc: str, *, secret: bool = False) -> Any:
    return dataclasses.field(default=default, metadata={"env": env, "doc": doc, "secret": secret})
