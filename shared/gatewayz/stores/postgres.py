"""Postgres as a set of named functions: `rpc(name, params)` is one call, one transaction.

The port and its failure classes. Every function of schema `api` takes one unnamed jsonb argument,
so PostgREST and a direct connection share one form, and one reading of SQLSTATEs.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from gatewayz.core.errors import (
    Conflict,
    Forbidden,
    GatewayError,
    InsufficientCredits,
    InternalError,
    InvalidRequest,
    NotFound,
    StoreTimeout,
    StoreUnavailable,
)
from gatewayz.core.log import get_log

log = get_log(__name__)

CONNECT_TIMEOUT_S = 2.0
MAX_TRIES = 3
# Deadlock, serialisation failure, lock timeout: rolled back, so trying again is safe (F12).
RETRYABLE_SQLSTATES = frozenset({"40P01", "40001", "55P03"})
# The server refuses or ends connections: nothing of this call was applied.
UNAVAILABLE_SQLSTATES = frozenset({"57P01", "57P02", "57P03", "53300", "3D000", "28P01", "28000"})
QUERY_CANCELED = "57014"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Postgres(Protocol):
    async def rpc(
        self, name: str, params: dict[str, Any], *, timeout_s: float | None = None
    ) -> Any:
        """Call `api.<name>` with one JSON object; its JSON answer.

        Business errors of the function (SQLSTATE PT4xx) arrive as RequestErrors,
        StoreUnavailable when nothing was applied, StoreTimeout when that is unknown.
        """
        ...

    async def close(self) -> None: ...


class RolledBack(Exception):
    """The database undid the call by itself, so that trying it again is no blind retry."""


def checked_name(name: str) -> str:
    """`name` when a function may be called so: it becomes part of a statement or a URL."""
    if not _NAME.fullmatch(name):
        raise InternalError(f"bad function name {name!r}")
    return name


async def call_with_tries(call: Callable[[], Awaitable[Any]]) -> Any:
    """The result of `call`, done again with jitter while the database rolls it back (F12)."""
    for attempt in range(1, MAX_TRIES + 1):
        try:
            return await call()
        except RolledBack as error:
            if attempt == MAX_TRIES:
                raise StoreUnavailable("The database is busy.") from error
            await asyncio.sleep(random.uniform(0.005, 0.05) * attempt)
    raise AssertionError("unreachable")


def business_error(sqlstate: str, code: str, detail: str | None) -> GatewayError | None:
    """The exception for a function's own SQLSTATE (`PT402` is HTTP 402); None for others."""
    match sqlstate:
        case "PT400":
            return InvalidRequest(code.replace("_", " "), code=code)
        case "PT402":
            spent = code == "budget_exceeded"
            return InsufficientCredits(
                "A spending limit is reached." if spent else "Not enough credits.",
                code=code if spent else None,
                metadata={"available_nanos": int(detail or 0)},
            )
        case "PT403":
            return Forbidden(code.replace("_", " "), code=code)
        case "PT404":
            return NotFound(code.replace("_", " "), code=code)
        case "PT409":
            return Conflict(code.replace("_", " "), code=code)
    return None


def failure(function: str, sqlstate: str, message: str, detail: str | None) -> Exception:
    """What an error of the database is to the caller: a GatewayError, or RolledBack."""
    if known := business_error(sqlstate, message, detail):
        return known
    if sqlstate in RETRYABLE_SQLSTATES:
        return RolledBack(sqlstate)
    if sqlstate == QUERY_CANCELED:
        return StoreTimeout("The database did not answer in time.")
    if sqlstate in UNAVAILABLE_SQLSTATES:
        return StoreUnavailable("The database is not available.")
    log.error("rpc_failed", function=function, sqlstate=sqlstate, detail=message)
    return InternalError()
