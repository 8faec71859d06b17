"""A strict reader of Prometheus' text format, for what the page says."""

import re

_LINE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (-?[\d.]+|[+-]Inf|NaN)", re.DOTALL)
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
_UNESCAPED = {"\\\\": "\\", "\\n": "\n", '\\"': '"'}
Series = dict[tuple[tuple[str, str], ...], str]


def parse(text: str) -> dict[str, Series]:
    """Series by name; AssertionError where a line is none."""
    found: dict[str, Series] = {}
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        if line.startswith("# "):
            assert line == "# EOF" or line.split(" ")[1] in ("HELP", "TYPE"), line
            continue
        match = _LINE.fullmatch(line)
        assert match, line
        labels, rest = [], match[2] or ""
        while rest:
            label = _LABEL.match(rest)
            assert label, line
            value = re.sub(r'\\[\\n"]', lambda m: _UNESCAPED[m[0]], label[2])
            labels.append((label[1], value))
            rest = rest[label.end() :]
        series = found.setdefault(match[1], {})
        assert tuple(labels) not in series, f"twice: {line}"
        series[tuple(labels)] = match[3]
    return found
