"""Sends what was passed on: traces to accounts' own services, events to product analytics.

Runs by the clock, behind everything. A message is tried some times, then given up and counted: a
service that is away keeps nothing of ours waiting.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from gatewayz.core.errors import GatewayError
from gatewayz.core.log import get_log
from gatewayz.core.money import usd_number
from gatewayz.core.settings import Settings
from gatewayz.net.egress import Egress, read_networks
from gatewayz.net.http import HttpClient, NetError
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.queue import PostgresQueue, Received
from gatewayz.telemetry.destinations import MEDIA, body_of, place_of, wants
from gatewayz.telemetry.outward import NotSent, post_outward
from gatewayz.telemetry.passing import EVENTS, TRACES

log = get_log(__name__)

BATCH = 100
MAX_BATCHES = 50
# A batch whose sender died, or that was not taken, comes again after it.
VISIBLE_S = 60.0
# The queue itself gives a message up after five; before that it is ours to count.
LAST_TRY = 4
TIMEOUT_S = 10.0
# sealed headers and the place that they are sealed for -> headers
Unseal = Callable[[str, str], str]
Handle = Callable[[Sequence[Received]], Awaitable[list[str]]]


async def drain(postgres: Postgres, queue: str, handle: Handle) -> int:
    """Hand over what waits, batch by batch; how many are done with."""
    waiting, total = PostgresQueue(postgres), 0
    for _ in range(MAX_BATCHES):
        messages = await waiting.receive(queue, BATCH, visible_s=VISIBLE_S)
        done = await handle(messages) if messages else []
        if done:
            await waiting.acknowledge(queue, done)
        total += len(done)
        if len(messages) < BATCH or not done:
            break
    return total


class Traces:
    """Handles messages of accounts that have a service of their own."""

    def __init__(self, postgres: Postgres, settings: Settings, unseal: Unseal) -> None:
        self._postgres = postgres
        self._unseal = unseal
        self._egress = Egress(read_networks(settings.http.fetch_networks))

    async def run(self) -> int:
        return await drain(self._postgres, TRACES, self._handle)

    async def _handle(self, messages: Sequence[Received]) -> list[str]:
        of_account: dict[str, list[Received]] = {}
        for message in messages:
            of_account.setdefault(str(message.body.get("account")), []).append(message)
        rows = await self._postgres.rpc("read_destinations", {"accounts": list(of_account)})
        again: set[str] = set()
        for row in rows:
            mine = of_account[row["account"]]
            kept = [m for m in mine if wants(row["per_mille"], m.body)]
            if kept and not await self._send(row, kept):
                again |= {m.id for m in kept if m.receives < LAST_TRY}
        return [message.id for message in messages if message.id not in again]

    async def _send(self, row: Mapping[str, Any], messages: Sequence[Received]) -> bool:
        """Whether these are done with, taken or not."""
        account, name = row["account"], row["name"]
        noted: dict[str, Any] = {"account": account, "name": name, "sent": 0, "failed": 0}
        done = True
        try:
            headers = orjson.loads(self._unseal(row["sealed"], place_of(account, name)))
            body = body_of(message.body for message in messages)
            await post_outward(self._egress, row["endpoint"], {**MEDIA, **headers}, body)
            noted["sent"] = len(messages)
        except NotSent as error:
            done = not error.again
            noted |= {"failed": len(messages), "error": str(error)}
        except GatewayError as error:
            noted |= {"failed": len(messages), "error": error.code}
        await self._postgres.rpc("note_destination", noted)
        return done


class Analytics:
    """Handles events of the product for the service that the settings name."""

    def __init__(self, postgres: Postgres, settings: Settings, http: HttpClient) -> None:
        self._postgres = postgres
        self._own = settings.telemetry
        self._http = http

    async def run(self) -> int:
        if not self._own.posthog_key:
            return 0
        return await drain(self._postgres, EVENTS, self._handle)

    async def _handle(self, messages: Sequence[Received]) -> list[str]:
        batch = [event_of(message.id, message.body) for message in messages]
        body = orjson.dumps({"api_key": self._own.posthog_key, "batch": batch})
        try:
            answer = await self._http.request(
                "POST",
                f"{self._own.posthog_host.rstrip('/')}/batch/",
                headers={"content-type": "application/json"},
                body=body,
                timeout_s=TIMEOUT_S,
                max_bytes=64 * 1024,
            )
        except NetError as error:
            log.warning("analytics_away", error=type(error).__name__)
            return [message.id for message in messages if message.receives >= LAST_TRY]
        if answer.status >= 500 or answer.status == 429:
            return [message.id for message in messages if message.receives >= LAST_TRY]
        if answer.status >= 300:
            log.warning("analytics_refused", status=answer.status)
        return [message.id for message in messages]


def event_of(message_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """An event as the service takes it; sent twice it is the same one."""
    at = datetime.fromtimestamp(body["at_ms"] / 1000, tz=UTC)
    return {
        "event": body["event"],
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"gatewayz:{message_id}")),
        "timestamp": at.isoformat(),
        "distinct_id": body["account"],
        "properties": {
            "requests": body["requests"],
            "failed": body["failed"],
            "units": body["units"],
            "charge_usd": usd_number(body["charge_nanos"]),
            "models": body["models"],
            "providers": body["providers"],
            "$groups": {"account": body["account"]},
            "$process_person_profile": False,
        },
    }
