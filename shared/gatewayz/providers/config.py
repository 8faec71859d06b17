"""Reads provider rows: `providers.toml` and, in the same format, the operator's own file.

Guarantees that a loaded row is whole and safe: known keys only, https except for servers of one's
own, credentials by name, quirks only of kinds that code implements. Never opens a connection.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from gatewayz.dialects.form import USAGE_KEYS, StreamUsage
from gatewayz.dialects.openai_chat.errors import ERROR_CLASSES
from gatewayz.dialects.registry import UPSTREAMS
from gatewayz.providers.auth import AUTH
from gatewayz.providers.kinds import USUAL_DIALECT, read_kinds
from gatewayz.providers.provider import (
    CACHE_LIFE_S,
    ENDPOINTS,
    MEDIA_KINDS,
    Param,
    Provider,
    TimeLimits,
)
from gatewayz.providers.rows import (
    read_data,
    read_listing,
    read_paths,
    read_places,
    read_variants,
)
from gatewayz.providers.tables import Table, TableError, read_toml

__all__ = ["Provider", "TimeLimits", "is_loopback", "load_providers", "parse_provider"]

BUNDLED_PROVIDERS = Path(__file__).with_name("providers.toml")
# The one key of a provider file that is no provider: read by catalog/load.py.
MODELS_KEY = "models"

# What the values of a row's `errors` may be.
ERROR_NAMES = tuple(ERROR_CLASSES)
STREAM_USAGES: tuple[StreamUsage, ...] = ("stream_options", "always", "none")

SLUG = r"[a-z0-9][a-z0-9-]{0,39}"
CREDENTIAL = r"[A-Z][A-Z0-9_]{2,63}"
FIELD = r"[a-z][a-z0-9_]{0,63}"
PARAM = r"[a-z][a-z0-9_]{0,31}"
HEADER = r"[a-z][a-z0-9-]{1,63}"
USAGE_PATH = r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*"
REGION = r"[a-z][a-z0-9-]{1,31}"
# What the gateway itself writes may not be changed by a row.
OWN_FIELDS = frozenset({"model", "messages", "stream"})
OWN_HEADERS = frozenset(
    {"authorization", "host", "content-type", "content-length", "accept", "accept-encoding",
     "connection", "cookie", "transfer-encoding", "user-agent"}
)  # fmt: skip
# A default never changes how a model writes: what a caller did not ask for is not asked for.
SAMPLING = frozenset(
    {"temperature", "top_p", "top_k", "min_p", "top_a", "seed", "presence_penalty",
     "frequency_penalty", "repetition_penalty", "max_tokens", "max_completion_tokens", "stop",
     "logit_bias", "n", "best_of"}
)  # fmt: skip
LOOPBACK_NAME = "localhost"


def load_providers(
    extra_file: Path | None = None, *, sandbox_url: str = ""
) -> Mapping[str, Provider]:
    """All rows by slug. Sandbox rows are there only with a `sandbox_url`, which they then have.

    TableError (a SettingsError) with one line when a row is wrong or a slug stands twice.
    """
    # A test judges the quirks of our own rows: doing it here would load every dialect's code.
    providers = _load_file(BUNDLED_PROVIDERS, sandbox_url, trusted=True)
    if extra_file is None:
        return providers
    for slug, provider in _load_file(extra_file, sandbox_url).items():
        if slug in providers:
            raise TableError(f"{extra_file.name}: [{slug}] is a provider we know; rename yours")
        providers[slug] = provider
    return providers


def _load_file(path: Path, sandbox_url: str, *, trusted: bool = False) -> dict[str, Provider]:
    providers = {}
    for slug, row in read_toml(path).items():
        if slug == MODELS_KEY:
            continue
        if not re.fullmatch(SLUG, slug):
            raise TableError(f"{path.name}: [{slug[:60]}] is not of the form {SLUG}")
        provider = parse_provider(path.name, slug, row, sandbox_url=sandbox_url, trusted=trusted)
        if provider.base_url:
            providers[slug] = provider
    return providers


def parse_provider(
    file: str, slug: str, row: Any, *, sandbox_url: str = "", trusted: bool = False
) -> Provider:
    """One checked row. A sandbox row without `sandbox_url` has an empty base URL; the quirks of a
    `trusted` one are taken as they are."""
    table = Table(file, slug, row)
    sandbox = table.flag("sandbox")
    local = table.flag("local", sandbox)
    dialect = table.choice("dialect", tuple(UPSTREAMS))
    params = _params(table.sub("params"))
    base_url = table.text("base_url", sandbox_url if sandbox else None).rstrip("/")
    if base_url:
        check_base_url(table, base_url, local=local, params=params)
    also = _also(table.sub("also"), dialect, base_url, params)
    endpoints = frozenset(_chosen(table, "endpoints", ENDPOINTS) or ("chat",))
    kinds = read_kinds(
        table,
        endpoints if dialect == USUAL_DIALECT else (),
        lambda sub, url: check_base_url(sub, url, local=local, params=params),
    )
    provider = Provider(
        slug=slug,
        name=table.text("name"),
        dialect=dialect,
        base_url=base_url,
        credential=table.text("credential", "", pattern=CREDENTIAL),
        auth=table.text("auth", "bearer", pattern=AUTH),
        alternatives=_alternatives(table.sub("alternatives")),
        lent_in=table.text("lent_in", "", pattern=CREDENTIAL),
        params=params,
        places=read_places(table, lambda sub, url: check_base_url(sub, url, params=params)),
        paths=read_paths(table, params),
        headers=_headers(table.sub("headers")),
        also={**also, **kinds.also},
        variants=read_variants(
            table,
            frozenset({dialect, *also}),
            lambda sub: _variant(sub, None if trusted else lambda: _known_quirks((dialect, *also))),
        ),
        bytes_only=frozenset(_chosen(table, "bytes_only", MEDIA_KINDS)),
        timeouts=_timeouts(table.sub("timeouts")),
        drop=frozenset(_own_fields_kept(table, "drop", table.texts("drop", pattern=FIELD))),
        rename=_rename(table),
        clamp=_clamp(table),
        defaults=_defaults(table),
        stream_usage=cast(
            StreamUsage, table.choice("stream_usage", STREAM_USAGES, "stream_options")
        ),
        cancel_stops_billing=table.flag("cancel_stops_billing"),
        usage=_usage(table.sub("usage")),
        errors=_errors(table.sub("errors"), ERROR_NAMES),
        quota_rest_s=table.seconds("quota_rest_s", 0.0) or 0.0,
        cache_life_s=table.count("cache_life_s") or CACHE_LIFE_S,
        family=table.text("family", ""),
        quirks=_quirks(table, None if trusted else lambda: _known_quirks((dialect,))),
        ports=_ports(table, local),
        endpoints=endpoints | kinds.served.keys(),
        kinds=kinds.served,
        listing=read_listing(table),
        aggregator=table.flag("aggregator"),
        data=read_data(table.sub("data")),
        region=table.text("region", "", pattern=REGION),
        enabled=table.flag("enabled", True),
        local=local,
        sandbox=sandbox,
    )
    table.finish()
    if not provider.credential and (provider.alternatives or not local):
        raise table.fail("credential", "is missing (only rows with local = true go without)")
    return provider


def check_base_url(
    table: Table, url: str, *, local: bool = False, params: Mapping[str, Param]
) -> None:
    """https, or plain http to a loopback address or a row marked local; nothing else in it. Each
    {parameter} must be one of `params`."""
    for name in re.findall(r"\{([^}]*)\}", url):
        if name not in params:
            raise table.fail("base_url", f"{{{name[:40]}}} is none of the row's params")
    shown, url = url, re.sub(r"\{[^}]*\}", "x", url)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise table.fail("base_url", f"{shown[:80]!r} is not a URL") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise table.fail("base_url", f"{shown[:80]!r} is not an http(s) URL")
    if parts.username is not None or parts.query or parts.fragment or re.search(r"\s", url):
        raise table.fail("base_url", "may hold no credentials, query, fragment or blanks")
    if parts.scheme == "http" and not (local or is_loopback(host)):
        raise table.fail("base_url", "must be https (plain http: loopback or local = true)")


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == LOOPBACK_NAME


def _timeouts(table: Table) -> TimeLimits:
    norm = TimeLimits()
    limits = TimeLimits(
        first_token_s=table.seconds("first_token_s", None) or norm.first_token_s,
        reasoning_first_token_s=table.seconds("reasoning_first_token_s", None)
        or norm.reasoning_first_token_s,
        idle_s=table.seconds("idle_s", None) or norm.idle_s,
        total_s=table.seconds("total_s", norm.total_s),
    )
    table.finish()
    return limits


def _own_fields_kept(table: Table, key: str, fields: tuple[str, ...]) -> tuple[str, ...]:
    for name in fields:
        if name in OWN_FIELDS:
            raise table.fail(key, f"'{name}' is written by the gateway and cannot change")
    return fields


def _rename(table: Table) -> Mapping[str, str]:
    sub = table.sub("rename")
    rename = {name: sub.text(name, pattern=FIELD) for name in sub.rest_keys()}
    _own_fields_kept(table, "rename", (*rename, *rename.values()))
    return rename


def _defaults(table: Table) -> Mapping[str, Any]:
    sub = table.sub("defaults")
    defaults = {name: _plain(sub, name, value) for name, value in sub.rest().items()}
    _own_fields_kept(table, "defaults", tuple(defaults))
    for name in defaults:
        if name in SAMPLING:
            raise table.fail("defaults", f"'{name}' is the caller's to choose")
    return defaults


def _plain(table: Table, name: str, value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, dict):
        return {inner: _plain(table, name, item) for inner, item in value.items()}
    if isinstance(value, str | bool | int):
        return value
    raise table.fail(name, "must be a text, a whole number, true, false or a table of these")


def _params(table: Table) -> Mapping[str, Param]:
    params = {}
    for name in table.rest_keys():
        if not re.fullmatch(PARAM, name):
            raise table.fail(name, f"is not of the form {PARAM}")
        sub = table.sub(name)
        names = sub.texts("from", pattern=CREDENTIAL)
        default = sub.text("default", "") or None
        if not names:
            raise sub.fail("from", "must name a variable")
        sub.finish()
        params[name] = Param(names, default)
    return params


def _alternatives(table: Table) -> Mapping[str, str]:
    for name in table.rest_keys():
        if not re.fullmatch(CREDENTIAL, name):
            raise table.fail(name, f"is not of the form {CREDENTIAL}")
    return {name: table.text(name, pattern=AUTH) for name in table.rest_keys()}


def _headers(table: Table) -> Mapping[str, str]:
    headers = {}
    for name in table.rest_keys():
        if name in OWN_HEADERS or not re.fullmatch(HEADER, name):
            raise table.fail(name, "is no header that a row may set (lower case, not ours)")
        headers[name] = table.text(name, pattern=r"[\x20-\x7e]+")
    return headers


def _also(
    table: Table, dialect: str, base_url: str, params: Mapping[str, Param]
) -> Mapping[str, str]:
    """Further dialects and where they are spoken; true means below the row's own base URL."""
    also = {}
    for name, value in table.rest().items():
        if name not in tuple(UPSTREAMS) or name == dialect:
            raise table.fail(name, "is no other dialect")
        if value is not True and type(value) is not str:
            raise table.fail(name, "must be true or a base URL")
        url = base_url if value is True else str(value).rstrip("/")
        if value is not True:
            check_base_url(table, url, params=params)
        also[name] = url
    return also


def _chosen(table: Table, key: str, options: tuple[str, ...]) -> tuple[str, ...]:
    chosen = table.texts(key)
    for name in chosen:
        if name not in options:
            raise table.fail(key, f"'{name[:40]}' is not one of {', '.join(options)}")
    return chosen


def _known_quirks(dialects: Iterable[str]) -> frozenset[str]:
    """Flags that the code of these dialects implements."""
    return frozenset(name for dialect in dialects for name in UPSTREAMS[dialect].quirks)


def _quirks(table: Table, known: Callable[[], frozenset[str]] | None) -> frozenset[str]:
    """Flags that code implements; anything else is a mistake. None knows them already."""
    named = table.texts("quirks")
    implemented = frozenset(named) if known is None or not named else known()
    for name in named:
        if name not in implemented:
            raise table.fail("quirks", f"'{name}' is nothing that its dialect implements")
    return frozenset(named)


def _variant(table: Table, known: Callable[[], frozenset[str]] | None) -> Mapping[str, Any]:
    """What some models have of their own among a row's keys."""
    return {
        "quirks": _quirks(table, known),
        "drop": frozenset(_own_fields_kept(table, "drop", table.texts("drop", pattern=FIELD))),
        "rename": _rename(table),
    }


def _clamp(table: Table) -> Mapping[str, tuple[float, float]]:
    sub = table.sub("clamp")
    clamp = {}
    for name, bounds in sub.rest().items():
        pair = bounds if isinstance(bounds, list) else []
        if len(pair) != 2 or any(type(bound) not in (int, Decimal) for bound in pair):
            raise sub.fail(name, "must be [lowest, highest]")
        low, high = float(pair[0]), float(pair[1])
        if not low <= high:
            raise sub.fail(name, "must be [lowest, highest]")
        clamp[name] = (low, high)
    return clamp


def _usage(table: Table) -> Mapping[str, str]:
    paths = {}
    for key in table.rest_keys():
        if key not in USAGE_KEYS:
            raise table.fail(key, f"unknown key; known are {', '.join(sorted(USAGE_KEYS))}")
        pattern = "true" if key.endswith("_outside") else USAGE_PATH
        paths[key] = table.text(key, pattern=pattern)
    return paths


def _errors(table: Table, classes: tuple[str, ...]) -> Mapping[str, str]:
    return {key: table.choice(key, classes) for key in table.rest_keys()}


def _ports(table: Table, local: bool) -> tuple[int, ...]:
    """Ports of this machine where a server of this kind usually listens, for discovery."""
    ports = table.take("ports", list, "a list of ports") or []
    if ports and not local:
        raise table.fail("ports", "only rows with local = true are looked for")
    for port in ports:
        if type(port) is not int or not 0 < port < 65536:
            raise table.fail("ports", f"{str(port)[:20]!r} is no port")
    return tuple(ports)
