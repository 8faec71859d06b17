"""The environment that commands of this machine run in: the process's own, then `.env`.

What is really set wins over the file. The values reach our code by Settings and Secrets only.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from gatewayz.local.errors import LocalError

ENV_FILE = Path(".env")
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.DOTALL)
_ESCAPES = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}


def parse_env(text: str, name: str = ".env") -> dict[str, str]:
    """`KEY=value` lines; quotes, `export` and comments as a shell would take them."""
    values = {}
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise LocalError(f"{name}, line {number}: not of the form NAME=value")
        values[found[1]] = _value(found[2], f"{name}, line {number}")
    return values


def _value(text: str, where: str) -> str:
    if text[:1] not in ("'", '"'):
        return re.split(r"\s#", text, maxsplit=1)[0].strip()
    quote = text[0]
    inner = r"((?:[^\"\\]|\\.)*)" if quote == '"' else r"([^']*)"
    found = re.fullmatch(rf"{quote}{inner}{quote}\s*(?:#.*)?", text)
    if found is None:
        raise LocalError(f"{where}: the quote is not closed")
    if quote == "'":
        return found[1]
    return re.sub(r'\\[n"\\]', lambda m: _ESCAPES[m[0]], found[1])


def load_env_file(file: Path = ENV_FILE) -> None:
    """Give this process what the file sets and its environment does not; no file is no error."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError(f"Cannot read {file}: {error}") from None
    for name, value in parse_env(text, file.name).items():
        os.environ.setdefault(name, value)


def adopt(values: Mapping[str, str]) -> None:
    """Set variables of this process; what its supervisor says wins."""
    os.environ.update(values)


def names_like(prefix: str) -> list[str]:
    """Names of the variables that are set and begin so."""
    return sorted(name for name in dict(os.environ) if name.startswith(prefix))
