"""Reads what a request says of its routing, in every spelling that clients use, and takes it out.

Understands OpenRouter's `provider`, `models` and `route`, Anthropic-style `fallbacks`, Vercel's
`providerOptions.gateway`, and a plain `provider` string. InvalidRequest names the field that is
wrong. Nothing of it travels upstream.
"""

import math
import re
from collections.abc import Callable, Iterable, MutableMapping
from decimal import Decimal
from typing import Any, TypeVar, cast

from gatewayz.core.errors import InvalidRequest
from gatewayz.core.money import NANOS_PER_USD
from gatewayz.dialects.trace import TRACE_FIELDS
from gatewayz.routing.preferences import (
    NO_PREFERENCES,
    NO_WISHES,
    PERCENTILES,
    QUANTIZATIONS,
    Bounds,
    Preferences,
    Sort,
    Wishes,
)

T = TypeVar("T")
Body = MutableMapping[str, Any]

# Fields of a body that are about routing alone; `session_id` and `prompt_cache_key` are others'.
FIELDS = frozenset(
    {
        "provider", "models", "route", "fallbacks", "providerOptions", "provider_options",
        "timeout", "request_timeout", "stream_continuation", "fallback_max_price_ratio",
        "quote_id",
    }
)  # fmt: skip
SESSIONS = ("session_id", "sessionId", "prompt_cache_key")
HEADERS = frozenset(
    {
        b"x-session-id", b"idempotency-key", b"x-gatewayz-coalesce",
        b"x-gatewayz-stream-continuation", b"x-gatewayz-timeout", b"x-gatewayz-quote-id",
        *TRACE_FIELDS,
    }
)  # fmt: skip
MAX_NAMES = 64
MAX_MODELS = 16
MAX_TEXT_CHARS = 256
MAX_TIMEOUT_S = 3600.0
MAX_RATIO = 1_000_000.0
SORTS: dict[str, Sort] = {
    "price": "price", "cost": "price", "latency": "latency", "ttft": "latency",
    "throughput": "throughput", "tps": "throughput", "balanced": "balanced", "exacto": "exacto",
}  # fmt: skip
# OpenRouter's kinds of price → our classes; a request's own price is per request, not per million.
PRICE_KINDS = {
    "prompt": ("input",),
    "completion": ("output",),
    "request": ("request",),
    "image": ("image_in",),
    "audio": ("audio_in",),
}
PER_UNIT = frozenset({"request", "image"})
MILLION = 1_000_000
CACHE_LIVES_S = {"5m": 300, "1h": 3600, "24h": 86_400}
_NAME = re.compile(r"[A-Za-z0-9@~][A-Za-z0-9._:/@~+-]{0,127}")
_KEY = re.compile(rb"[\x21-\x7e]{1,255}")


def take_wishes(body: Body, headers: Iterable[tuple[bytes, bytes]] = ()) -> Wishes:
    """The wishes of a request; its routing fields are gone from `body` then."""
    known = {name: value for name, value in headers if name in HEADERS}
    session = _session(body, known)
    life_s = _cache_life_s(body)
    if not known and session is None and life_s is None and FIELDS.isdisjoint(body):
        return NO_WISHES
    taken = {name: body.pop(name) for name in FIELDS & body.keys()}
    gateway = _gateway_options(taken)
    provider = taken.get("provider")
    models = _models(taken, gateway)
    return Wishes(
        preferences=_with_ratio(_preferences(provider, gateway), taken),
        models=models,
        session=session,
        cache_life_s=life_s,
        timeout_s=_timeout_s(taken, known),
        idempotency_key=_idempotency_key(known),
        trace=_trace(known),
        coalesce=_on(known, b"x-gatewayz-coalesce"),
        continuation=_flag(taken.get("stream_continuation"), "stream_continuation") is True
        or _on(known, b"x-gatewayz-stream-continuation"),
        quote_id=_quote_id(taken.get("quote_id"), known),
    )


def read_preferences(provider: Any, *, param: str = "provider") -> Preferences:
    """OpenRouter's object, or the name of one provider; also the form in which they are stored."""
    if provider is None:
        return NO_PREFERENCES
    if type(provider) is str:
        # The older API: this provider first, the others when it fails.
        return Preferences(order=(_name(provider, param),))
    if type(provider) is not dict:
        raise wrong(param, "must be an object or the name of a provider")
    return _read(provider, param)


def wrong(param: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"'{param}' {problem}.", param=param, code="invalid_request")


def _preferences(provider: Any, gateway: dict[str, Any]) -> Preferences:
    mine = read_preferences(provider)
    if not gateway:
        return mine
    return mine.over(_read(gateway, "providerOptions.gateway"))


def _read(given: dict[str, Any], param: str) -> Preferences:
    def at(name: str, read: Callable[[Any, str], T]) -> T | None:
        value = given.get(name)
        return None if value is None else read(value, f"{param}.{name}")

    sort, partition, weights = _sort(given.get("sort"), f"{param}.sort")
    collection = at("data_collection", _collection)
    return Preferences(
        order=at("order", _names) or None,
        only=at("only", _names) or None,
        ignore=at("ignore", _names) or None,
        allow_fallbacks=at("allow_fallbacks", _flag),
        require_parameters=at("require_parameters", _flag),
        deny_training=collection or at("disallowPromptTraining", _flag) or collection,
        zdr=at("zdr", _flag) or at("zeroDataRetention", _flag),
        confidential=at("confidential", _flag),
        quantizations=at("quantizations", _quantizations) or None,
        regions=at("regions", _names) or at("region", lambda v, p: (_name(v, p),)) or None,
        sort=sort,
        partition=partition,
        weights=weights,
        split=at("split", _split) or None,
        min_throughput=at("preferred_min_throughput", _bounds),
        max_latency=at("preferred_max_latency", _bounds),
        max_price=at("max_price", _max_price) or None,
        fallback_price_ratio=at("fallback_max_price_ratio", _ratio),
    )


# ------------------------------------------------------------------ single values


def _flag(value: Any, param: str) -> bool | None:
    if value is not None and type(value) is not bool:
        raise wrong(param, "must be a boolean")
    return value


def _name(value: Any, param: str) -> str:
    if type(value) is not str or not _NAME.fullmatch(value):
        raise wrong(param, "must be a name of a provider or model")
    return value


def _names(value: Any, param: str) -> tuple[str, ...]:
    if type(value) is not list:
        raise wrong(param, "must be an array of names")
    if len(value) > MAX_NAMES:
        raise wrong(param, f"must have at most {MAX_NAMES} entries")
    return tuple(dict.fromkeys(_name(each, f"{param}[{i}]") for i, each in enumerate(value)))


def _collection(value: Any, param: str) -> bool:
    if value not in ("allow", "deny"):
        raise wrong(param, "must be 'allow' or 'deny'")
    return bool(value == "deny")


def _quantizations(value: Any, param: str) -> frozenset[str]:
    if type(value) is not list or not all(type(each) is str for each in value):
        raise wrong(param, "must be an array of strings")
    for each in value:
        if each not in QUANTIZATIONS:
            raise wrong(param, f"must hold only {', '.join(sorted(QUANTIZATIONS))}")
    return frozenset(value)


def _sort(value: Any, param: str) -> tuple[Sort | None, Any, dict[str, float] | None]:
    if value is None:
        return None, None, None
    by, partition, weights = value, None, None
    if type(value) is dict:
        by, partition = value.get("by"), value.get("partition")
        if partition not in (None, "model", "none"):
            raise wrong(f"{param}.partition", "must be 'model' or 'none'")
        if value.get("weights") is not None:
            weights = _shares(value["weights"], f"{param}.weights")
            if weights.keys() - {"price", "latency", "throughput"}:
                raise wrong(f"{param}.weights", "may name price, latency and throughput")
    if type(by) is not str or by not in SORTS:
        raise wrong(param, f"must be one of {', '.join(SORTS)}")
    return SORTS[by], partition, weights


def _split(value: Any, param: str) -> dict[str, float]:
    shares = _shares(value, param)
    for name in shares:
        _name(name, param)
    return shares


def _shares(value: Any, param: str) -> dict[str, float]:
    if type(value) is not dict or len(value) > MAX_NAMES:
        raise wrong(param, "must be an object of numbers")
    shares = {name: _number(each, f"{param}.{name}") for name, each in value.items()}
    if shares and not sum(shares.values()) > 0:
        raise wrong(param, "must have a sum above 0")
    return shares


def _number(value: Any, param: str, *, low: float = 0.0, high: float = 1e12) -> float:
    if type(value) not in (int, float) or not low <= value <= high:
        raise wrong(param, f"must be a number from {low:g} to {high:g}")
    return float(value)


def _bounds(value: Any, param: str) -> Bounds:
    """A plain number is a bound on the median."""
    if type(value) is dict:
        for name in value:
            if name not in PERCENTILES:
                raise wrong(param, f"may name {', '.join(PERCENTILES)}")
        return {n: _number(v, f"{param}.{n}") for n, v in value.items() if v is not None}
    return {"p50": _number(value, param)}


def _max_price(value: Any, param: str) -> dict[str, int]:
    """USD per million tokens, per request or per image → nano-USD per 10^6 units, rounded up."""
    if type(value) is not dict:
        raise wrong(param, "must be an object")
    limits: dict[str, int] = {}
    for kind, price in value.items():
        if kind not in PRICE_KINDS:
            raise wrong(param, f"may name {', '.join(PRICE_KINDS)}")
        if price is None:
            continue
        usd = price
        if type(price) is str and re.fullmatch(r"\d{1,9}(\.\d{1,18})?", price):
            usd = float(price)
        _number(usd, f"{param}.{kind}", high=1e9)
        exact = Decimal(str(price)) * NANOS_PER_USD * (MILLION if kind in PER_UNIT else 1)
        for cls in PRICE_KINDS[kind]:
            limits[cls] = math.ceil(exact)
    return limits


def _ratio(value: Any, param: str) -> float:
    """At least 1; 0 and false are no limits but mistakes, "any" lifts the limit."""
    if value in ("any", "unlimited"):
        return math.inf
    return _number(value, param, low=1.0, high=MAX_RATIO)


# ------------------------------------------------------------------ what else a request says


def _with_ratio(preferences: Preferences, taken: dict[str, Any]) -> Preferences:
    ratio = taken.get("fallback_max_price_ratio")
    if ratio is None:
        return preferences
    limit = _ratio(ratio, "fallback_max_price_ratio")
    return preferences.over(Preferences(fallback_price_ratio=limit))


def _gateway_options(taken: dict[str, Any]) -> dict[str, Any]:
    """What is meant for a gateway among the options of an AI SDK; the rest is for nobody here."""
    for name in ("providerOptions", "provider_options"):
        options = taken.get(name)
        if options is None:
            continue
        if type(options) is not dict:
            raise wrong(name, "must be an object")
        gateway = options.get("gateway")
        if gateway is not None and type(gateway) is not dict:
            raise wrong(f"{name}.gateway", "must be an object")
        if gateway:
            return cast("dict[str, Any]", gateway)
    return {}


def _models(taken: dict[str, Any], gateway: dict[str, Any]) -> tuple[str, ...]:
    route = taken.get("route")
    if route not in (None, "fallback", "sort"):
        raise wrong("route", "must be 'fallback' or 'sort'")
    found: list[str] = []
    for param, value in (
        ("models", taken.get("models")),
        ("fallbacks", taken.get("fallbacks")),
        ("providerOptions.gateway.models", gateway.get("models")),
    ):
        if value is None:
            continue
        if type(value) is not list:
            raise wrong(param, "must be an array of models")
        if len(value) > MAX_MODELS:
            raise wrong(param, f"must have at most {MAX_MODELS} entries")
        for index, each in enumerate(value):
            name = each.get("model") if type(each) is dict else each
            found.append(_name(name, f"{param}[{index}]"))
    return tuple(dict.fromkeys(found))


def _session(body: Body, headers: dict[bytes, bytes]) -> str | None:
    for name in SESSIONS:
        value = body.get(name)
        if type(value) is str and value:
            return value[:MAX_TEXT_CHARS]
    header = headers.get(b"x-session-id")
    return header.decode("latin-1")[:MAX_TEXT_CHARS] if header else None


def _cache_life_s(body: Body) -> int | None:
    """How long the request asks its prompt to be kept: the longest it says, for the whole prompt or
    for the system and the tools at its beginning."""
    said = [body.get("prompt_cache_retention"), _ttl_of(body)]
    for field in ("system", "tools"):
        blocks = body.get(field)
        if type(blocks) is list:
            said += map(_ttl_of, blocks)
    lives = [CACHE_LIVES_S[ttl] for ttl in said if type(ttl) is str and ttl in CACHE_LIVES_S]
    return max(lives, default=None)


def _ttl_of(block: Any) -> Any:
    control = block.get("cache_control") if type(block) is dict else None
    return control.get("ttl") if type(control) is dict else None


def _timeout_s(taken: dict[str, Any], headers: dict[bytes, bytes]) -> float | None:
    value = taken.get("timeout")
    if value is None:
        value = taken.get("request_timeout")
    header = headers.get(b"x-gatewayz-timeout")
    if value is None and header is not None:
        try:
            value = float(header)
        except ValueError:
            raise wrong("X-Gatewayz-Timeout", "must be a number of seconds") from None
    if value is None:
        return None
    return _number(value, "timeout", low=0.001, high=MAX_TIMEOUT_S)


def _idempotency_key(headers: dict[bytes, bytes]) -> str | None:
    key = headers.get(b"idempotency-key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise wrong("Idempotency-Key", "must be 1 to 255 visible ASCII characters")
    return key.decode()


def _trace(headers: dict[bytes, bytes]) -> str:
    """The field of the answer that is asked for; the first when several are."""
    return next((field for name, field in TRACE_FIELDS.items() if _on(headers, name)), "")


def _on(headers: dict[bytes, bytes], name: bytes) -> bool:
    return headers.get(name, b"").strip().lower() in (b"1", b"true", b"enabled")


def _quote_id(value: Any, headers: dict[bytes, bytes]) -> str | None:
    """The body's or the header's; whether it is one of ours is for who looks it up."""
    if value is not None and type(value) is not str:
        raise wrong("quote_id", "must be a string")
    header = headers.get(b"x-gatewayz-quote-id")
    return value or (header.decode("latin-1") if header else None)
