"""Downloads and likes of open models, as their hub counts them (facts.toml says which).

Guarantees figures by the hub's id of a model, whatever its letters' case; only of models whose
listing says that id. The hub lists the most downloaded of one task at a time, without a key.
"""

import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

from gatewayz.catalog.facts import hub

# Of each task: the rest nobody serves.
PER_TASK = 1000
# A page has about 150 bytes a model.
MAX_PAGE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Figures:
    """Downloads of the last 30 days, and likes."""

    downloads: int
    likes: int


def page_url(task: str) -> str:
    query = [
        ("pipeline_tag", task), ("sort", "downloads"), ("direction", "-1"),
        ("limit", str(PER_TASK)), ("expand[]", "downloads"), ("expand[]", "likes"),
    ]  # fmt: skip
    return f"{hub()['url']}?{urllib.parse.urlencode(query)}"


def read_page(body: bytes) -> Mapping[str, Figures]:
    """ValueError when it is no listing; an item without whole figures is left out."""
    items = json.loads(body)
    if not isinstance(items, list):
        raise ValueError("no list of models")
    found: dict[str, Figures] = {}
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("id"), str):
            continue
        downloads, likes = item.get("downloads"), item.get("likes")
        if _is_count(downloads) and _is_count(likes):
            found.setdefault(item["id"].lower(), Figures(downloads, likes))
    return found


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
