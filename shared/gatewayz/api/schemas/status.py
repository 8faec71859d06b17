"""Is it up."""

from typing import Literal

from pydantic import AwareDatetime

from gatewayz.api.schemas.shape import Ours

StoreState = Literal["ok", "unavailable"]


class StoreStates(Ours):
    postgres: StoreState
    redis: StoreState
    queue: StoreState


class Health(Ours):
    """Always 200: `degraded` when a store is away, though requests may still be served."""

    status: Literal["ok", "degraded"]
    version: str
    commit: str | None
    timestamp: AwareDatetime
    stores: StoreStates
