"""Performs one attempt at a provider: address, credential, time limits, failure classes.

The only caller of providers on the request path. Nothing a caller sends steers the connection:
URL, headers and credential come from the provider's row alone.
"""

from collections.abc import Awaitable, Callable, Mapping

from gatewayz.core.errors import (
    TimeoutStage,
    UpstreamAuth,
    UpstreamBroken,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gatewayz.dialects.exchange import Exchange
from gatewayz.dialects.protocol import HttpRequest
from gatewayz.net.http import (
    BodyTooLarge,
    ConnectFailed,
    ConnectionBroken,
    ConnectTimeout,
    HeadTimeout,
    HttpClient,
    HttpStream,
    NetError,
    ReadTimeout,
)
from gatewayz.providers.config import Provider

MAX_ERROR_BYTES = 256 * 1024
ERROR_BODY_TIMEOUT_S = 5.0
# What a stream may come as; the second is the binary framing of one dialect.
EVENT_STREAMS = ("text/event-stream", "application/vnd.amazon.eventstream")


class ProviderClient:
    """`find_secret` gives a credential by its name, `refresh_secrets` reads them again and tells
    whether one changed; an exchange says what is sent and how a refusal of its dialect reads.
    """

    def __init__(
        self,
        http: HttpClient,
        find_secret: Callable[[str], str | None],
        refresh_secrets: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self._http = http
        self._find_secret = find_secret
        self._refresh_secrets = refresh_secrets
        self._headers: dict[str, Mapping[str, str]] = {}

    async def send(
        self, provider: Provider, exchange: Exchange, *, timeout_s: float, max_bytes: int
    ) -> bytes:
        """The body of an answer of status 2xx; every other outcome is an UpstreamError."""
        try:
            return await self._send(provider, exchange, timeout_s, max_bytes)
        except UpstreamAuth:
            if not await self._renewed():
                raise
            return await self._send(provider, exchange, timeout_s, max_bytes)

    async def _send(
        self, provider: Provider, exchange: Exchange, timeout_s: float, max_bytes: int
    ) -> bytes:
        request = exchange.request
        try:
            answer = await self._http.request(
                "POST",
                provider.base_url + request.path,
                headers=self._headers_for(provider, request),
                body=request.body,
                timeout_s=timeout_s,
                max_bytes=max_bytes,
            )
        except NetError as error:
            raise upstream_error(provider.slug, error, whole=True) from error
        if answer.status >= 300:
            raise exchange.decode_error(answer.status, answer.headers, answer.body)
        return answer.body

    async def open(
        self, provider: Provider, exchange: Exchange, *, timeout_s: float, total_s: float
    ) -> HttpStream:
        """A stream of status 2xx in its dialect's form; the caller reads and closes it.

        `timeout_s` is for the response head, `total_s` for the whole stream at most.
        """
        try:
            return await self._open(provider, exchange, timeout_s, total_s)
        except UpstreamAuth:
            if not await self._renewed():
                raise
            return await self._open(provider, exchange, timeout_s, total_s)

    async def _renewed(self) -> bool:
        """A credential was refused: was it rotated, so that the attempt is worth a second try?"""
        if self._refresh_secrets is None or not await self._refresh_secrets():
            return False
        self._headers.clear()
        return True

    async def _open(
        self, provider: Provider, exchange: Exchange, timeout_s: float, total_s: float
    ) -> HttpStream:
        request = exchange.request
        try:
            stream = await self._http.open(
                "POST",
                provider.base_url + request.path,
                headers=self._headers_for(provider, request),
                body=request.body,
                timeout_s=timeout_s,
                total_s=total_s,
            )
        except NetError as error:
            raise upstream_error(provider.slug, error) from error
        content_type = stream.headers.get("content-type", EVENT_STREAMS[0])
        if stream.status < 300 and content_type.startswith(EVENT_STREAMS):
            return stream
        raise await self._refusal(provider, exchange, stream)

    async def _refusal(
        self, provider: Provider, exchange: Exchange, stream: HttpStream
    ) -> UpstreamError:
        """The error an answer that is no event stream stands for."""
        body = b""
        try:
            while len(body) < MAX_ERROR_BYTES and (
                block := await stream.read(ERROR_BODY_TIMEOUT_S)
            ):
                body += block
        except NetError:
            pass  # the status says enough
        finally:
            await stream.aclose()
        if stream.status < 300:
            return UpstreamBroken(
                "The provider answered a stream request with something else.",
                provider=provider.slug,
                upstream_status=stream.status,
            )
        return exchange.decode_error(stream.status, stream.headers, body)

    def _headers_for(self, provider: Provider, request: HttpRequest) -> Mapping[str, str]:
        known = self._headers.get(provider.slug)
        if known is None:
            known = self._headers[provider.slug] = self._build_headers(provider)
        return {**request.headers, **known} if request.headers else known

    def _build_headers(self, provider: Provider) -> Mapping[str, str]:
        headers = {"content-type": "application/json", "accept": "*/*"}
        if provider.credential:
            secret = self._find_secret(provider.credential)
            if secret is None:
                raise UpstreamAuth("The provider has no credential here.", provider=provider.slug)
            headers |= credential_headers(provider, secret)
        return headers


def credential_headers(provider: Provider, secret: str) -> dict[str, str]:
    """What signs a request in at a provider, as its row says (`auth`)."""
    kind, _, name = provider.auth.partition(":")
    return {name: secret} if kind == "header" else {"authorization": f"Bearer {secret}"}


def upstream_error(provider: str, error: NetError, *, whole: bool = False) -> UpstreamError:
    """The class of a network failure; `whole` answers have one time limit, the total."""
    match error:
        case ConnectTimeout():
            return UpstreamTimeout("Connecting took too long.", stage="connect", provider=provider)
        case HeadTimeout() | ReadTimeout():
            stage: TimeoutStage = "total" if whole else "first_token"
            return UpstreamTimeout("The provider took too long.", stage=stage, provider=provider)
        case ConnectFailed():
            return UpstreamUnavailable("The provider cannot be reached.", provider=provider)
        case BodyTooLarge():
            return UpstreamBroken("The provider's answer is too large.", provider=provider)
        case ConnectionBroken():
            return UpstreamBroken("The provider broke the connection.", provider=provider)
    return UpstreamUnavailable("The provider cannot be reached.", provider=provider)
