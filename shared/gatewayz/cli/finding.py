"""What an examination finds: one line, and what to do about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Mark = Literal["ok", "warn", "bad", "off"]
SIGNS: Mapping[Mark, str] = {"ok": "✓", "warn": "!", "bad": "✗", "off": "–"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a report; `mend` says what to do."""

    mark: Mark
    subject: str
    state: str
    mend: str = ""
