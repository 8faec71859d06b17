"""Writes a letter from its kind's template: plain text as it stands, and HTML made from it.

A template is a file: the subject, a blank line, paragraphs; `{name}` is a value of the notice. A
paragraph that is a link becomes one. Guarantees that values are escaped in HTML.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from gatewayz.notify.mail import Mail, one_line

TEMPLATES = Path(__file__).parent / "templates"
LAYOUT = "layout.html"
MAX_VALUE_CHARS = 2000
NANOS_PER_CENT = 10_000_000


@cache
def template_of(kind: str) -> tuple[str, tuple[str, ...]]:
    """Subject and paragraphs; FileNotFoundError when the kind has none."""
    text = (TEMPLATES / f"{kind}.txt").read_text()
    subject, _, rest = text.partition("\n\n")
    return subject.strip(), tuple(p.strip() for p in rest.split("\n\n") if p.strip())


@cache
def _layout() -> str:
    return (TEMPLATES / LAYOUT).read_text()


def values_of(notice: Mapping[str, Any], app_url: str) -> dict[str, str]:
    """What a template may say: the notice's data as text, amounts and times readable too."""
    raw: dict[str, Any] = {
        "account": notice.get("account"),
        "account_name": notice.get("account_name") or notice.get("account"),
        "at_ms": notice.get("at_ms"),
        **notice["data"],
    }
    values: defaultdict[str, str] = defaultdict(str, app_url=app_url.rstrip("/"))
    for name, value in raw.items():
        if value is None:
            continue
        values[name] = str(value)[:MAX_VALUE_CHARS]
        if name.endswith("_nanos") and type(value) is int:
            values[name.removesuffix("_nanos") + "_usd"] = dollars(value)
        elif name.endswith("_ms") and type(value) is int:
            values[name.removesuffix("_ms")] = _time(value)
    return values


def dollars(nanos: int) -> str:
    """For people: whole cents, rounded down."""
    whole, cents = divmod(abs(nanos) // NANOS_PER_CENT, 100)
    return f"{'-' if nanos < 0 else ''}${whole}.{cents:02d}"


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%-d %B %Y, %H:%M UTC")


def letter(notice: Mapping[str, Any], *, app_url: str) -> Mail:
    """The mail of a taken notice {id, kind, account, account_name, email, data, at_ms}."""
    subject, paragraphs = template_of(notice["kind"])
    values = values_of(notice, app_url)
    title = one_line(subject.format_map(values))
    # A paragraph all of whose values are missing says nothing.
    shown = [p for p in (p.format_map(values).strip() for p in paragraphs) if p]
    body = "\n".join(_paragraph(p) for p in shown)
    return Mail(
        to=notice["email"],
        subject=title,
        text="\n\n".join(shown) + "\n",
        html=_layout().format(title=escape(title), body=body),
        once=f"notice-{notice['id']}",
    )


def _paragraph(text: str) -> str:
    if text.startswith(("https://", "http://")) and len(text.split()) == 1:
        return f'<p><a href="{escape(text)}">{escape(text)}</a></p>'
    return f"<p>{escape(text).replace(chr(10), '<br>')}</p>"
