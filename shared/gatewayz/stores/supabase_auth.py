"""Supabase Auth through the genuine client: what cannot be done with a token alone. A link by
mail, and the end of an identity. Guarantees explicit time limits and our own errors.
"""

import asyncio

import httpx
from supabase_auth.errors import AuthApiError, AuthError

from gatewayz.core.errors import InvalidRequest, RateLimited, StoreTimeout, StoreUnavailable
from gatewayz.core.log import get_log
from gatewayz.stores.supabase_client import SupabaseClient

log = get_log(__name__)
TIMEOUT_S = 8.0


class SupabaseAuth:
    def __init__(self, client: SupabaseClient) -> None:
        self._client = client

    async def send_link(self, email: str, *, back_to: str) -> None:
        """Have the project mail a link that signs in. InvalidRequest for an address it refuses,
        RateLimited, StoreUnavailable, StoreTimeout."""
        client = await self._client.get()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await client.auth.sign_in_with_otp(
                    {"email": email, "options": {"email_redirect_to": back_to}}
                )
        except AuthApiError as error:
            if error.status == 429:
                raise RateLimited(
                    "Too many attempts. Try again later.",
                    code="too_many_attempts",
                    headers={"Retry-After": "60"},
                ) from None
            if 400 <= error.status < 500:
                log.warning("auth_refused", status=error.status, code=error.code)
                raise InvalidRequest(
                    "No link can be sent to this address.", param="email"
                ) from None
            raise StoreUnavailable("Sign-in is not available; retry.") from None
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise StoreUnavailable("Sign-in is not available; retry.") from None
        except (TimeoutError, httpx.HTTPError, AuthError):
            raise StoreTimeout("Sign-in did not answer in time.") from None

    async def delete_user(self, subject: str) -> bool:
        """Whether the project knows the person no more. Never raises: what is left over is
        named in the log."""
        client = await self._client.get()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await client.auth.admin.delete_user(subject)
        except (TimeoutError, httpx.HTTPError, AuthError, ValueError) as error:
            log.warning("auth_user_not_deleted", subject=subject, error=type(error).__name__)
            return False
        return True

    async def close(self) -> None:
        await self._client.close()
