"""Whether the settings suit a process that serves: stores are there, secrets are strong, nothing
is said twice. Every refusal is one line for the operator.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from urllib.parse import urlsplit

from gatewayz.core.billing_settings import BillingSettings
from gatewayz.core.settings import (
    LOOPBACK,
    HttpSettings,
    Settings,
    SettingsError,
)

MIN_PEPPER_CHARS = 32


def check_serving(settings: Settings) -> None:
    """Refuse to serve without stores, with two for one purpose, or with a weak secret (F20)."""
    stores, blobs = settings.stores, settings.blobs
    choices = (
        ("a Postgres database", {"DATABASE_URL": stores.database_url,
                                 "SUPABASE_URL": stores.supabase_url}),
        ("Redis or Valkey", {"REDIS_URL": stores.redis_url,
                             "UPSTASH_REDIS_REST_URL": stores.upstash_url}),
    )  # fmt: skip
    for purpose, values in choices:
        _check_choice(values)
        if not any(values.values()):
            names = " nor ".join(values)
            raise SettingsError(f"neither {names} is set: Gatewayz needs {purpose}")
    _check_choice(
        {
            "GATEWAYZ_S3_BUCKET": blobs.s3_bucket,
            "GATEWAYZ_SUPABASE_BUCKET": blobs.supabase_bucket,
            "GATEWAYZ_BLOBS_DIR": blobs.directory,
        }
    )
    _check_rest("SUPABASE_URL", stores.supabase_url, "SUPABASE_SECRET_KEY", stores.supabase_key)
    _check_rest(
        "UPSTASH_REDIS_REST_URL", stores.upstash_url,
        "UPSTASH_REDIS_REST_TOKEN", stores.upstash_token,
    )  # fmt: skip
    if stores.supabase_key.startswith("sb_publishable_"):
        raise SettingsError("SUPABASE_SECRET_KEY is a publishable key: it must be the secret one")
    if blobs.supabase_bucket and not stores.supabase_url:
        raise SettingsError("GATEWAYZ_SUPABASE_BUCKET needs SUPABASE_URL, which is not set")
    _check_https("SQS_CHARGES_URL", stores.sqs_charges_url)
    _check_https("SQS_PAYMENTS_URL", stores.sqs_payments_url)
    _check_cors(settings.http)
    _check_billing(settings.billing)
    if (settings.aws.secret or settings.aws.ssm_path) and not settings.aws.region:
        raise SettingsError("AWS_REGION is not set: the secrets kept by AWS need it")
    if len(settings.keys.pepper) < MIN_PEPPER_CHARS:
        raise SettingsError(
            f"GATEWAYZ_KEY_PEPPER must be a secret of at least {MIN_PEPPER_CHARS} characters"
        )


def _check_choice(values: Mapping[str, str]) -> None:
    if len(names := [name for name, value in values.items() if value]) > 1:
        raise SettingsError(f"{' and '.join(names)} are both set: unset all but one")


def _check_rest(url_name: str, url: str, secret_name: str, secret: str) -> None:
    if bool(url) != bool(secret):
        missing, other = (secret_name, url_name) if url else (url_name, secret_name)
        raise SettingsError(f"{missing} is not set: {other} needs it")
    _check_https(url_name, url)


def _check_billing(billing: BillingSettings) -> None:
    try:
        sound = 0 <= billing.fee_rate <= Decimal("0.5")
    except InvalidOperation:
        sound = False
    if not sound:
        raise SettingsError("GATEWAYZ_TOPUP_FEE must be a number from 0 to 0.5")
    try:
        sound = 0 <= billing.byok_fee_ppm <= 500_000
    except (InvalidOperation, ValueError, OverflowError):
        sound = False
    if not sound:
        raise SettingsError("GATEWAYZ_BYOK_FEE must be a number from 0 to 0.5")
    if urlsplit(billing.stripe_url).hostname not in (None, *LOOPBACK):
        raise SettingsError("STRIPE_API_URL may only be on this machine")


def _check_cors(http: HttpSettings) -> None:
    """An origin is written as a browser sends it: a scheme and a host, nothing after it."""
    names = http.cors_origins.replace(",", " ").split()
    for name in names:
        parts = urlsplit(name)
        origin = f"{parts.scheme}://{parts.netloc}".lower()
        if name not in ("*", "none") and (name != origin or not parts.netloc):
            raise SettingsError(f"GATEWAYZ_CORS_ORIGINS: {name[:80]!r} is no origin")
    if len(names) > 1 and {"*", "none"} & set(names):
        raise SettingsError("GATEWAYZ_CORS_ORIGINS: `*` and `none` stand alone")
    if http.cors_credentials and "*" in names:
        raise SettingsError(
            "GATEWAYZ_CORS_CREDENTIALS needs GATEWAYZ_CORS_ORIGINS to name the origins"
        )


def _check_https(name: str, url: str) -> None:
    """A secret or money travels to this address: in the open only within this machine."""
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in LOOPBACK
    if url and not (parts.hostname and (parts.scheme == "https" or local)):
        raise SettingsError(f"{name} must look like https://host")
