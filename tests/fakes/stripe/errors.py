"""Stripe's error object: https://docs.stripe.com/api/errors."""

from typing import Any


class StripeFault(Exception):
    """An answer that is no success: status, and the fields of the `error` object."""

    def __init__(self, status: int, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        kind = "card_error" if status == 402 else "invalid_request_error"
        self.error = {"type": kind, "message": message} | fields


def missing(kind: str, given: str, param: str = "id") -> StripeFault:
    return StripeFault(404, f"No such {kind}: '{given}'", code="resource_missing", param=param)


def wrong(message: str, param: str | None = None, code: str | None = None) -> StripeFault:
    fields = {"param": param, "code": code}
    return StripeFault(400, message, **{k: v for k, v in fields.items() if v is not None})
