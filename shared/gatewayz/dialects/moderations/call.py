"""A client's moderation request as a call: read strictly, sized, sent, answered."""

from collections.abc import Mapping
from typing import Any

import orjson

from gatewayz.core.errors import GatewayError, InvalidRequest
from gatewayz.core.ids import public_id
from gatewayz.dialects.checks import needed_text, table, text, wrong
from gatewayz.dialects.embeddings.form import Piece
from gatewayz.dialects.embeddings.write_answer import money_fields
from gatewayz.dialects.form import JsonObject, Style, UsageReport
from gatewayz.dialects.moderations.form import (
    DEFAULT_MODEL,
    Judged,
    Judgements,
    ModerationRequest,
    judged,
)
from gatewayz.dialects.one_shot import (
    NO_UNITS,
    OneShotExchange,
    Place,
    WithoutMedia,
    request_of,
    stated,
    tokens_used,
)
from gatewayz.dialects.openai_chat.errors import encode_error
from gatewayz.dialects.openai_chat.request import (
    GATEWAY_FIELDS,
    GATEWAY_PREFIXES,
    MAX_USER_CHARS,
)
from gatewayz.dialects.openai_chat.usage import find_cost
from gatewayz.dialects.protocol import HttpRequest, Reply
from gatewayz.pricing.estimate import IMAGE_TOKENS, text_tokens

MAX_ITEMS = 2048
_KNOWN = frozenset({"model", "input", "user", "session_id"})


class ModerationsCall(WithoutMedia):
    """One request. There is one form, and every provider has its words."""

    kind = "moderations"
    units = NO_UNITS

    def __init__(self, form: str, body: JsonObject) -> None:
        self._request = request = read_request(body)
        self.model = request.model
        self.prompts = len(request.items)
        self.prompt_tokens = sum(_tokens(item) for item in request.items)
        self.end_user = request.user
        self.session = request.session

    def check(self, place: Place) -> None:
        most = place.endpoint.max_items
        if most is not None and len(self._request.items) > most:
            raise InvalidRequest(
                f"'{place.model}' takes at most {most} inputs at once.", param="input"
            )
        for item in self._request.items:
            if type(item) is tuple and "images" not in (place.endpoint.takes or ()):
                raise place.refuse(item[0].place, "parts; send text")
            for piece in item if type(item) is tuple else ():
                if piece.kind == "image" and "image" not in place.inputs:
                    raise place.refuse(piece.place, "images")

    def exchange(self, place: Place, reply: Reply) -> OneShotExchange[Judgements]:
        request = self._request
        return OneShotExchange(
            write_request(request, place),
            place.target,
            lambda body: read_answer(body, request, place),
            lambda answer, report: write_answer(answer, reply, report),
        )

    def encode_error(
        self, error: GatewayError, *, style: Style, request_id: str | None
    ) -> tuple[int, bytes, dict[str, str]]:
        return encode_error(error, style=style, request_id=request_id)


def read_request(body: JsonObject) -> ModerationRequest:
    """POST /v1/moderations; InvalidRequest names the field that is wrong."""
    value = body.get("input")
    model = text(body, "model")
    if model == "":
        raise wrong("model", "must be a non-empty string")
    return ModerationRequest(
        model=model or DEFAULT_MODEL,
        items=(value,) if type(value) is str else _items(value),
        single=type(value) is str,
        user=text(body, "user", most=MAX_USER_CHARS),
        session=text(body, "session_id", most=256),
        extras={
            name: entry
            for name, entry in body.items()
            if name not in _KNOWN
            and name not in GATEWAY_FIELDS
            and not name.startswith(GATEWAY_PREFIXES)
            and entry is not None
        },
    )


def _items(value: Any) -> tuple[Judged, ...]:
    if type(value) is not list:
        raise wrong("input", "must be a string or an array")
    if not value:
        raise wrong("input", "must not be empty")
    if len(value) > MAX_ITEMS:
        raise wrong("input", f"must have at most {MAX_ITEMS} entries")
    if all(type(entry) is dict for entry in value):
        return (tuple(_piece(entry, f"input[{i}]") for i, entry in enumerate(value)),)
    if any(type(entry) is not str for entry in value):
        raise wrong("input", "must hold strings, or only parts of type 'text' and 'image_url'")
    return tuple(value)


def _piece(part: JsonObject, place: str) -> Piece:
    if part.get("type") == "text":
        return Piece("text", needed_text(part, "text", f"{place}."), place)
    if part.get("type") == "image_url":
        holder = table(part, "image_url", f"{place}.") or {}
        return Piece("image", needed_text(holder, "url", f"{place}.image_url."), place)
    raise wrong(f"{place}.type", "must be 'text' or 'image_url'")


def write_request(request: ModerationRequest, place: Place) -> HttpRequest:
    items: list[Any] = list(request.items)
    if type(items[0]) is tuple:
        items = [_part(piece) for piece in items[0]]
    body: JsonObject = {
        **request.extras,
        "model": place.target.native_id,
        "input": items[0] if request.single else items,
    }
    return request_of("/moderations", body, place)


def _part(piece: Piece) -> JsonObject:
    if piece.kind == "text":
        return {"type": "text", "text": piece.value}
    return {"type": "image_url", "image_url": {"url": piece.value}}


def read_answer(body: Any, request: ModerationRequest, place: Place) -> Judgements:
    usage = body.get("usage")
    return Judgements(
        judged(body["results"], request),
        stated(lambda: tokens_used(usage, place)),
        find_cost(body, place.target.usage),
    )


def write_answer(answer: Judgements, reply: Reply, report: UsageReport) -> bytes:
    """OpenAI's object, with what it cost: mostly nothing."""
    tokens: Mapping[str, int] = {
        "prompt_tokens": report.prompt_tokens,
        "total_tokens": report.prompt_tokens,
    }
    prefix = "gen-" if reply.style == "openrouter" else "modr-"
    body: JsonObject = {"id": public_id(reply.request_id, prefix), "model": reply.model}
    if reply.style == "openrouter":
        body["provider"] = reply.provider
    body["results"] = answer.results
    body["usage"] = {**tokens, **money_fields(report, reply.style)}
    return orjson.dumps(body)


def _tokens(item: Judged) -> int:
    if type(item) is str:
        return text_tokens(item)
    return sum(
        IMAGE_TOKENS if piece.kind == "image" else text_tokens(piece.value)
        for piece in item
        if isinstance(piece, Piece)
    )
