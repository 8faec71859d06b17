"""Prints the variables that point other tools to a gateway; the tools stand in tools.toml."""

import shlex
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from gatewayz.cli.target import find_target
from gatewayz.local.errors import LocalError
from gatewayz.local.mount import load_modules, routes_of

# The function that speaks to tools; loading the others would only take time.
SPEAKS = "chat"


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    title: str
    path: str
    exports: dict[str, str]
    # What it exports gets in the way of another tool: shown, and exported when asked for by name.
    alone: bool = False


def load_tools() -> list[Tool]:
    text = files("gatewayz.cli").joinpath("tools.toml").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = tomllib.loads(text)["tools"]
    return [Tool(**row) for row in rows]


def print_exports(name: str, *, key: str, url: str) -> None:
    tools = load_tools()
    if name and name not in {tool.name for tool in tools}:
        known = ", ".join(tool.name for tool in tools)
        raise LocalError(f"{name!r} is not a tool we know: {known}")
    if not (key and url):
        target = find_target()
        key, url = key or target.key, url or target.url
    if not (key and url):
        raise LocalError("This gateway is not a local one: give --url and --key.")
    served = set(routes_of(SPEAKS, dict(load_modules("app", only=SPEAKS))[SPEAKS]))
    said: set[str] = set()
    for tool in tools:
        if name in ("", tool.name):
            origin = url.rstrip("/").removesuffix("/v1")
            _print_tool(tool, served, said, key=key, url=origin, named=bool(name))


def _print_tool(
    tool: Tool, served: set[str], said: set[str], *, key: str, url: str, named: bool
) -> None:
    print(f"# {tool.name}: {tool.title}")
    if tool.path not in served:
        print(f"#   not yet: this gateway does not serve {tool.path}")
        return
    if tool.alone and not named:
        print(f"#   {', '.join(tool.exports)}: gatewayz env {tool.name}")
        return
    for variable, value in tool.exports.items():
        line = f"export {variable}={shlex.quote(value.format(url=url, key=key))}"
        if line not in said:
            print(line)
        said.add(line)
