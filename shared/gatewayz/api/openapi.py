"""The API document: one OpenAPI 3.1 description of every function, made from operations.py.

Owns its form. Guarantees that each error has its status, code and rendered sample, and that
examples are answers that were really given (schemas/examples.json). Reads nothing of a deployment.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import Any

import orjson
from pydantic.json_schema import models_json_schema

from gatewayz import VERSION
from gatewayz.api.operations import OPERATIONS, Operation, Parameter
from gatewayz.api.schemas.errors import SAMPLES, Error, Form, RoutedError, rendered
from gatewayz.api.schemas.google import GoogleError
from gatewayz.api.schemas.messages import MessagesError
from gatewayz.api.schemas.rerank import CohereError

Json = dict[str, Any]

_EXPONENT = re.compile(r"(?<=[:\s\[])\d+(?:\.\d+)?e-\d+(?=[,\s}\]])")
JSON = "application/json"
EVENTS = "text/event-stream"
ERRORS: Mapping[Form, Any] = {
    "openai": Error,
    "openrouter": RoutedError,
    "anthropic": MessagesError,
    "google": GoogleError,
    "cohere": CohereError,
}
TAGS = {
    "chat": "Answers of models, whole or streamed, in the protocol of your client.",
    "embeddings": "Vectors, ranks and judgements: answered whole, charged for what was read.",
    "models": "What can be asked for. Public.",
    "account": "Credit and keys.",
    "people": "Signing in, the profile, members, invitations and teams of an account.",
    "billing": "Money in: payments, subscriptions, coupons, referrals, trials; and its record.",
    "usage": "What happened to a request, and what it cost.",
    "status": "Health and this document. Public.",
}
HEADERS: Json = {
    "X-Request-ID": {
        "description": "your own X-Request-ID (1-128 visible ASCII characters), else our id",
        "required": True,
        "schema": {"type": "string"},
        "example": "req_01M89HHCCJT9KCQZSB0ZRMMK9Z",
    },
    "X-Generation-Id": {
        "description": "the id under which /v1/generation finds the request",
        "required": True,
        "schema": {"type": "string", "pattern": "^gen-[0-9A-HJKMNP-TV-Z]{26}$"},
        "example": "gen-01M89HHCCJT9KCQZSB0ZRMMK9Z",
    },
    "X-Provider": {
        "description": "who answered, when it was known before the first byte was sent",
        "schema": {"type": "string"},
        "example": "sandbox",
    },
    "X-Gatewayz-Dropped-Params": {
        "description": "fields of the request that the provider who answered does not take",
        "schema": {"type": "string"},
        "example": "top_k, seed",
    },
    "X-Gatewayz-Estimated": {
        "description": "the count is our own estimate, no provider was asked",
        "schema": {"type": "string"},
        "example": "true",
    },
    "ETag": {
        "description": "names the content: send it as If-None-Match and get a 304 while it holds",
        "schema": {"type": "string"},
        "example": 'W/"2026-11-25T16-00-00Z.9f1c2d3e4a5b6c7d"',
    },
    "Retry-After": {
        "description": "seconds after which it is worth trying again",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
        "example": "5",
    },
    "Allow": {"schema": {"type": "string"}, "example": "POST, OPTIONS"},
    "WWW-Authenticate": {"schema": {"type": "string"}, "example": "Bearer"},
}
ERROR_HEADERS = {
    401: "WWW-Authenticate", 405: "Allow",
    429: "Retry-After", 503: "Retry-After", 529: "Retry-After",
}  # fmt: skip


@cache
def render_document() -> bytes:
    """The document as JSON."""
    return write(build_document()).encode()


def write(value: Any, *, indent: bool = False) -> str:
    """JSON with sums of money as our answers write them: 0.000016, never 1.6e-05."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else 0).decode()
    return _EXPONENT.sub(lambda number: format(Decimal(number[0]), "f"), text)


@cache
def examples() -> Json:
    """Recorded answers by `method path`: {request, answer, stream}, what each has."""
    loaded: Json = orjson.loads(_text("schemas/examples.json"))
    return loaded


def _text(name: str) -> str:
    return files("gatewayz.api").joinpath(name).read_text()


def build_document() -> Json:
    paths: Json = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Gatewayz",
            "version": VERSION,
            "summary": "One API key, every AI model.",
            "description": _text("about.md"),
        },
        # Beside this document, wherever it is served: a platform may put a stage before it.
        "servers": [{"url": "."}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "security": [{"bearer": []}, {"api_key": []}, {"goog_key": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "headers": HEADERS,
            "examples": {
                f"{code}_{form}": {
                    "summary": SAMPLES[code].message,
                    "value": rendered(code, form)[1],
                }
                for code in SAMPLES
                for form in ERRORS
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "api_key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "goog_key": {"type": "apiKey", "in": "header", "name": "x-goog-api-key"},
            },
        },
    }


def _schemas() -> Json:
    models = {
        model for o in OPERATIONS for model in (o.answer, o.request, o.frame, o.refusal) if model
    }
    ordered = sorted({*models, *ERRORS.values()}, key=lambda model: model.__name__)
    _, found = models_json_schema(
        [(model, "validation") for model in ordered],
        ref_template="#/components/schemas/{model}",
    )
    schemas: Json = _untitled(found["$defs"])
    return schemas


def _untitled(node: Any, *, names: bool = False) -> Any:
    """Without the titles that repeat every field's name; `names`: the keys are fields' names."""
    if isinstance(node, list):
        return [_untitled(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _untitled(value, names=key in ("properties", "$defs") and not names)
        for key, value in node.items()
        if names or key != "title"
    }


def _operation(operation: Operation) -> Json:
    known = examples().get(f"{operation.method} {operation.path}", {})
    described: Json = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
    }
    if operation.detail:
        described["description"] = operation.detail
    if operation.public:
        described["security"] = []
    if operation.parameters:
        described["parameters"] = [_parameter(p) for p in operation.parameters]
    if operation.request is not None:
        content: Json = {"schema": _ref(operation.request)}
        if "request" in known:
            content["example"] = known["request"]
        described["requestBody"] = {"required": operation.body_needed, "content": {JSON: content}}
    answer = _answer(operation, known)
    described["responses"] = {str(operation.status): answer, **_errors(operation)}
    return described


def _parameter(parameter: Parameter) -> Json:
    schema: Json = dict(parameter.schema) or {"type": "string"}
    if parameter.choices:
        schema["enum"] = list(parameter.choices)
    if parameter.place == "path":
        schema["minLength"] = 1
    described = {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.meaning,
        "schema": schema,
    }
    if parameter.example:
        described["example"] = parameter.example
    return described


def _answer(operation: Operation, known: Json) -> Json:
    schema = _ref(operation.answer) if operation.answer else {"type": "object"}
    if operation.media != JSON:
        schema = {"type": "string"}
    content: Json = {operation.media: {"schema": schema}}
    if "answer" in known:
        content[operation.media]["example"] = known["answer"]
    for media in operation.also_media:
        content[media] = {"schema": {} if media == JSON else {"type": "string"}}
    if operation.frame is not None:
        content[EVENTS] = {
            "schema": _event(operation),
            "x-example-stream": known.get("stream", ""),
        }
    return {
        "description": operation.summary,
        "headers": _headers(operation.answer_headers),
        "content": content,
    }


def _event(operation: Operation) -> Json:
    """One event of a stream: its data is a frame, or the word with which some protocols end."""
    text = {"type": "string", "contentMediaType": JSON, "contentSchema": _ref(operation.frame)}
    done = {"const": "[DONE]", "description": "the end of a whole answer"}
    data = {"anyOf": [text, done]} if operation.says_done else text
    return {"type": "object", "properties": {"data": data}, "required": ["data"]}


def _errors(operation: Operation) -> Json:
    def status_of(code: str) -> int:
        return rendered(code, operation.form)[0]

    answers: Json = {}
    for status, group in groupby(sorted(operation.errors, key=status_of), status_of):
        codes = list(group)
        names = [name for name in operation.answer_headers if HEADERS[name].get("required")]
        if status in ERROR_HEADERS:
            names.append(ERROR_HEADERS[status])
        schema = _ref(ERRORS[operation.form])
        if status == 400 and operation.refusal is not None:
            schema = {"anyOf": [schema, _ref(operation.refusal)]}
        answers[str(status)] = {
            "description": ", ".join(f"`{code}`" for code in codes),
            "headers": _headers(names),
            "content": {
                JSON: {
                    "schema": schema,
                    "examples": {
                        code: {"$ref": f"#/components/examples/{code}_{operation.form}"}
                        for code in codes
                    },
                }
            },
        }
    return answers


def _headers(names: "tuple[str, ...] | list[str]") -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _ref(model: Any) -> Json:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
