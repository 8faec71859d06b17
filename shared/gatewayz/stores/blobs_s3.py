"""Blobs in a bucket of S3, by boto3 in threads; imported at the first use. Never retries."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from gatewayz.core.errors import GatewayError, StoreTimeout, StoreUnavailable
from gatewayz.core.log import get_log
from gatewayz.stores.blobs import (
    CONTENT_TYPE,
    MAX_LISTED,
    checked_key,
    checked_prefix,
    no_such_blob,
)

T = TypeVar("T")
log = get_log(__name__)

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 15.0
PAGE_KEYS = 1000


class S3Blobs:
    """Credentials and region as boto3 finds them; `endpoint_url` for S3-compatible stores."""

    def __init__(self, bucket: str, *, region: str = "", endpoint_url: str = "") -> None:
        self._bucket = bucket
        self._region = region or None
        self._endpoint_url = endpoint_url or None
        self._client: Any = None
        self._opening = asyncio.Lock()

    async def put(self, key: str, data: bytes, *, content_type: str = CONTENT_TYPE) -> None:
        checked_key(key)
        await self._run(
            lambda s3: s3.put_object(
                Bucket=self._bucket, Key=key, Body=data, ContentType=content_type
            )
        )

    async def get(self, key: str) -> bytes:
        checked_key(key)

        def work(s3: Any) -> bytes:
            body: bytes = s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            return body

        return await self._run(work)

    async def delete(self, key: str) -> None:
        checked_key(key)
        await self._run(lambda s3: s3.delete_object(Bucket=self._bucket, Key=key))

    async def list_keys(self, prefix: str, *, limit: int = MAX_LISTED) -> list[str]:
        checked_prefix(prefix)

        def work(s3: Any) -> list[str]:
            keys: list[str] = []
            question: dict[str, Any] = {"Bucket": self._bucket, "Prefix": prefix}
            while len(keys) < limit:
                question["MaxKeys"] = min(PAGE_KEYS, limit - len(keys))
                page = s3.list_objects_v2(**question)
                keys += [item["Key"] for item in page.get("Contents", ())]
                if not page.get("IsTruncated"):
                    break
                question["ContinuationToken"] = page["NextContinuationToken"]
            return keys[:limit]

        return await self._run(work)

    async def link(self, key: str, *, ttl_s: int) -> str | None:
        params = {"Bucket": self._bucket, "Key": checked_key(key)}

        def work(s3: Any) -> str:
            return str(s3.generate_presigned_url("get_object", Params=params, ExpiresIn=ttl_s))

        return await self._run(work)

    async def close(self) -> None:
        if self._client is not None:
            await asyncio.to_thread(self._client.close)
            self._client = None

    async def _run(self, work: Callable[[Any], T]) -> T:
        async with self._opening:
            if self._client is None:
                self._client = await asyncio.to_thread(self._open)
        return await asyncio.to_thread(_classified, work, self._client)

    def _open(self) -> Any:
        import boto3  # type: ignore[import-untyped]
        from botocore.config import Config  # type: ignore[import-untyped]

        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"total_max_attempts": 1},
        )
        # A session of its own: the module's default one may not be used from several threads.
        return boto3.session.Session().client(
            "s3", region_name=self._region, endpoint_url=self._endpoint_url, config=config
        )


def _classified(work: Callable[[Any], T], s3: Any) -> T:
    from botocore import exceptions as aws  # type: ignore[import-untyped]

    try:
        return work(s3)
    except aws.ClientError as error:
        raise _refusal(error.response) from error
    except (aws.EndpointConnectionError, aws.ConnectTimeoutError, aws.NoCredentialsError) as error:
        raise StoreUnavailable("S3 cannot be reached.") from error
    except (aws.BotoCoreError, OSError) as error:
        raise StoreTimeout("S3 did not answer in time.") from error


def _refusal(response: Any) -> GatewayError:
    code = str(response["Error"]["Code"])
    status = int(response["ResponseMetadata"]["HTTPStatusCode"])
    if code in ("NoSuchKey", "404"):
        return no_such_blob()
    log.error("s3_refused", code=code, status=status)
    if status >= 500 and status != 503:
        return StoreTimeout("S3 failed.")
    return StoreUnavailable("S3 refuses the call.")
