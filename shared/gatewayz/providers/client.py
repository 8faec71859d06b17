"""Performs one attempt at a provider: address, credential, time limits, failure classes.

The only caller of providers on the request path. Nothing a caller sends steers the connection:
URL, headers and credential come from the provider's row alone.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from gatewayz.core.errors import (
    TimeoutStage,
    UpstreamAuth,
    UpstreamBroken,
    UpstreamError,
    UpstreamExhausted,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gatewayz.dialects.exchange import Exchange
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
from gatewayz.providers.access import FindSecret, sign_in
from gatewayz.providers.auth import Signer
from gatewayz.providers.places import Places
from gatewayz.providers.provider import Place, Provider

T = TypeVar("T")

MAX_ERROR_BYTES = 256 * 1024
ERROR_BODY_TIMEOUT_S = 5.0
# What a stream may come as; the second is the binary framing of one dialect.
EVENT_STREAMS = ("text/event-stream", "application/vnd.amazon.eventstream")
ACCEPT = {"content-type": "application/json", "accept": "*/*"}
# Sign-ins that are the same for every call, so that their headers are made once.
STATIC = ("bearer", "header")


class ProviderClient:
    """`find_secret` gives a credential by its name, `refresh_secrets` reads them again and tells
    whether one changed; an exchange says what is sent and how a refusal of its dialect reads.
    """

    def __init__(
        self,
        http: HttpClient,
        find_secret: FindSecret,
        refresh_secrets: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self._http = http
        self._find_secret = find_secret
        self._refresh_secrets = refresh_secrets
        self._signer = Signer(http, find_secret)
        self._places = Places(find_secret)
        self._headers: dict[str, Mapping[str, str]] = {}

    async def send(
        self, provider: Provider, exchange: Exchange, *, timeout_s: float, max_bytes: int
    ) -> bytes:
        """The body of an answer of status 2xx; every other outcome is an UpstreamError."""
        return await self._try(
            provider, lambda at: self._send(provider, exchange, at, timeout_s, max_bytes)
        )

    async def open(
        self, provider: Provider, exchange: Exchange, *, timeout_s: float, total_s: float
    ) -> HttpStream:
        """A stream of status 2xx in its dialect's form; the caller reads and closes it.

        `timeout_s` is for the response head, `total_s` for the whole stream at most.
        """
        return await self._try(
            provider, lambda at: self._open(provider, exchange, at, timeout_s, total_s)
        )

    async def _try(self, provider: Provider, attempt: Callable[[Place | None], Awaitable[T]]) -> T:
        """Once; and once more when a refused credential has a newer one or is good elsewhere."""
        self._places.check_rest(provider)
        place = self._places.now(provider)
        try:
            return await attempt(place)
        except UpstreamExhausted as error:
            self._places.rest(provider, error)
            raise
        except UpstreamAuth as error:
            refused = error
        if await self._renewed(provider):
            try:
                return await attempt(place)
            except UpstreamAuth as error:
                refused = error
        for other in self._places.others(provider, place, refused):
            try:
                answer = await attempt(other)
            except UpstreamAuth:
                continue
            self._places.learn(provider, other)
            return answer
        raise refused

    async def _renewed(self, provider: Provider) -> bool:
        """A credential was refused: was it rotated, so that the attempt is worth a second try?"""
        way = sign_in(provider, self._find_secret)
        fresh = way is not None and self._signer.forget(way)
        if self._refresh_secrets is not None and await self._refresh_secrets():
            fresh = True
            self._headers.clear()
        return fresh

    async def _send(
        self,
        provider: Provider,
        exchange: Exchange,
        place: Place | None,
        timeout_s: float,
        max_bytes: int,
    ) -> bytes:
        url = self._places.url(provider, exchange, place)
        headers = self._headers.get(provider.slug)
        if headers is None or exchange.request.headers:
            headers = await self._sign(provider, exchange, url)
        try:
            answer = await self._http.request(
                "POST",
                url,
                headers=headers,
                body=exchange.request.body,
                timeout_s=timeout_s,
                max_bytes=max_bytes,
            )
        except NetError as error:
            raise upstream_error(provider.slug, error, whole=True) from error
        if answer.status >= 300:
            raise exchange.decode_error(answer.status, answer.headers, answer.body)
        return answer.body

    async def _open(
        self,
        provider: Provider,
        exchange: Exchange,
        place: Place | None,
        timeout_s: float,
        total_s: float,
    ) -> HttpStream:
        url = self._places.url(provider, exchange, place)
        headers = await self._sign(provider, exchange, url)
        try:
            stream = await self._http.open(
                "POST",
                url,
                headers=headers,
                body=exchange.request.body,
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
            # Some say with status 200 and no stream why there is none.
            refusal = exchange.decode_error(stream.status, stream.headers, body)
            if not isinstance(refusal, UpstreamBroken):
                return refusal
            return UpstreamBroken(
                "The provider answered a stream request with something else.",
                provider=provider.slug,
                upstream_status=stream.status,
            )
        return exchange.decode_error(stream.status, stream.headers, body)

    async def _sign(self, provider: Provider, exchange: Exchange, url: str) -> Mapping[str, str]:
        """The headers of a call, signed in as the provider's row says."""
        own = exchange.request.headers
        known = self._headers.get(provider.slug)
        if known is not None:
            return {**own, **known} if own else known
        way = sign_in(provider, self._find_secret)
        static = {**ACCEPT, **provider.headers}
        if way is None or way.auth.partition(":")[0] in STATIC:
            if way is not None:
                static = dict(await self._signer.sign(way, "POST", url, headers=static, body=b""))
            self._headers[provider.slug] = static
            return {**own, **static} if own else static
        return await self._signer.sign(
            way, "POST", url, headers={**own, **static}, body=exchange.request.body
        )


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
