"""The two languages of schemas: JSON Schema and this protocol's older one with upper-case types."""

from collections.abc import Mapping
from typing import Any

from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.google.wire import camel

# How deep a schema may refer to itself before it is cut.
MAX_DEPTH = 24
_TYPES = ("", "string", "number", "integer", "boolean", "array", "object", "null")
_NAMES: Mapping[str, str] = {"ref": "$ref", "defs": "$defs"}
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties",
                     "maxProperties"})  # fmt: skip
_KEPT = ("title", "description", "format", "minimum", "maximum", "minItems", "maxItems",
         "minLength", "maxLength", "minProperties", "maxProperties", "pattern", "default",
         "required", "propertyOrdering")  # fmt: skip
_FORMATS = frozenset({"enum", "date-time", "float", "double", "int32", "int64"})


def to_json_schema(schema: Any) -> Any:
    """The older language → JSON Schema. Names of properties are left alone."""
    if type(schema) is not dict:
        return schema
    out: JsonObject = {}
    nullable = False
    for name, value in camel(schema).items():
        match name:
            case "type":
                out["type"] = _read_type(value)
            case "nullable":
                nullable = value is True
            case "properties" | "defs" | "$defs" if type(value) is dict:
                inner = {key: to_json_schema(held) for key, held in value.items()}
                out[_NAMES.get(name, name)] = inner
            case "items" | "additionalProperties":
                out[name] = to_json_schema(value)
            case "anyOf" if type(value) is list:
                out[name] = [to_json_schema(held) for held in value]
            case "propertyOrdering":
                continue  # only says how to write what is asked for
            case _ if name in _COUNTS and type(value) is str and value.isdecimal():
                out[name] = int(value)
            case _:
                out[_NAMES.get(name, name)] = value
    if nullable:
        _allow_null(out)
    return out


def _read_type(value: Any) -> Any:
    if type(value) is int and 0 <= value < len(_TYPES):
        return _TYPES[value]
    return value.lower() if type(value) is str else value


def _allow_null(schema: JsonObject) -> None:
    if type(schema.get("type")) is str:
        schema["type"] = [schema["type"], "null"]
        if type(schema.get("enum")) is list and None not in schema["enum"]:
            schema["enum"] = [*schema["enum"], None]
    elif type(schema.get("anyOf")) is list:
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]


def from_json_schema(schema: JsonObject) -> JsonObject:
    """JSON Schema → the older language, for targets that have only this. References are written
    out; what it has no words for is left away, which makes the schema wider, never narrower."""
    known = {
        f"#/{place}/{name}": held
        for place in ("$defs", "definitions")
        if type(schema.get(place)) is dict
        for name, held in schema[place].items()
    }
    return _narrow(schema, known, 0)


def _narrow(schema: Any, known: Mapping[str, Any], depth: int) -> JsonObject:
    if type(schema) is not dict or depth > MAX_DEPTH:
        return {"type": "OBJECT"}
    reference = schema.get("$ref")
    if type(reference) is str:
        rest = {name: value for name, value in schema.items() if name != "$ref"}
        return _narrow({**_table(known.get(reference)), **rest}, known, depth + 1)
    parts = schema.get("allOf")
    if type(parts) is list:
        schema = _joined(schema, parts, known)
    out = {name: schema[name] for name in _KEPT if schema.get(name) is not None}
    if out.get("format") not in _FORMATS:
        out.pop("format", None)
    _narrow_type(schema, out)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if type(choices) is list:
        held = [choice for choice in choices if choice != {"type": "null"}]
        if len(held) < len(choices):
            out["nullable"] = True
        if len(held) == 1:
            return {**_narrow(held[0], known, depth + 1), **out}
        out["anyOf"] = [_narrow(choice, known, depth + 1) for choice in held]
    if type(schema.get("properties")) is dict:
        out["properties"] = {
            name: _narrow(value, known, depth + 1) for name, value in schema["properties"].items()
        }
        out.setdefault("type", "OBJECT")
    if "items" in schema:
        out["items"] = _narrow(schema["items"], known, depth + 1)
    if not out.get("properties"):
        out.pop("required", None)
    return out


def _table(value: Any) -> JsonObject:
    return value if type(value) is dict else {}


def _joined(schema: JsonObject, parts: list[Any], known: Mapping[str, Any]) -> JsonObject:
    """A schema that says all that its parts say."""
    out: JsonObject = {name: value for name, value in schema.items() if name != "allOf"}
    for part in parts:
        held = _table(part)
        held = _table(known.get(held.get("$ref", ""), held))
        for name, value in held.items():
            before = out.get(name)
            if type(before) is dict and type(value) is dict:
                out[name] = {**before, **value}
            elif type(before) is list and type(value) is list:
                out[name] = [*before, *(v for v in value if v not in before)]
            else:
                out.setdefault(name, value)
    return out


def _narrow_type(schema: JsonObject, out: JsonObject) -> None:
    kinds = schema.get("type")
    names = [kinds] if type(kinds) is str else [k for k in kinds or () if type(k) is str]
    real = [name for name in names if name != "null"]
    if len(real) < len(names):
        out["nullable"] = True
    if len(real) == 1:
        out["type"] = real[0].upper()
    elif real:
        out["anyOf"] = [{"type": name.upper()} for name in real]
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    if type(choices) is not list:
        return
    texts = [choice for choice in choices if type(choice) is str]
    if len(texts) < len(choices) and None in choices:
        out["nullable"] = True
    if texts and out.get("type", "STRING") == "STRING":
        out["type"], out["enum"] = "STRING", texts
