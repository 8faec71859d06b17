"""Web search, the one hosted tool that several dialects have, from each one's words into another's.

A search that a target cannot do is refused; a wish about it that it cannot follow is dropped and
named.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.generation import GenerationRequest, Tool
from gatewayz.dialects.losses import Losses
from gatewayz.dialects.parts import Opaque

OPTIONS, PLUGINS = "web_search_options", "plugins"
_KIND = re.compile(r"(?:\w+:)?web_search(?:_\w+)?")
_PLACE = ("city", "region", "country", "timezone")
# Keys of a search under which nothing is asked for.
_SILENT = frozenset({"type", "name", "id", "enabled"})


@dataclass(frozen=True, slots=True)
class WebSearch:
    """`where` it was asked for; `wishes`: context_size, max_uses, allowed and blocked domains,
    location, each only if it was said. `unknown` are names of others."""

    where: str
    wishes: Mapping[str, Any]
    unknown: tuple[str, ...] = ()


def take_search(request: GenerationRequest) -> tuple[WebSearch | None, GenerationRequest]:
    """The search that a request asks for, and the request without it."""
    found: WebSearch | None = None
    tools: list[Tool] = []
    for index, tool in enumerate(request.tools):
        asked = _of_tool(tool, f"tools[{index}]")
        if asked is None:
            tools.append(tool)
        found = found or asked
    extras = dict(request.extras)
    options = extras.pop(OPTIONS, None)
    if type(options) is dict:
        found = found or _read(OPTIONS, options)
    plugins = extras.get(PLUGINS)
    if type(plugins) is list:
        web = next((p for p in plugins if type(p) is dict and p.get("id") == "web"), None)
        if web is not None:
            found = found or _read(f"{PLUGINS}[{plugins.index(web)}]", web)
            extras[PLUGINS] = [plugin for plugin in plugins if plugin is not web]
    if found is None:
        return None, request
    return found, replace(request, tools=tuple(tools), extras=extras)


def _of_tool(tool: Tool, where: str) -> WebSearch | None:
    if not isinstance(tool, Opaque):
        return None
    if type(options := tool.raw.get("googleSearch")) is dict:
        return _read(where, options) if len(tool.raw) == 1 else None
    if not _KIND.fullmatch(tool.kind):
        return None
    inner = tool.raw.get("parameters")
    return _read(where, {**tool.raw, **inner} if type(inner) is dict else tool.raw)


def _read(where: str, held: JsonObject) -> WebSearch:
    wishes: dict[str, Any] = {}
    unknown: list[str] = []
    for name, value in held.items():
        if value is None or value in ({}, []) or name in _SILENT or name == "parameters":
            continue
        match name:
            case "search_context_size":
                wishes["context_size"] = value
            case "max_uses" | "max_total_results":
                wishes[name] = value
            case "allowed_domains" | "include_domains":
                wishes["allowed_domains"] = value
            case "blocked_domains" | "exclude_domains" | "excluded_domains" | "excludeDomains":
                wishes["blocked_domains"] = value
            case "filters" if type(value) is dict:
                for inner in ("allowed_domains", "blocked_domains"):
                    if value.get(inner):
                        wishes[inner] = value[inner]
            case "user_location" if type(value) is dict:
                place = value.get("approximate")
                place = place if type(place) is dict else value
                wishes["location"] = {k: place[k] for k in _PLACE if type(place.get(k)) is str}
            case _:
                unknown.append(name)
    return WebSearch(where, wishes, tuple(unknown))


def _take(search: WebSearch, losses: Losses, *known: str) -> JsonObject:
    """The wishes a target can follow; the others are named."""
    words = {"context_size": "search_context_size", "location": "user_location"}
    for name in (*search.wishes, *search.unknown):
        if name not in known:
            losses.drop_as(f"{search.where}.{words.get(name, name)}")
    return {name: search.wishes[name] for name in known if name in search.wishes}


def as_anthropic(search: WebSearch, losses: Losses) -> JsonObject:
    wishes = _take(search, losses, "max_uses", "allowed_domains", "blocked_domains", "location")
    if place := wishes.pop("location", None):
        wishes["user_location"] = {"type": "approximate", **place}
    return {"type": "web_search_20250305", "name": "web_search", **wishes}


def as_responses(search: WebSearch, losses: Losses) -> JsonObject:
    known = ("context_size", "allowed_domains", "blocked_domains", "location")
    wishes = _take(search, losses, *known)
    written: JsonObject = {"type": "web_search"}
    if "context_size" in wishes:
        written["search_context_size"] = wishes["context_size"]
    if filters := {k: wishes[k] for k in known[1:3] if k in wishes}:
        written["filters"] = filters
    if place := wishes.get("location"):
        written["user_location"] = {"type": "approximate", **place}
    return written


def as_google(search: WebSearch, losses: Losses) -> JsonObject:
    _take(search, losses)
    return {"googleSearch": {}}


def as_chat_options(search: WebSearch, losses: Losses) -> JsonObject:
    wishes = _take(search, losses, "context_size", "location")
    written: JsonObject = {}
    if "context_size" in wishes:
        written["search_context_size"] = wishes["context_size"]
    if place := wishes.get("location"):
        written["user_location"] = {"type": "approximate", "approximate": place}
    return written
