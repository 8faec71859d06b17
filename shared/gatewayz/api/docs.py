"""The API document as one page to read: plain HTML, no script, nothing from elsewhere."""

import base64
import hashlib
from collections.abc import Iterator
from functools import cache
from html import escape
from typing import Any

from gatewayz.api.openapi import ERRORS, EVENTS, JSON, build_document, write
from gatewayz.api.operations import OPERATIONS, Operation
from gatewayz.api.schemas.errors import SAMPLES, rendered

Json = dict[str, Any]

STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
code,pre{font:13px/1.45 ui-monospace,monospace}
pre{padding:.7rem;overflow:auto;border:1px solid #8885;border-radius:4px;max-height:26rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .6rem .25rem 0;
border-bottom:1px solid #8883;vertical-align:top}
details{border-top:1px solid #8885;padding:.5rem 0}summary{cursor:pointer}
.verb{display:inline-block;min-width:3.2rem;font-weight:600}.quiet{opacity:.7}
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
PAGE_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


@cache
def render_page() -> str:
    document = build_document()
    title = f"{document['info']['title']} API {document['info']['version']}"
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>",
        '<meta name=viewport content="width=device-width">',
        f"<style>{STYLE}</style><h1>{escape(title)}</h1>",
        f"<p>{_prose(document['info']['description'])}</p>",
        '<p><a href="openapi.json">openapi.json</a> is the same for programs.</p>',
    ]
    for tag in document["tags"]:
        parts.append(f"<h2>{escape(tag['name'])}</h2><p>{_prose(tag['description'])}</p>")
        for operation in OPERATIONS:
            if operation.tag == tag["name"]:
                described = document["paths"][operation.path][operation.method]
                parts += _operation(operation, described)
    parts += _errors()
    parts.append("<h2>objects</h2>")
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts += _object(name, schema)
    return "\n".join(parts)


def _operation(operation: Operation, described: Json) -> Iterator[str]:
    yield (
        f"<details><summary><span class=verb>{operation.method.upper()}</span>"
        f"<code>{escape(operation.path)}</code>"
        f" <span class=quiet>{escape(operation.summary)}</span></summary>"
    )
    if operation.detail:
        yield f"<p>{_prose(operation.detail)}</p>"
    for parameter in operation.parameters:
        need = "" if parameter.required else ", optional"
        yield (
            f"<p><code>{escape(parameter.name)}</code> ({parameter.place}{need}):"
            f" {_prose(parameter.meaning)}</p>"
        )
    if operation.request is not None:
        yield f"<h4>Request: {_link(operation.request.__name__)}</h4>"
        yield _example(described["requestBody"]["content"][JSON])
    answer = described["responses"][str(operation.status)]["content"]
    if operation.answer is not None:
        yield f"<h4>Answer: {_link(operation.answer.__name__)}</h4>"
        yield _example(answer[operation.media])
    if operation.frame is not None:
        yield f"<h4>Stream of {_link(operation.frame.__name__)}</h4>"
        yield _example(answer[EVENTS])
    codes = sorted((rendered(code, operation.form)[0], code) for code in operation.errors)
    listed = ", ".join(f"{status} <code>{code}</code>" for status, code in codes)
    name = ERRORS[operation.form].__name__
    yield f"<p class=quiet>Errors ({_link(name)}): {listed}.</p></details>"


def _errors() -> Iterator[str]:
    yield "<h2>errors</h2><table><tr><th>status<th>code<th>type<th>for example"
    for code, error in sorted(SAMPLES.items(), key=lambda item: (item[1].status, item[0])):
        yield (
            f"<tr><td>{error.status}<td><code>{code}</code><td><code>{error.type}</code>"
            f"<td>{escape(error.message)}"
        )
    yield "</table>"


def _object(name: str, schema: Json) -> Iterator[str]:
    yield f"<details id={name}><summary><code>{name}</code></summary>"
    if "description" in schema:
        yield f"<p>{_prose(schema['description'])}</p>"
    if "properties" not in schema:
        yield f"<p>{_kind(schema)}</p></details>"
        return
    yield "<table>"
    needed = schema.get("required", ())
    for field, described in schema["properties"].items():
        need = "" if field in needed else "<span class=quiet>optional</span>"
        yield (
            f"<tr><td><code>{escape(field)}</code><td>{_kind(described)} {need}"
            f"<td>{_prose(described.get('description', ''))}"
        )
    yield "</table></details>"


def _kind(schema: Json) -> str:
    """A schema in a few words, with links to the objects it names."""
    if "$ref" in schema:
        return _link(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        words = schema.get("enum") or [schema["const"]]
        return " or ".join(f"<code>{escape(str(word))}</code>" for word in words)
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    low, high = schema.get("minimum"), schema.get("maximum")
    limits = [f"≥ {low}"] * (low is not None) + [f"≤ {high}"] * (high is not None)
    return " ".join([str(schema.get("type", "anything")), *limits])


def _link(name: str) -> str:
    return f'<a href="#{name}"><code>{name}</code></a>'


def _example(content: Json) -> str:
    value = content.get("example") or content.get("x-example-stream")
    if not value:
        return ""
    text = value if isinstance(value, str) else write(value, indent=True)
    return f"<pre>{escape(text)}</pre>"


def _prose(text: str) -> str:
    """Text with its `code` marked."""
    parts = escape(text).split("`")
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts))
