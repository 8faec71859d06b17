"""Sources of an answer's text. Their places are characters of one of its content items."""

from typing import Any

from gatewayz.dialects.cohere.wire import NAME
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.parts import Citation

IN_TEXT = "TEXT_CONTENT"
_URL_FIELDS = ("url", "link", "source")
_TEXT_FIELDS = ("text", "snippet", "content")


def is_in_text(item: Any) -> bool:
    """Others are of plans and thoughts, where no dialect has a place for them."""
    return type(item) is dict and item.get("type") in (IN_TEXT, None)


def read_citation(item: JsonObject) -> Citation:
    sources = item.get("sources")
    first = sources[0] if type(sources) is list and sources else None
    source = first if type(first) is dict else {}
    held = source.get("document") or source.get("tool_output")
    found = held if type(held) is dict else {}
    addresses = [found.get(name) for name in _URL_FIELDS] + [source.get("id"), found.get("id")]
    return Citation(
        url=next((text for text in addresses if _is_web(text)), None),
        title=_text(found.get("title")),
        cited=next((text for name in _TEXT_FIELDS if (text := _text(found.get(name)))), None),
        start=_place(item.get("start")),
        end=_place(item.get("end")),
        dialect=NAME,
        raw=item,
    )


def _text(value: Any) -> str | None:
    return value if type(value) is str and value else None


def _is_web(value: Any) -> bool:
    return type(value) is str and value.startswith(("https://", "http://"))


def _place(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
