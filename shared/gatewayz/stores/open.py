"""Opens the stores that the settings name; the one place where a backend is chosen.

The data plane gets thin clients, the control plane the vendors' own; each module of a backend is
imported only when it is chosen.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from gatewayz.core.checks import check_serving
from gatewayz.core.settings import Settings, SettingsError
from gatewayz.stores.blobs import Blobs, DirectoryBlobs
from gatewayz.stores.postgres import CONNECT_TIMEOUT_S, Postgres
from gatewayz.stores.queue import PostgresQueue, Queue
from gatewayz.stores.redis import RedisScripts
from gatewayz.stores.secrets import Secrets

if TYPE_CHECKING:
    from gatewayz.net.http import HttpClient

Plane = Literal["data", "control"]
# As in https://sqs.eu-central-1.amazonaws.com/… and https://eu-central-1.queue.amazonaws.com/…
_SQS_REGION = re.compile(r"(?:sqs\.|)([a-z]{2}(?:-[a-z]+)+-\d)\.(?:queue\.)?")


@dataclass(frozen=True, slots=True)
class Stores:
    postgres: Postgres
    redis: RedisScripts
    queue: Queue
    secrets: Secrets
    _blobs: Callable[[], Blobs] | None = field(default=None, repr=False)
    _opened: list[Blobs] = field(default_factory=list, repr=False)
    _http: "HttpClient | None" = field(default=None, repr=False)

    @property
    def blobs(self) -> Blobs:
        """Opened at the first use: most functions have none."""
        if not self._opened:
            assert self._blobs is not None
            self._opened.append(self._blobs())
        return self._opened[0]

    async def close(self) -> None:
        for blobs in self._opened:
            await blobs.close()
        await self.redis.close()
        await self.postgres.close()
        if self._http is not None:
            await self._http.aclose()


def open_stores(settings: Settings, *, plane: Plane = "data") -> Stores:
    """Stores of this process; connects lazily. SettingsError when one is not configured."""
    check_serving(settings)
    http = _open_http(settings, plane)
    postgres = _open_postgres(settings, plane, http)
    return Stores(
        postgres,
        _open_redis(settings, plane),
        _open_queue(settings, postgres, http),
        open_secrets(settings, plane=plane),
        lambda: open_blobs(settings),
        _http=http,
    )


def _open_http(settings: Settings, plane: Plane) -> "HttpClient | None":
    """The client that PostgREST and SQS share, where one of them is called by ourselves."""
    stores = settings.stores
    if not _sqs_urls(settings) and (not stores.supabase_url or plane == "control"):
        return None
    from gatewayz.net.http import HttpClient

    return HttpClient(connect_timeout_s=CONNECT_TIMEOUT_S)


def describe_stores(settings: Settings) -> dict[str, str]:
    """What each port is in these settings, in words; holds no secret."""
    stores, blobs, aws = settings.stores, settings.blobs, settings.aws
    return {
        "postgres": "Supabase (PostgREST)" if stores.supabase_url
        else "direct connection through a pooler" if settings.pooled else "direct connection",
        "redis": "Upstash (REST)" if stores.upstash_url else "RESP",
        "queue": "SQS" if _sqs_urls(settings) else "Postgres",
        "blobs": f"S3 bucket {blobs.s3_bucket}" if blobs.s3_bucket
        else f"Supabase bucket {blobs.supabase_bucket}" if blobs.supabase_bucket
        else f"folder {_blob_folder(settings)}",
        "secrets": " and ".join(
            ["Secrets Manager"] * bool(aws.secret) + ["SSM"] * bool(aws.ssm_path)
        ) or "environment",
    }  # fmt: skip


def _open_postgres(settings: Settings, plane: Plane, http: "HttpClient | None") -> Postgres:
    stores = settings.stores
    timeout_s = stores.rpc_timeout_ms / 1000
    if not stores.supabase_url:
        from gatewayz.stores.direct_postgres import DirectPostgres

        return DirectPostgres(stores.database_url, timeout_s=timeout_s, pooled=settings.pooled)
    if plane == "control":
        from gatewayz.stores.supabase_client import SupabaseClient, SupabasePostgres

        client = SupabaseClient(stores.supabase_url, stores.supabase_key)
        return SupabasePostgres(client, timeout_s=timeout_s)
    from gatewayz.stores.postgrest import RestPostgres

    assert http is not None
    return RestPostgres(http, stores.supabase_url, stores.supabase_key, timeout_s=timeout_s)


def _open_redis(settings: Settings, plane: Plane) -> RedisScripts:
    stores = settings.stores
    timeout_s = stores.redis_timeout_ms / 1000
    if not stores.upstash_url:
        from gatewayz.stores.redis import RespRedis

        return RespRedis(stores.redis_url, timeout_s=timeout_s)
    if plane == "control":
        from gatewayz.stores.upstash_client import UpstashClientRedis

        return UpstashClientRedis(stores.upstash_url, stores.upstash_token, timeout_s=timeout_s)
    from gatewayz.stores.upstash import UpstashRedis

    return UpstashRedis(stores.upstash_url, stores.upstash_token, timeout_s=timeout_s)


def _open_queue(settings: Settings, postgres: Postgres, http: "HttpClient | None") -> Queue:
    urls = _sqs_urls(settings)
    if not urls:
        return PostgresQueue(postgres)
    from gatewayz.stores.aws import AwsClient, AwsIdentity
    from gatewayz.stores.sqs import SqsQueue

    assert http is not None
    identity = AwsIdentity(http, Secrets().find)
    client = AwsClient(
        http,
        identity,
        service="sqs",
        region=_region_of(*urls.values(), settings=settings),
        version="1.0",
    )
    return SqsQueue(client, urls, timeout_s=settings.stores.rpc_timeout_ms / 1000)


def _sqs_urls(settings: Settings) -> dict[str, str]:
    """Queues of this deployment that are on SQS: a function is told those it works with."""
    stores = settings.stores
    urls = {"charges": stores.sqs_charges_url, "stripe_events": stores.sqs_payments_url}
    return {name: url for name, url in urls.items() if url}


def _region_of(*queue_urls: str, settings: Settings) -> str:
    found = _SQS_REGION.match(urlsplit(queue_urls[0]).hostname or "")
    region = found[1] if found else settings.aws.region
    if not region:
        raise SettingsError("AWS_REGION is not set: the queue's address does not tell it")
    return region


def open_secrets(settings: Settings, *, plane: Plane = "data") -> Secrets:
    """The secrets of this process: AWS's when the settings name them, else the environment's."""
    aws = settings.aws
    if not aws.secret and not aws.ssm_path:
        return Secrets()
    from gatewayz.stores.secrets_aws import AwsSecrets

    if plane == "control":
        from gatewayz.stores.secrets_powertools import read_parameters, read_secret
    else:
        from gatewayz.stores.secrets_aws import read_parameters, read_secret
    readers = []
    if aws.ssm_path:
        readers.append(
            read_parameters(aws.ssm_path, region=aws.region, endpoint_url=aws.endpoint_url)
        )
    if aws.secret:
        readers.append(read_secret(aws.secret, region=aws.region, endpoint_url=aws.endpoint_url))
    return AwsSecrets(*readers)


def open_blobs(settings: Settings) -> Blobs:
    blobs, stores = settings.blobs, settings.stores
    if blobs.s3_bucket:
        from gatewayz.stores.blobs_s3 import S3Blobs

        endpoint_url = blobs.s3_endpoint_url or settings.aws.endpoint_url
        return S3Blobs(blobs.s3_bucket, region=settings.aws.region, endpoint_url=endpoint_url)
    if blobs.supabase_bucket:
        from gatewayz.stores.supabase_client import SupabaseBlobs, SupabaseClient

        client = SupabaseClient(stores.supabase_url, stores.supabase_key)
        return SupabaseBlobs(client, blobs.supabase_bucket)
    return DirectoryBlobs(_blob_folder(settings))


def _blob_folder(settings: Settings) -> Path:
    blobs = settings.blobs
    return Path(blobs.directory).expanduser() if blobs.directory else settings.home_path / "blobs"
