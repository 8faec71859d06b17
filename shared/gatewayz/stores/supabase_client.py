"""The genuine Supabase client as adapter of the control plane: functions by rpc, blobs by storage.

Its traps are closed: no retries (it tries GETs again for seconds), explicit time limits (it waits
120 s), no sign-in sessions, no proxies of the environment. Never imported by the data plane.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, TypeVar

import httpx
from postgrest.exceptions import APIError
from storage3.exceptions import StorageApiError

from gatewayz.core.errors import GatewayError, StoreTimeout, StoreUnavailable
from gatewayz.core.log import get_log
from gatewayz.stores.blobs import (
    CONTENT_TYPE,
    MAX_LISTED,
    checked_key,
    checked_prefix,
    no_such_blob,
)
from gatewayz.stores.postgres import CONNECT_TIMEOUT_S, call_with_tries, checked_name
from gatewayz.stores.postgrest import SCHEMA, rest_failure
from supabase import AsyncClient, AsyncClientOptions, create_async_client

T = TypeVar("T")
log = get_log(__name__)

# Each call sets its own limit; this only ends what nobody waits for any more.
LONGEST_CALL_S = 30.0
BLOB_TIMEOUT_S = 15.0
PAGE_KEYS = 1000


# The client's error has the code of the answer's JSON, but not the status beside it.
_status: ContextVar[int] = ContextVar("status", default=0)


async def _note_status(response: httpx.Response) -> None:
    _status.set(response.status_code)


class SupabaseClient:
    """The client of one event loop, made at its first use."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._http: httpx.AsyncClient | None = None
        self._client: AsyncClient | None = None
        self._opening = asyncio.Lock()

    async def get(self) -> AsyncClient:
        async with self._opening:
            if self._client is None:
                limits = httpx.Timeout(LONGEST_CALL_S, connect=CONNECT_TIMEOUT_S)
                hooks = {"response": [_note_status]}
                self._http = httpx.AsyncClient(timeout=limits, trust_env=False, event_hooks=hooks)
                options = AsyncClientOptions(
                    schema=SCHEMA,
                    auto_refresh_token=False,
                    persist_session=False,
                    postgrest_client_retry=False,
                    httpx_client=self._http,
                )
                self._client = await create_async_client(self._url, self._key, options)
            return self._client

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = self._client = None


async def _limited(call: Awaitable[T], limit_s: float, what: str) -> T:
    """The result of a call of the client; its network failures as ours."""
    try:
        async with asyncio.timeout(limit_s):
            return await call
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise StoreUnavailable(f"{what} cannot be reached.") from error
    except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as error:
        raise StoreTimeout(f"{what} did not answer in time.") from error


class SupabasePostgres:
    """`rpc` by the genuine client; the same answers and errors as every other backend."""

    def __init__(self, client: SupabaseClient, *, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s

    async def rpc(
        self, name: str, params: dict[str, Any], *, timeout_s: float | None = None
    ) -> Any:
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        client = await self._client.get()
        checked_name(name)

        async def call() -> Any:
            try:
                answer = await _limited(client.rpc(name, params).execute(), limit_s, "The database")
            except APIError as error:
                raise _rest_failure(name, error) from error
            return answer.data

        return await call_with_tries(call)

    async def close(self) -> None:
        await self._client.close()


def _rest_failure(name: str, error: APIError) -> Exception:
    status, code = _status.get(), str(error.code or "")
    if code == str(status):  # what the client says of an answer that has no code
        code = ""
    detail = None if error.details is None else str(error.details)
    return rest_failure(name, status, code, str(error.message or ""), detail)


class SupabaseBlobs:
    """Blobs in a bucket of Supabase Storage, which must exist."""

    def __init__(self, client: SupabaseClient, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    async def put(self, key: str, data: bytes, *, content_type: str = CONTENT_TYPE) -> None:
        checked_key(key)
        options: Any = {"content-type": content_type, "upsert": "true"}
        await self._run(lambda bucket: bucket.upload(key, data, options))

    async def get(self, key: str) -> bytes:
        checked_key(key)
        data: bytes = await self._run(lambda bucket: bucket.download(key))
        return data

    async def delete(self, key: str) -> None:
        checked_key(key)
        await self._run(lambda bucket: bucket.remove([key]))

    async def list_keys(self, prefix: str, *, limit: int = MAX_LISTED) -> list[str]:
        checked_prefix(prefix)
        keys: list[str] = []
        question: dict[str, Any] = {"prefix": prefix, "limit": PAGE_KEYS, "with_delimiter": False}
        while True:
            page = await self._run(lambda bucket: bucket.list_v2({**question}))
            keys += [item.key or item.name for item in page.objects]
            if not page.hasNext or len(keys) >= limit:
                return sorted(keys)[:limit]
            question["cursor"] = page.nextCursor

    async def link(self, key: str, *, ttl_s: int) -> str | None:
        checked_key(key)
        answer = await self._run(lambda bucket: bucket.create_signed_url(key, ttl_s))
        return str(answer["signedURL"])

    async def close(self) -> None:
        await self._client.close()

    async def _run(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        bucket = (await self._client.get()).storage.from_(self._bucket)
        try:
            return await _limited(work(bucket), BLOB_TIMEOUT_S, "The blob store")
        except StorageApiError as error:
            raise _storage_failure(error) from error


def _storage_failure(error: StorageApiError) -> GatewayError:
    text = str(error.status)
    status = int(text) if text.isdigit() else 500
    if status == 404 and "bucket" not in error.message.lower():
        return no_such_blob()
    log.error("storage_refused", code=error.code, status=status)
    if status >= 500 and status != 503:
        return StoreTimeout("The blob store failed.")
    return StoreUnavailable("The blob store refuses the call.")
