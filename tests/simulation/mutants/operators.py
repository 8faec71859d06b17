"""Mutants of the guards of money: Python in billing/, SQL functions, the Lua admission script.

A mutant is one small change of one line. It is named by what it changes, so that the list of
survivors still fits when lines move. Log lines, metrics, comments and names are left alone.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "shared" / "gatewayz"
PYTHON = sorted((PACKAGE / "billing").rglob("*.py"))
LUA = sorted((PACKAGE / "stores" / "lua").glob("admit_v*.lua"))[-1:]
# The ledger, keys and their audit, what flows in, limits. Catalog and health move no money.
MONEY = re.compile(r"00(0\d|1\d|4\d|5\d|6[0-3]|8[0-3])_")
SQL = [
    path
    for path in sorted((ROOT / "supabase" / "migrations").glob("*.sql"))
    if MONEY.match(path.name)
]
Kind = Literal["python", "sql", "lua"]


@dataclass(frozen=True)
class Mutant:
    """`old` at `offset` of the file becomes `new`."""

    kind: Kind
    file: str
    offset: int
    old: str
    new: str
    name: str

    def applied(self) -> str:
        """The whole text of the file with this one change."""
        text = (ROOT / self.file).read_text()
        assert text[self.offset : self.offset + len(self.old)] == self.old
        return text[: self.offset] + self.new + text[self.offset + len(self.old) :]


def all_mutants(kind: Kind | None = None) -> list[Mutant]:
    """Every mutant, in the order of the files; of one kind when it is given."""
    found: list[Mutant] = []
    for own, files, find in (
        ("lua", LUA, _lua_changes), ("python", PYTHON, _python_changes), ("sql", SQL, _sql_changes),
    ):  # fmt: skip
        if kind in (None, own):
            for file in files:
                found += _named(own, file, find(file.read_text()))  # type: ignore[arg-type]
    return found


Change = tuple[int, str, str]


def _named(kind: Kind, file: Path, changes: Iterator[Change]) -> list[Mutant]:
    text, path = file.read_text(), file.relative_to(ROOT).as_posix()
    counts: Counter[str] = Counter()
    found = []
    for offset, old, new in changes:
        start = text.rfind("\n", 0, offset) + 1
        end = text.find("\n", offset)
        line = text[start:end]
        at = offset - start
        changed = line[:at] + new + line[at + len(old) :] if "\n" not in old else new
        name = f"{file.name}: {' '.join(line.split())} ⇒ {' '.join(changed.split()) or '—'}"
        counts[name] += 1
        suffix = f" ({counts[name]})" if counts[name] > 1 else ""
        found.append(Mutant(kind, path, offset, old, new, name + suffix))
    return found


# ---------------------------------------------------------------- text: Lua and SQL

LUA_SWAPS = (
    (r"(?<![<>=~])<(?!=)", "<="), (r"<=", "<"), (r"(?<![<>=~])>(?!=)", ">="), (r">=", ">"),
    (r"==", "~="), (r"~=", "=="), (r"\band\b", "or"), (r"\bor\b", "and"), (r"\bnot ", ""),
    (r" \+ ", " - "), (r" - ", " + "), (r"'-'", "''"), (r"\bmath\.min\b", "math.max"),
    (r"HSETNX", "HSET"), (r"\b1000\b", "1"), (r"\b2000\b", "2"), (r"'0'", "'1'"),
)  # fmt: skip
LUA_STATEMENT = re.compile(r"^ *(redis\.call\(.*\)|put_hold\(.*\)) *$", re.MULTILINE)
LUA_IF = re.compile(r"\bif (.+?) then")

SQL_SWAPS = (
    (r"(?<![<>=:!-])<(?![=>@])", "<="), (r"<=", "<"), (r"(?<![<>=-])>(?![=>])", ">="), (r">=", ">"),
    (r"<>", "="), (r"(?<![<>=:!]) = (?!any)", " <> "), (r" or ", " and "),
    (r"\bnot exists\b", "exists"),
    (r"\bis distinct from\b", "is not distinct from"), (r"\bis not null\b", "is null"),
    (r"\bis null\b", "is not null"), (r"\bleast\(", "greatest("), (r"\bgreatest\(", "least("),
    (r"(?<=[\w)]) \+ (?=[\w(])", " - "), (r"(?<=[\w)]) - (?=[\w(])", " + "),
    (r" for (no key )?update( skip locked)?", ""), (r" on conflict do nothing", ""),
    (r"\bif not found\b", "if found"), (r"\bif found\b", "if not found"), (r"\bdistinct on\b", ""),
)  # fmt: skip
SQL_GUARD = re.compile(
    r"^\s*(if|elsif|when|where|and|or|on|case|continue when|exit when|step :=|amount :=|rest :=|"
    r"part :=|set (drawn|granted|balance|overage|reserved|spent)|update ledger|having|order by|"
    r"select coalesce\(sum|from ledger\.\w+ \w+ where|perform 1 from)|\bcase when\b| for no key |"
    r"\bfor update\b|least\(|greatest\(|do update set spent"
)
SQL_ASSIGNS = re.compile(r"^ *(update .* )?set |^ *set | *do update set ")
SQL_STATEMENT = re.compile(r"^  +perform [^;]*;", re.MULTILINE)
SQL_AND = re.compile(r"^ +and .*$", re.MULTILINE)
SQL_NAME = re.compile(r"^create (?:or replace )?function ([\w.]+)", re.MULTILINE)
SQL_IF = re.compile(r"\bif (.+?) then")
SQL_BODY = re.compile(r"\$\$(.*?)\$\$", re.DOTALL)


def _lua_changes(text: str) -> Iterator[Change]:
    for start, line in _lines(text, "--"):
        for pattern, new in LUA_SWAPS:
            for match in re.finditer(pattern, line):
                if not _in_string(line, match.start(), keep=("'-'", "'0'", "HSETNX")):
                    yield start + match.start(), match[0], new
        for match in LUA_IF.finditer(line):
            yield start + match.start(1), match[1], "false"
            yield start + match.start(1), match[1], "true"
        if match := LUA_STATEMENT.match(line):
            yield start + match.start(1), match[1], ""


def _sql_changes(text: str) -> Iterator[Change]:
    """In bodies of functions; `check` constraints of tables are left to Postgres, and a body that a
    later migration replaces is dead."""
    for body in SQL_BODY.finditer(text):
        names = SQL_NAME.findall(text, 0, body.start())
        if not names or names[-1] in SQL_SPARED or _replaced(names[-1], text):
            continue
        for start, line in _lines(body[1], "--"):
            at = body.start(1) + start
            if SQL_GUARD.search(line):
                for pattern, new in SQL_SWAPS:
                    for match in re.finditer(pattern, line):
                        if not _in_string(line, match.start()) and not (
                            match[0] == " = " and SQL_ASSIGNS.match(line)
                        ):
                            yield at + match.start(), match[0], new
            for match in SQL_IF.finditer(line):
                yield at + match.start(1), match[1], "false"
                yield at + match.start(1), match[1], "true"
            if SQL_AND.match(line) and line.rstrip()[-1:] not in ";,":
                yield at, line, ""
        for match in SQL_STATEMENT.finditer(body[1]):
            start = body.start(1) + match.start()
            yield start + len(match[0]) - len(match[0].lstrip()), match[0].lstrip(), "null;"


# Not guards of money: ids, clocks, partitions, what only reads, and the checker itself, whose arms
# tests/contract/ledger/test_violations.py breaks one by one.
SQL_SPARED = {
    "ledger.close_doors", "ledger.now", "ledger.ulid_time", "ledger.new_ulid", "ledger.span",
    "ledger.ms_of", "ledger.ms_between", "ledger.prepare_month", "api.prepare_partitions",
    "ledger.find_violations", "ledger.derive_balances", "api.check_violations",
    "api.list_requests", "api.list_keys", "ledger.request_json", "api.list_overages",
}  # fmt: skip


@cache
def _last_texts() -> dict[str, str]:
    """By name of a function: the text of the last migration that defines it."""
    folder = ROOT / "supabase" / "migrations"
    return {
        name: text
        for text in (path.read_text() for path in sorted(folder.glob("*.sql")))
        for name in SQL_NAME.findall(text)
    }


def _replaced(name: str, text: str) -> bool:
    return _last_texts()[name] != text


def _lines(text: str, comment: str) -> Iterator[tuple[int, str]]:
    """(offset, line without its comment)."""
    offset = 0
    for line in text.splitlines(keepends=True):
        code = line.rstrip("\n")
        cut = next((m.start() for m in re.finditer(re.escape(comment), code)
                    if not _in_string(code, m.start())), len(code))  # fmt: skip
        if code[:cut].strip():
            yield offset, code[:cut]
        offset += len(line)


def _in_string(line: str, at: int, keep: tuple[str, ...] = ()) -> bool:
    if any(line.startswith(word, at) for word in keep):
        return False
    return line.count("'", 0, at) % 2 == 1


# ---------------------------------------------------------------- Python

COMPARES: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
}  # fmt: skip
OPERATORS: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "+"), ast.Div: ("/", "*"),
    ast.BitOr: ("|", "and"),
}  # fmt: skip
SPARED_CALLS = {"log", "metric"}


class _Finder(ast.NodeVisitor):
    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [0]
        for line in text.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line.encode()))
        self._bytes = text.encode()
        self.changes: list[Change] = []

    def _span(self, node: ast.AST) -> tuple[int, int]:
        """Character offsets of a node."""
        first = self._starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        last = self._starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        return len(self._bytes[:first].decode()), len(self._bytes[:last].decode())

    def _swap(self, left: ast.AST, right: ast.AST, old: str, new: str) -> None:
        start, end = self._span(left)[1], self._span(right)[0]
        at = self._text.find(old, start, end)
        if at >= 0:
            self.changes.append((at, old, new))

    def _replace(self, node: ast.AST, new: str) -> None:
        start, end = self._span(node)
        self.changes.append((start, self._text[start:end], new))

    def visit_Compare(self, node: ast.Compare) -> None:
        for left, op, right in zip(
            [node.left, *node.comparators], node.ops, node.comparators, strict=False
        ):
            self._swap(left, right, *COMPARES[type(op)])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        words = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._swap(left, right, *words)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in OPERATORS and not self._is_text(node):
            self._swap(node.left, node.right, *OPERATORS[type(node.op)])
        self.generic_visit(node)

    @staticmethod
    def _is_text(node: ast.BinOp) -> bool:
        return any(
            isinstance(side, ast.Constant) and isinstance(side.value, str)
            for side in (node.left, node.right)
        ) or isinstance(node.right, ast.List)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            start, end = self._span(node)
            self.changes.append((start, self._text[start:end], ast.unparse(node.operand)))
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        self._replace(node.test, "False")
        self._replace(node.test, "True")
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._replace(node.test, "False")
        self._replace(node.test, "True")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if not isinstance(call, ast.Call):
            return  # a docstring
        if self._owner(call.func) in SPARED_CALLS:
            return
        self._replace(node, "pass")
        self.generic_visit(node)

    @staticmethod
    def _owner(func: ast.expr) -> str:
        while isinstance(func, ast.Attribute):
            func = func.value
        return func.id if isinstance(func, ast.Name) else ""

    def visit_Raise(self, node: ast.Raise) -> None:
        self._replace(node, "pass")

    def visit_Continue(self, node: ast.Continue) -> None:
        self._replace(node, "break")

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.op, ast.Add):
            self._swap(node.target, node.value, "+=", "-=")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if type(node.value) is bool:
            self._replace(node, str(not node.value))
        elif type(node.value) is int:
            self._replace(node, str(node.value + 1))

    def visit_Call(self, node: ast.Call) -> None:
        if self._owner(node.func) not in SPARED_CALLS:
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for child in (*node.args.defaults, *(d for d in node.args.kw_defaults if d), *node.body):
            self.visit(child)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for child in node.body:
            self.visit(child)

    def visit_Module(self, node: ast.Module) -> None:
        """Constants are limits and sizes, chosen and not derived."""
        for child in node.body:
            if not isinstance(child, ast.Assign):
                self.visit(child)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)  # an index names a part of a reply; a wrong one fails at once


def _python_changes(text: str) -> Iterator[Change]:
    finder = _Finder(text)
    finder.visit(ast.parse(text))
    yield from sorted(set(finder.changes))
