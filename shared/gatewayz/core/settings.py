"""The one reader of the environment for configuration. Guarantees one frozen, typed, documented
`Settings`; never prints a secret. docs/configuration.md is generated from the fields.
"""

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from gatewayz.core.auth_settings import AuthSettings
from gatewayz.core.billing_settings import BillingSettings
from gatewayz.core.notify_settings import NotifySettings
from gatewayz.core.setting import setting as _set
from gatewayz.core.telemetry_settings import TelemetrySettings

T = TypeVar("T")

STAGES = ("production", "staging", "test", "local")
SUPAVISOR_TRANSACTION_PORT = ":6543/"
_CLIENT_IP = re.compile(r"peer|hop:[1-9]|header:[A-Za-z0-9-]+")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class SettingsError(Exception):
    """A setting is missing or wrong; the message is one line for the operator."""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    database_url: str = _set(
        "DATABASE_URL", "", "Postgres connection URL (direct or pooled)", secret=True
    )
    database_pooled: bool = _set(
        "DATABASE_POOLED",
        False,
        "the URL is a transaction-mode pooler: no prepared statements (implied by port 6543)",
    )
    supabase_url: str = _set(
        "SUPABASE_URL", "", "Supabase project: Postgres over its REST interface, not DATABASE_URL"
    )
    supabase_key: str = _set(
        "SUPABASE_SECRET_KEY", "", "the project's secret key (sb_secret_…)", secret=True
    )
    redis_url: str = _set("REDIS_URL", "", "Redis or Valkey connection URL", secret=True)
    upstash_url: str = _set(
        "UPSTASH_REDIS_REST_URL", "", "Upstash: Redis over its REST interface, not REDIS_URL"
    )
    upstash_token: str = _set(
        "UPSTASH_REDIS_REST_TOKEN", "", "token of that database; not the read-only one", secret=True
    )
    sqs_charges_url: str = _set(
        "SQS_CHARGES_URL", "", "SQS queue of charge messages; without it the queue is in Postgres"
    )
    sqs_payments_url: str = _set(
        "SQS_PAYMENTS_URL", "", "SQS queue of Stripe's events; without it the queue is in Postgres"
    )
    redis_timeout_ms: int = _set(
        "GATEWAYZ_REDIS_TIMEOUT_MS", 250, "a script slower than this counts as Redis being down"
    )
    rpc_timeout_ms: int = _set(
        "GATEWAYZ_RPC_TIMEOUT_MS", 2000, "time limit of a database call on the request path"
    )


@dataclass(frozen=True, slots=True)
class BlobSettings:
    s3_bucket: str = _set("GATEWAYZ_S3_BUCKET", "", "S3 bucket of blobs")
    s3_endpoint_url: str = _set(
        "AWS_ENDPOINT_URL_S3", "", "address of an S3-compatible store in place of AWS"
    )
    supabase_bucket: str = _set(
        "GATEWAYZ_SUPABASE_BUCKET", "", "bucket of blobs in Supabase Storage; needs SUPABASE_URL"
    )
    directory: str = _set(
        "GATEWAYZ_BLOBS_DIR", "", "folder of blobs; without any of these blobs/ in GATEWAYZ_HOME"
    )


@dataclass(frozen=True, slots=True)
class AwsSettings:
    region: str = _set("AWS_REGION", "", "AWS region; on Lambda it is set by the platform")
    endpoint_url: str = _set("AWS_ENDPOINT_URL", "", "another address for AWS calls, for tests")
    secret: str = _set(
        "GATEWAYZ_AWS_SECRET",
        "",
        "name or ARN of a Secrets Manager secret: a JSON object of the providers' credentials",
    )
    ssm_path: str = _set(
        "GATEWAYZ_SSM_PATH", "", "path of SSM parameters named like the credentials"
    )


@dataclass(frozen=True, slots=True)
class KeySettings:
    pepper: str = _set(
        "GATEWAYZ_KEY_PEPPER",
        "",
        "secret under which API keys are hashed; at least 32 characters, never change it",
        secret=True,
    )
    legacy_salt: str = _set(
        "GATEWAYZ_LEGACY_KEY_SALT",
        "",
        "salt of the SHA-256 hashes that `gatewayz keys import` brought over; without it only keys"
        " of our own form are looked up",
        secret=True,
    )
    receipt_key: str = _set(
        "GATEWAYZ_RECEIPT_KEY",
        "",
        "seed of the Ed25519 key that signs receipts: 32 bytes in base64; without it one that"
        " follows from the pepper",
        secret=True,
    )
    receipt_former_keys: str = _set(
        "GATEWAYZ_RECEIPT_FORMER_KEYS",
        "",
        "public keys that signed receipts before, in base64 between commas: published as well",
    )
    staff: str = _set(
        "GATEWAYZ_STAFF_KEYS",
        "",
        "who may call /admin: `name:secret` pairs separated by commas, secrets of 32 characters and"
        " more; nobody without it",
        secret=True,
    )


@dataclass(frozen=True, slots=True)
class HttpSettings:
    host: str = _set("HOST", "127.0.0.1", "address to listen on")
    port: int = _set("PORT", 8000, "port to listen on")
    max_body_bytes: int = _set(
        "GATEWAYZ_MAX_BODY_BYTES", 32 * 1024 * 1024, "largest request body (413 above it)"
    )
    max_answer_bytes: int = _set(
        "GATEWAYZ_MAX_ANSWER_BYTES", 32 * 1024 * 1024, "largest non-streamed upstream answer"
    )
    max_requests: int = _set(
        "GATEWAYZ_MAX_REQUESTS", 2000, "requests one process carries at once (503 above it)"
    )
    max_inflight_bytes: int = _set(
        "GATEWAYZ_MAX_INFLIGHT_BYTES",
        256 * 1024 * 1024,
        "request bodies one process holds at once (503 above it)",
    )
    status_hold_s: float = _set(
        "GATEWAYZ_STATUS_HOLD_S", 15.0, "how long the HTTP status waits for the first token"
    )
    keepalive_s: float = _set(
        "GATEWAYZ_KEEPALIVE_S", 15.0, "silence after which a stream gets a keepalive comment"
    )
    deadline_s: float = _set(
        "GATEWAYZ_DEADLINE_S", 870.0, "longest request; 15 s under the platform's own limit"
    )
    stop_grace_s: float = _set(
        "GATEWAYZ_STOP_GRACE_S", 10.0, "how long running streams may go on after SIGTERM"
    )
    left_grace_s: float = _set(
        "GATEWAYZ_LEFT_GRACE_S",
        1.0,
        "how long an answer nearly done is read on after its caller left",
    )
    fetch_networks: str = _set(
        "GATEWAYZ_FETCH_NETWORKS",
        "",
        "private networks (10.1.0.0/16), separated by spaces, from which files that prompts name by"
        " address may be fetched; the public internet always",
    )
    client_ip: str = _set(
        "GATEWAYZ_CLIENT_IP",
        "peer",
        "where a client's address stands: `peer` (who connects), `header:NAME` (written by the"
        " platform), `hop:N` (the N-th of X-Forwarded-For from the right)",
    )
    cors_origins: str = _set(
        "GATEWAYZ_CORS_ORIGINS",
        "*",
        "origins whose pages may call, separated by spaces; `*` for every page, `none` for none",
    )
    cors_credentials: bool = _set(
        "GATEWAYZ_CORS_CREDENTIALS", False, "pages may send cookies; only origins that are named"
    )


@dataclass(frozen=True, slots=True)
class CreditSettings:
    lease_ttl_s: int = _set("GATEWAYZ_LEASE_TTL_S", 2400, "life of a credit lease")
    hold_grace_s: int = _set(
        "GATEWAYZ_HOLD_GRACE_S", 60, "a hold expires this long after its request's deadline"
    )
    checkpoint_s: float = _set(
        "GATEWAYZ_CHECKPOINT_S", 5.0, "a stream's progress is recorded at least this often"
    )
    checkpoint_chunks: int = _set(
        "GATEWAYZ_CHECKPOINT_CHUNKS", 64, "… or after this many chunks, whichever is first"
    )
    sweep_s: float = _set("GATEWAYZ_SWEEP_S", 60.0, "period of the hold sweeper")
    drain_after_s: float = _set(
        "GATEWAYZ_DRAIN_AFTER_S",
        0.0,
        "requests settle a batch of charges when the oldest waits this long; for platforms whose"
        " schedules run once a day (60); 0 for never",
    )


@dataclass(frozen=True, slots=True)
class HealthSettings:
    probe_budget_usd: int = _set(
        "GATEWAYZ_PROBE_BUDGET_USD",
        1,
        "what probing offers may cost a day, in USD; 0 for no probes",
    )


@dataclass(frozen=True, slots=True)
class LimitSettings:
    plans: str = _set(
        "GATEWAYZ_PLAN_LIMITS",
        "auto",
        "hold accounts without a plan to the free plan's limits: on, off or auto (only in"
        " production and staging); a plan that was bought or given always holds",
    )
    address_per_minute: int = _set(
        "GATEWAYZ_ADDRESS_PER_MINUTE",
        300,
        "requests a minute from one address whose key nobody knows (429 above it); 0 for any"
        " number",
    )
    anonymous: bool = _set(
        "GATEWAYZ_ANONYMOUS", False, "serve models that cost nothing to callers without a key"
    )
    anonymous_per_day: int = _set(
        "GATEWAYZ_ANONYMOUS_PER_DAY", 3, "… so many requests from one address in a day (UTC)"
    )


@dataclass(frozen=True, slots=True)
class CatalogSettings:
    providers_file: str = _set(
        "GATEWAYZ_PROVIDERS", "", "TOML file with more providers and [[models]]"
    )
    sandbox_url: str = _set(
        "GATEWAYZ_SANDBOX_URL", "", "base URL of the sandbox provider; `gatewayz dev` sets it"
    )
    discover_local: bool = _set(
        "GATEWAYZ_DISCOVER_LOCAL", False, "look for local model servers; `gatewayz dev` sets it"
    )
    sync: str = _set(
        "GATEWAYZ_SYNC",
        "auto",
        "hourly reading of providers' listings: on, off or auto (only in production and staging)",
    )


@dataclass(frozen=True, slots=True)
class Settings:
    stores: StoreSettings
    blobs: BlobSettings
    aws: AwsSettings
    keys: KeySettings
    http: HttpSettings
    credit: CreditSettings
    billing: BillingSettings
    catalog: CatalogSettings
    health: HealthSettings
    notify: NotifySettings
    auth: AuthSettings
    telemetry: TelemetrySettings
    limits: LimitSettings
    stage: str = _set("GATEWAYZ_STAGE", "production", "production, staging, test or local")
    log_level: str = _set("GATEWAYZ_LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING or ERROR")
    metrics: str = _set(
        "GATEWAYZ_METRICS", "", "CloudWatch namespace of the metrics; without it none are written"
    )
    cron_secret: str = _set(
        "CRON_SECRET", "", "bearer secret with which the platform calls schedules", secret=True
    )
    home: str = _set("GATEWAYZ_HOME", ".gatewayz", "folder of the local stack: data, key and logs")

    @property
    def home_path(self) -> Path:
        return Path(self.home).expanduser().resolve()

    @property
    def plan_limits(self) -> bool:
        if self.limits.plans == "auto":
            return self.stage in ("production", "staging")
        return self.limits.plans == "on"

    @property
    def pooled(self) -> bool:
        url = self.stores.database_url
        return self.stores.database_pooled or SUPAVISOR_TRANSACTION_PORT in url


def _parse(env: str, text: str, kind: type) -> Any:
    try:
        if kind is bool:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[
                text.strip().lower()
            ]
        return kind(text)
    except (KeyError, ValueError):
        raise SettingsError(f"{env}={text[:40]!r} is not a valid {kind.__name__}") from None


def _section(kind: type[T], environ: Mapping[str, str]) -> T:
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if dataclasses.is_dataclass(hints[field.name]):
            values[field.name] = _section(hints[field.name], environ)
        elif text := environ.get(field.metadata["env"], ""):
            values[field.name] = _parse(field.metadata["env"], text, hints[field.name])
    return kind(**values)


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment (or the mapping given); SettingsError on a bad value."""
    settings = _section(Settings, os.environ if environ is None else environ)
    if settings.stage not in STAGES:
        raise SettingsError(f"GATEWAYZ_STAGE={settings.stage[:40]!r} is not one of {STAGES}")
    if not _CLIENT_IP.fullmatch(settings.http.client_ip):
        raise SettingsError(f"GATEWAYZ_CLIENT_IP={settings.http.client_ip[:40]!r} says no place")
    return settings


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One documented variable; `default` is its text, empty for secrets."""

    env: str
    kind: str
    default: str
    doc: str
    secret: bool


def describe_settings(kind: type = Settings) -> Iterator[SettingRow]:
    """Every environment variable with type, default and meaning, in order."""
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from describe_settings(hints[field.name])
        else:
            meta = field.metadata
            yield SettingRow(
                meta["env"],
                hints[field.name].__name__,
                "" if meta["secret"] else str(field.default),
                meta["doc"],
                meta["secret"],
            )
