"""Where an account has its own requests traced: kinds of services, and the spans they are sent.

Of a request goes what its charge message says: model, tokens, cost, times. Never a prompt or an
answer: no message of ours holds one. Pure but for the file of kinds.
"""

import base64
import hashlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gatewayz import VERSION
from gatewayz.core.errors import InvalidRequest
from gatewayz.core.money import usd_text
from gatewayz.telemetry.context import read_context
from gatewayz.telemetry.trace import DETAILS, FAILED, INPUT, OUTPUT
from gatewayz.telemetry.wire import CLIENT, ERROR, Span, Value, span, trace_request

MAX_DESTINATIONS = 5
PER_MILLE = 1000
MEDIA = {"content-type": "application/x-protobuf"}


@dataclass(frozen=True, slots=True)
class Kind:
    endpoint: str
    needs: tuple[str, ...]
    headers: Mapping[str, str]


@cache
def kinds() -> Mapping[str, Kind]:
    rows = tomllib.loads(Path(__file__).with_name("destinations.toml").read_text())
    return {
        name: Kind(row["endpoint"], tuple(row["needs"]), row["headers"])
        for name, row in rows.items()
    }


def place_of(account: str, name: str) -> str:
    """What the headers of a destination are sealed for."""
    return f"destination|{account}|{name}"


def headers_of(kind: Kind, given: Mapping[str, str]) -> dict[str, str]:
    """The headers that sign in there; InvalidRequest names what is missing."""
    for need in kind.needs:
        if not given.get(need):
            raise InvalidRequest(f"This kind of destination needs '{need}'.", param=need)
    basic = base64.b64encode(f"{given.get('key')}:{given.get('secret')}".encode()).decode()
    words = {name: given.get(name) or "" for name in ("key", "secret", "project")}
    told = {}
    for name, form in kind.headers.items():
        if "{key}" in form and not words["key"]:
            continue
        told[name] = form.format(basic=basic, **words)
    return told


def wants(per_mille: int, message: Mapping[str, Any]) -> bool:
    """The same requests whoever asks, and for every destination of an account."""
    digest = hashlib.blake2s(str(message.get("request_id")).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % PER_MILLE < per_mille


def body_of(messages: Iterable[Mapping[str, Any]]) -> bytes:
    resource: dict[str, Value | None] = {"service.name": "gatewayz", "service.version": VERSION}
    spans = [span(each) for message in messages for each in _spans(message)]
    return trace_request(resource, spans, version=VERSION)


def _spans(message: Mapping[str, Any]) -> Iterator[Span]:
    """One span a request, its id made of the request's: sent twice it is the same."""
    request_id = str(message["request_id"])
    digest = hashlib.blake2s(request_id.encode(), digest_size=24).digest()
    context = read_context(message.get("trace"))
    start_ns = int(message["admitted_at_ms"]) * 1_000_000
    end_ns = start_ns + int(message.get("total_ms") or 0) * 1_000_000
    error = next((a["error"] for a in (message.get("attempts") or ())[-1:] if a["error"]), None)
    failed = message.get("outcome") in FAILED
    charged = usd_text(message.get("charge_nanos") or 0)
    told = _usage_of(message)
    values: dict[str, Value | None] = {
        **told,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": message.get("provider"),
        "gen_ai.request.model": message.get("model"),
        "gen_ai.conversation.id": message.get("session"),
        "gen_ai.usage.cost": float(charged),  # to be shown, never to be counted with
        "user.id": message.get("end_user"),
        "gatewayz.request_id": request_id,
        "gatewayz.client_request_id": message.get("client_request_id"),
        "gatewayz.outcome": message.get("outcome"),
        "gatewayz.charge_nanos": message.get("charge_nanos"),
        "gatewayz.first_token_ms": message.get("first_token_ms"),
        "gatewayz.attempts": len(message.get("attempts") or ()),
        "error.type": error if failed else None,
        # What readers of the other convention look at.
        "openinference.span.kind": "LLM",
        "llm.model_name": message.get("model"),
        "llm.provider": message.get("provider"),
        "llm.token_count.prompt": told["gen_ai.usage.input_tokens"],
        "llm.token_count.completion": told["gen_ai.usage.output_tokens"],
    }
    yield Span(
        context.trace_id if context is not None else digest[:16],
        digest[16:],
        b"",
        f"chat {message.get('model')}",
        CLIENT,
        start_ns,
        end_ns,
        values,
        ERROR if failed else 0,
        error or "" if failed else "",
    )


def _usage_of(message: Mapping[str, Any]) -> dict[str, Value | None]:
    units = {str(line[0]): int(line[1]) for line in message.get("lines") or ()}
    finish = message.get("finish")
    return {
        "gen_ai.response.id": str(message["request_id"]),
        "gen_ai.response.model": message.get("model"),
        "gen_ai.response.finish_reasons": (finish,) if finish else None,
        "gen_ai.usage.input_tokens": sum(n for cls, n in units.items() if cls in INPUT),
        "gen_ai.usage.output_tokens": sum(n for cls, n in units.items() if cls in OUTPUT),
        **{name: units.get(cls) for cls, name in DETAILS.items()},
    }
