"""Calls to AWS services that speak JSON, on `net/http` with our own signature; no SDK is loaded.

Owns the identity of this process (its environment's keys, or those a container's endpoint lends)
and the failure classes. Never retries, never logs a payload.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import orjson

from gatewayz.core import clock
from gatewayz.core.errors import StoreTimeout, StoreUnavailable
from gatewayz.core.log import get_log
from gatewayz.net.http import ConnectFailed, ConnectTimeout, HttpAnswer, HttpClient, NetError
from gatewayz.net.sigv4 import AwsKeys, sign

log = get_log(__name__)

MAX_ANSWER_BYTES = 8 * 1024 * 1024
# Where ECS and its like lend credentials; other hosts would get our token for nothing.
LENDERS = frozenset({"169.254.170.2", "169.254.170.23", "127.0.0.1", "localhost", "fd00:ec2::23"})
LEND_TIMEOUT_S = 2.0
RENEW_BEFORE_MS = 5 * 60 * 1000
EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException"})
UNAVAILABLE = 503


class AwsIdentity:
    """Who this process is to AWS. `find` gives a variable by its name."""

    def __init__(self, http: HttpClient, find: Callable[[str], str | None]) -> None:
        self._http = http
        self._find = find
        self._lent: AwsKeys | None = None
        self._lent_until_ms = 0
        self._asking = asyncio.Lock()

    async def keys(self) -> AwsKeys:
        """Valid credentials; StoreUnavailable when there are none."""
        key_id, secret = self._find("AWS_ACCESS_KEY_ID"), self._find("AWS_SECRET_ACCESS_KEY")
        if key_id and secret:
            return AwsKeys(key_id, secret, self._find("AWS_SESSION_TOKEN") or "")
        async with self._asking:
            if self._lent is None or clock.now_ms() > self._lent_until_ms:
                self._lent = await self._borrow()
            return self._lent

    def forget(self) -> None:
        """Lent keys were refused: ask for new ones at the next call."""
        self._lent = None

    async def _borrow(self) -> AwsKeys:
        url = self._find("AWS_CONTAINER_CREDENTIALS_FULL_URI") or ""
        if relative := self._find("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
            url = "http://169.254.170.2" + relative
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in LENDERS:
            raise StoreUnavailable("This process has no AWS credentials.")
        token = self._find("AWS_CONTAINER_AUTHORIZATION_TOKEN")
        if file := self._find("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
            token = await asyncio.to_thread(_read_text, file)
        try:
            answer = await self._http.request(
                "GET",
                url,
                headers={"authorization": token} if token else {},
                timeout_s=LEND_TIMEOUT_S,
                max_bytes=MAX_ANSWER_BYTES,
            )
            lent = orjson.loads(answer.body)
            expires_ms = _ms_of(lent["Expiration"]) if lent.get("Expiration") else None
            keys = AwsKeys(lent["AccessKeyId"], lent["SecretAccessKey"], lent.get("Token") or "")
        except (NetError, ValueError, KeyError, TypeError) as error:
            raise StoreUnavailable("The AWS credentials cannot be read.") from error
        until_ms = expires_ms if expires_ms is not None else clock.now_ms() + 2 * RENEW_BEFORE_MS
        self._lent_until_ms = until_ms - RENEW_BEFORE_MS
        return keys


def _ms_of(text: str) -> int:
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def _read_text(file: str) -> str:
    with open(file) as opened:
        return opened.read().strip()


class AwsClient:
    """One service in one region. `url` is the address to call, an endpoint of the service."""

    def __init__(
        self, http: HttpClient, identity: AwsIdentity, *, service: str, region: str, version: str
    ) -> None:
        self._http = http
        self._identity = identity
        self._service = service
        self._region = region
        self._content_type = f"application/x-amz-json-{version}"

    async def call(
        self, url: str, target: str, payload: dict[str, Any], *, timeout_s: float
    ) -> dict[str, Any]:
        """The answer of one action. StoreUnavailable: refused or not reached, StoreTimeout:
        whether it was done is unknown. The refusal's code is its `metadata["code"]`."""
        body = orjson.dumps(payload)
        headers = sign(
            "POST",
            url,
            headers={"content-type": self._content_type, "x-amz-target": target},
            body=body,
            keys=await self._identity.keys(),
            region=self._region,
            service=self._service,
            now_ms=clock.now_ms(),
        )
        try:
            answer = await self._http.request(
                "POST",
                url,
                headers=headers,
                body=body,
                timeout_s=timeout_s,
                max_bytes=MAX_ANSWER_BYTES,
            )
        except (ConnectFailed, ConnectTimeout) as error:
            raise StoreUnavailable("An AWS service cannot be reached.") from error
        except NetError as error:
            raise StoreTimeout("An AWS service did not answer in time.") from error
        return self._read(target, answer)

    def _read(self, target: str, answer: HttpAnswer) -> dict[str, Any]:
        try:
            value = orjson.loads(answer.body) if answer.body else {}
        except orjson.JSONDecodeError:
            value = None
        if answer.status < 300 and isinstance(value, dict):
            return value
        told = value if isinstance(value, dict) else {}
        code = str(told.get("__type") or "").rpartition("#")[2]
        log.error(
            "aws_refused", action=target, status=answer.status, code=code,
            detail=str(told.get("message") or told.get("Message") or ""),
        )  # fmt: skip
        if code in EXPIRED_CODES:
            self._identity.forget()
        if (answer.status < 500 and answer.status >= 300) or answer.status == UNAVAILABLE:
            refusal = StoreUnavailable("An AWS service refuses the call.")
            refusal.metadata["code"] = code
            raise refusal
        raise StoreTimeout("An AWS service failed.")
