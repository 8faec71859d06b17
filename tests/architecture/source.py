"""What a rule is and what it looks at: a source file, its imports and strings, and samples.

A sample is one line: a place, blanks, the code, in which ` ; ` starts a new line.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

Finding = tuple[int, str]
Check = Callable[["Source"], Iterator[Finding]]
NEW_LINE = " ; "


@dataclass(frozen=True)
class Source:
    """A file: `place` is its path below gatewayz/ (or functions/…), `tree` its syntax."""

    place: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def package(self) -> str:
        return self.place.split("/")[0] if "/" in self.place else ""

    @property
    def module(self) -> str:
        name = self.place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        return name if name.startswith("functions.") else f"gatewayz.{name}"

    def within(self, places: list[str]) -> bool:
        return any(self.place.startswith(p) if p[-1] == "/" else self.place == p for p in places)

    @cached_property
    def imports(self) -> list[tuple[int, str]]:
        """Line and dotted name of all that is imported, `from a import b` as a.b."""
        found = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += [(node.lineno, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                package = self.module.split(".")
                package = package if self.place.endswith("__init__.py") else package[:-1]
                above = package[: len(package) + 1 - node.level] if node.level else []
                origin = ".".join([*above, *([node.module] if node.module else [])])
                found += [(node.lineno, f"{origin}.{alias.name}") for alias in node.names]
        return found

    @cached_property
    def strings(self) -> list[tuple[int, str]]:
        """String constants that are not docstrings."""
        prose = {id(n.value) for n in ast.walk(self.tree) if isinstance(n, ast.Expr)}
        return [
            (n.lineno, n.value)
            for n in ast.walk(self.tree)
            if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in prose
        ]


def last_name(node: ast.AST) -> str:
    """The last word of what is named or called: `a.b.c()`, `a.c` and `c` are all "c"."""
    if isinstance(node, ast.Call):
        return last_name(node.func)
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value)
    return getattr(node, "attr", getattr(node, "id", ""))


@dataclass(frozen=True)
class Rule:
    """What `check` finds in a source; `bad` and `good` are samples: a place, blanks, its code."""

    check: Check
    bad: str
    good: str


RULES: list[Rule] = []


def rule(*, bad: str, good: str) -> Callable[[Check], Check]:
    def keep(check: Check) -> Check:
        RULES.append(Rule(check, bad, good))
        return check

    return keep


def samples(text: str) -> Iterator[Source]:
    for line in text.strip().splitlines():
        place, code = line.split(maxsplit=1)
        yield Source(place, code.replace(NEW_LINE, "\n"))
