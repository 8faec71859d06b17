"""Settings choose each backend by what is set; what contradicts itself is one clear line."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from gatewayz.core.checks import check_serving
from gatewayz.core.settings import SettingsError, load_settings
from gatewayz.stores.open import describe_stores, open_stores

PEPPER = {"GATEWAYZ_KEY_PEPPER": "p" * 32}
DATABASE = {"DATABASE_URL": "postgresql://gatewayz:the-password@127.0.0.1:1/none"}
REDIS = {"REDIS_URL": "redis://:the-password@127.0.0.1:1"}
SUPABASE = {"SUPABASE_URL": "https://abc.supabase.co", "SUPABASE_SECRET_KEY": "sb_secret_of-abc"}
UPSTASH = {
    "UPSTASH_REDIS_REST_URL": "https://abc.upstash.io",
    "UPSTASH_REDIS_REST_TOKEN": "the-token",
}
SQS = {"SQS_CHARGES_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/charges"}


def kinds(environment: Mapping[str, str], plane: str = "data") -> list[str]:
    stores = open_stores(load_settings(environment), plane=plane)  # type: ignore[arg-type]
    ports = (stores.postgres, stores.redis, stores.queue, stores.secrets, stores.blobs)
    return [type(port).__name__ for port in ports]


def test_self_hosted() -> None:
    names = ["DirectPostgres", "RespRedis", "PostgresQueue", "Secrets", "DirectoryBlobs"]
    assert kinds(PEPPER | DATABASE | REDIS) == names
    assert kinds(PEPPER | DATABASE | REDIS, "control") == names


def test_managed() -> None:
    managed = PEPPER | SUPABASE | UPSTASH | SQS | {"GATEWAYZ_SUPABASE_BUCKET": "blobs"}
    assert kinds(managed) == [
        "RestPostgres",
        "UpstashRedis",
        "SqsQueue",
        "Secrets",
        "SupabaseBlobs",
    ]
    assert kinds(managed, "control")[:2] == ["SupabasePostgres", "UpstashClientRedis"]


def test_aws() -> None:
    names = kinds(
        PEPPER | DATABASE | REDIS | SQS
        | {"GATEWAYZ_S3_BUCKET": "b", "GATEWAYZ_AWS_SECRET": "s", "AWS_REGION": "eu-central-1"}
    )  # fmt: skip
    assert names[2:] == ["SqsQueue", "AwsSecrets", "S3Blobs"]


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        (REDIS, "neither DATABASE_URL nor SUPABASE_URL is set: Gatewayz needs a Postgres database"),
        (DATABASE, "neither REDIS_URL nor UPSTASH_REDIS_REST_URL is set"),
        (DATABASE | SUPABASE | REDIS, "DATABASE_URL and SUPABASE_URL are both set"),
        (DATABASE | REDIS | UPSTASH, "REDIS_URL and UPSTASH_REDIS_REST_URL are both set"),
        (REDIS | {"SUPABASE_URL": "https://a"}, "SUPABASE_SECRET_KEY is not set: SUPABASE_URL"),
        (
            DATABASE | REDIS | {"SUPABASE_SECRET_KEY": "s"},
            "SUPABASE_URL is not set: SUPABASE_SECRET_KEY needs it",
        ),
        (DATABASE | {"UPSTASH_REDIS_REST_URL": "https://a"}, "UPSTASH_REDIS_REST_TOKEN is not set"),
        (REDIS | SUPABASE | {"SUPABASE_SECRET_KEY": "sb_publishable_x"}, "publishable"),
        (REDIS | SUPABASE | {"SUPABASE_URL": "http://abc.supabase.co"}, "SUPABASE_URL must look"),
        (REDIS | SUPABASE | {"SUPABASE_URL": "abc.supabase.co"}, "SUPABASE_URL must look like"),
        (DATABASE | UPSTASH | {"UPSTASH_REDIS_REST_URL": "redis://abc"}, "must look like https"),
        (DATABASE | REDIS | {"SQS_CHARGES_URL": "charges"}, "SQS_CHARGES_URL must look like https"),
        (
            DATABASE | REDIS | {"SQS_CHARGES_URL": "https://queue.example/1/q"},
            "AWS_REGION is not set: the queue's address does not tell it",
        ),
        (DATABASE | REDIS | {"GATEWAYZ_AWS_SECRET": "s"}, "AWS_REGION is not set"),
        (
            DATABASE | REDIS | {"GATEWAYZ_S3_BUCKET": "a", "GATEWAYZ_BLOBS_DIR": "b"},
            "GATEWAYZ_S3_BUCKET and GATEWAYZ_BLOBS_DIR are both set",
        ),
        (DATABASE | REDIS | {"GATEWAYZ_SUPABASE_BUCKET": "b"}, "needs SUPABASE_URL"),
    ],
)
def test_what_contradicts_itself_is_one_clear_line(environment: dict[str, str], line: str) -> None:
    with pytest.raises(SettingsError) as wrong:
        open_stores(load_settings(PEPPER | environment))
    assert line in str(wrong.value)
    assert "\n" not in str(wrong.value)
    assert "the-password" not in str(wrong.value)
    assert "the-token" not in str(wrong.value)


def test_F20_a_weak_pepper_is_refused_whatever_the_stores() -> None:
    for stores in (DATABASE | REDIS, SUPABASE | UPSTASH):
        with pytest.raises(SettingsError, match="GATEWAYZ_KEY_PEPPER"):
            check_serving(load_settings({"GATEWAYZ_KEY_PEPPER": "short"} | stores))


def test_the_description_names_every_port_and_no_secret() -> None:
    for environment in (DATABASE | REDIS, SUPABASE | UPSTASH | SQS):
        told = describe_stores(load_settings(PEPPER | environment))
        assert set(told) == {"postgres", "redis", "queue", "blobs", "secrets"}
        for value in environment.values():
            assert value not in str(told)
    pooled = DATABASE | REDIS | {"DATABASE_POOLED": "true"}
    assert "pooler" in describe_stores(load_settings(pooled))["postgres"]


# What each choice may load: the SDKs cost 30-90 MB and a second at every cold start.
SDKS = {"supabase", "postgrest", "upstash_redis", "httpx", "pydantic", "boto3", "botocore"}
BACKENDS = {"asyncpg", *SDKS}


@pytest.mark.parametrize(
    ("environment", "allowed"),
    [
        (DATABASE | REDIS, {"asyncpg"}),
        (SUPABASE | UPSTASH, set()),
        (
            SUPABASE | UPSTASH | SQS
            | {"GATEWAYZ_S3_BUCKET": "b", "GATEWAYZ_AWS_SECRET": "s", "AWS_REGION": "eu-west-1"},
            set(),
        ),
    ],
)  # fmt: skip
def test_a_data_plane_loads_only_the_backend_it_uses(
    environment: dict[str, str], allowed: set[str], tmp_path: Path
) -> None:
    code = (
        "import sys, functions.chat.app as chat; from gatewayz.stores.open import open_stores;"
        "from gatewayz.core.settings import load_settings;"
        "stores = open_stores(load_settings()); stores.blobs; print(*sys.modules)"
    )
    root = Path(__file__).resolve().parents[3]
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env=PEPPER | environment | {
            "PYTHONPATH": f"{root / 'shared'}{os.pathsep}{root}",
            "GATEWAYZ_HOME": str(tmp_path),
        },
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert set(answer.stdout.split()) & BACKENDS == allowed
