"""What the worker that settles passes on: to accounts' own services, to product analytics.

Puts a message into a queue in Postgres and is done: an outage of theirs is none of settlement's.
Guarantees that what cannot be passed on harms nobody.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gatewayz.core import clock
from gatewayz.core.errors import GatewayError
from gatewayz.core.log import get_log
from gatewayz.core.settings import load_settings
from gatewayz.stores.postgres import Postgres

log = get_log(__name__)

TRACES, EVENTS = "telemetry", "analytics"
# Which accounts export is asked for this often: theirs begins that much later.
KNOWN_S = 60.0
TIMEOUT_S = 5.0


class Passing:
    """One per process."""

    def __init__(self) -> None:
        self._accounts: frozenset[str] = frozenset()
        self._until_s = 0.0

    async def pass_on(self, postgres: Postgres, posted: Sequence[Mapping[str, Any]]) -> None:
        """Messages that the ledger posted just now."""
        if not posted:
            return
        try:
            accounts = await self._exporting(postgres)
            traced = [m for m in posted if m.get("account") in accounts]
            if traced:
                await _send(postgres, TRACES, {str(m["request_id"]): m for m in traced})
            if load_settings().telemetry.posthog_key:
                await _send(postgres, EVENTS, dict(_events(posted)))
        except GatewayError as error:
            log.info("not_passed_on", messages=len(posted), error=error.metric)

    async def _exporting(self, postgres: Postgres) -> frozenset[str]:
        now_s = clock.monotonic_s()
        if now_s >= self._until_s:
            self._accounts = frozenset(await postgres.rpc("list_exporting", {}))
            self._until_s = now_s + KNOWN_S
        return self._accounts


async def _send(postgres: Postgres, queue: str, bodies: Mapping[str, Mapping[str, Any]]) -> None:
    rows = [{"id": key, "body": dict(body)} for key, body in bodies.items()]
    await postgres.rpc("send_messages", {"queue": queue, "messages": rows}, timeout_s=TIMEOUT_S)


def _events(posted: Sequence[Mapping[str, Any]]) -> Sequence[tuple[str, dict[str, Any]]]:
    """What a batch comes to for each account: an event each, and no more of any request."""
    found: dict[str, dict[str, Any]] = {}
    for message in posted:
        event = found.setdefault(
            str(message["account"]),
            {
                "event": "inference_used",
                "account": message["account"],
                "at_ms": clock.now_ms(),
                "requests": 0,
                "failed": 0,
                "units": 0,
                "charge_nanos": 0,
                "models": [],
                "providers": [],
            },
        )
        event["requests"] += 1
        event["failed"] += message.get("outcome") in ("failed", "cut", "expired")
        event["units"] += sum(line[1] for line in message.get("lines") or ())
        event["charge_nanos"] += message.get("charge_nanos") or 0
        for field, name in (("models", "model"), ("providers", "provider")):
            if message.get(name) and message[name] not in event[field]:
                event[field].append(message[name])
    first = str(posted[0]["request_id"])
    return [(f"{first}:{account}", event) for account, event in found.items()]
