"""Reads provider rows: `providers.toml` and, in the same format, the operator's own file.

Guarantees that a loaded row is whole and safe: known keys only, https except for servers of one's
own, credentials by name, quirks only of kinds that code implements. Never opens a connection.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from gatewayz.dialects.form import USAGE_KEYS, StreamUsage, Target
from gatewayz.dialects.openai_chat.errors import ERROR_CLASSES
from gatewayz.dialects.registry import UPSTREAMS
from gatewayz.providers.tables import Table, TableError, read_toml

BUNDLED_PROVIDERS = Path(__file__).with_name("providers.toml")
# The one key of a provider file that is no provider: read by catalog/load.py.
MODELS_KEY = "models"

# What the values of a row's `errors` may be.
ERROR_NAMES = tuple(ERROR_CLASSES)
STREAM_USAGES: tuple[StreamUsage, ...] = ("stream_options", "always", "none")

SLUG = r"[a-z0-9][a-z0-9-]{0,39}"
CREDENTIAL = r"[A-Z][A-Z0-9_]{2,63}"
AUTH = r"bearer|header:[a-z][a-z0-9-]{1,63}"
FIELD = r"[a-z][a-z0-9_]{0,63}"
USAGE_PATH = r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*"
# What the gateway itself writes may not be changed by a row.
OWN_FIELDS = frozenset({"model", "messages", "stream"})
LOOPBACK_NAME = "localhost"


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds (D23). `total_s` None means: until the request's own deadline."""

    first_token_s: float = 30.0
    reasoning_first_token_s: float = 120.0
    idle_s: float = 60.0
    total_s: float | None = None

    def first_token(self, *, reasons: bool) -> float:
        """An offer that reasons first is given longer until its first content."""
        return max(self.first_token_s, self.reasoning_first_token_s if reasons else 0.0)


@dataclass(frozen=True, slots=True)
class Provider:
    """A company, or a server of one's own, with an API. `credential` is a secret's name or ""."""

    slug: str
    name: str
    dialect: str
    base_url: str
    credential: str = ""
    auth: str = "bearer"
    timeouts: TimeLimits = TimeLimits()
    drop: frozenset[str] = frozenset()
    rename: Mapping[str, str] = field(default_factory=dict)
    clamp: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    stream_usage: StreamUsage = "stream_options"
    cancel_stops_billing: bool = False
    usage: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    family: str = ""
    quirks: frozenset[str] = frozenset()
    ports: tuple[int, ...] = ()
    local: bool = False
    sandbox: bool = False

    def target(
        self,
        native_id: str,
        *,
        max_output_tokens: int | None = None,
        reasons: bool | None = None,
    ) -> Target:
        """The offer `native_id` of this provider as its dialect sees it."""
        return Target(
            native_id=native_id,
            provider=self.slug,
            family=self.family,
            quirks=self.quirks,
            max_output_tokens=max_output_tokens,
            reasons=reasons,
            drop=self.drop,
            rename=self.rename,
            clamp=self.clamp,
            defaults=self.defaults,
            stream_usage=self.stream_usage,
            usage=self.usage,
            errors=self.errors,
        )


def load_providers(
    extra_file: Path | None = None, *, sandbox_url: str = ""
) -> Mapping[str, Provider]:
    """All rows by slug. Sandbox rows are there only with a `sandbox_url`, which they then have.

    TableError (a SettingsError) with one line when a row is wrong or a slug stands twice.
    """
    providers = _load_file(BUNDLED_PROVIDERS, sandbox_url)
    if extra_file is None:
        return providers
    for slug, provider in _load_file(extra_file, sandbox_url).items():
        if slug in providers:
            raise TableError(f"{extra_file.name}: [{slug}] is a provider we know; rename yours")
        providers[slug] = provider
    return providers


def _load_file(path: Path, sandbox_url: str) -> dict[str, Provider]:
    providers = {}
    for slug, row in read_toml(path).items():
        if slug == MODELS_KEY:
            continue
        if not re.fullmatch(SLUG, slug):
            raise TableError(f"{path.name}: [{slug[:60]}] is not of the form {SLUG}")
        provider = parse_provider(path.name, slug, row, sandbox_url=sandbox_url)
        if provider.base_url:
            providers[slug] = provider
    return providers


def parse_provider(file: str, slug: str, row: Any, *, sandbox_url: str = "") -> Provider:
    """One checked row. A sandbox row without `sandbox_url` has an empty base URL."""
    table = Table(file, slug, row)
    sandbox = table.flag("sandbox")
    local = table.flag("local", sandbox)
    dialect = table.choice("dialect", tuple(UPSTREAMS))
    base_url = table.text("base_url", sandbox_url if sandbox else None).rstrip("/")
    if base_url:
        check_base_url(table, base_url, local=local)
    provider = Provider(
        slug=slug,
        name=table.text("name"),
        dialect=dialect,
        base_url=base_url,
        credential=table.text("credential", "", pattern=CREDENTIAL),
        auth=table.text("auth", "bearer", pattern=AUTH),
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
        family=table.text("family", ""),
        quirks=_quirks(table, dialect),
        ports=_ports(table, local),
        local=local,
        sandbox=sandbox,
    )
    table.finish()
    if not provider.credential and not local:
        raise table.fail("credential", "is missing (only rows with local = true go without)")
    return provider


def check_base_url(table: Table, url: str, *, local: bool) -> None:
    """https, or plain http to a loopback address or a row marked local; nothing else in it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise table.fail("base_url", f"{url[:80]!r} is not a URL") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise table.fail("base_url", f"{url[:80]!r} is not an http(s) URL")
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


def _defaults(table: Table) -> Mapping[str, str]:
    sub = table.sub("defaults")
    defaults = {name: sub.text(name) for name in sub.rest_keys()}
    _own_fields_kept(table, "defaults", tuple(defaults))
    return defaults


def _quirks(table: Table, dialect: str) -> frozenset[str]:
    """Flags that the dialect's code implements; anything else is a mistake."""
    named = table.texts("quirks")
    known = UPSTREAMS[dialect].quirks if named else frozenset()
    for name in named:
        if name not in known:
            raise table.fail("quirks", f"'{name}' is nothing that {dialect} implements")
    return frozenset(named)


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
