"""Webhooks as Stripe sends them, and as they should not be: twice, late, out of order, forged."""

import hashlib
import hmac
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.fakes.stripe.account import Object, Stripe

GIVE_UP_AFTER = 16


@dataclass
class Endpoint:
    """Where events go; `types` is what it asked for, `*` all."""

    url: str
    secret: str
    types: tuple[str, ...] = ("*",)


@dataclass
class Attempt:
    event: str
    kind: str
    url: str
    status: int | None


@dataclass
class _Waiting:
    event: Object
    endpoint: Endpoint
    tries: int = 0


@dataclass
class Manners:
    """How the mail behaves until told otherwise."""

    copies: int = 1
    shuffle_seed: int | None = None
    hold: bool = False


def sign(payload: bytes, secret: str, at_s: int | None = None) -> str:
    """The Stripe-Signature header: https://docs.stripe.com/webhooks#verify-manually."""
    at_s = int(time.time()) if at_s is None else at_s
    digest = hmac.new(secret.encode(), f"{at_s}.".encode() + payload, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest},v0={'0' * 64}"


def encode(event: Object) -> bytes:
    """Pretty-printed, as Stripe does: who parses and writes again breaks the signature."""
    return json.dumps(event, indent=2).encode()


@dataclass
class Deliveries:
    """`deliver` sends what is due once; what an endpoint did not take stays due."""

    stripe: Stripe
    endpoints: list[Endpoint] = field(default_factory=list)
    manners: Manners = field(default_factory=Manners)
    attempts: list[Attempt] = field(default_factory=list)
    _seen: int = 0
    _waiting: list[_Waiting] = field(default_factory=list)

    @property
    def due(self) -> int:
        self._collect()
        return len(self._waiting)

    async def deliver(
        self, client: httpx.AsyncClient, manners: Manners | None = None
    ) -> list[Attempt]:
        """Every due event once (or `copies` times) to every endpoint that wants it."""
        manners = manners or self.manners
        self._collect()
        round_ = [one for one in self._waiting for _ in range(manners.copies)]
        if manners.shuffle_seed is not None:
            random.Random(manners.shuffle_seed).shuffle(round_)
        self._waiting = []
        failed: dict[int, _Waiting] = {}
        done = []
        for one in round_:
            attempt = await self._send(client, one)
            done.append(attempt)
            taken = attempt.status is not None and 200 <= attempt.status < 300
            if taken:
                failed.pop(id(one), None)
                one.event["pending_webhooks"] = 0
            elif one.tries < GIVE_UP_AFTER:
                failed[id(one)] = one
        self._waiting.extend(failed.values())
        self.attempts.extend(done)
        return done

    async def send_again(self, client: httpx.AsyncClient, event_id: str) -> list[Attempt]:
        """Resend from the dashboard."""
        event = self.stripe.find("event", event_id)
        return [await self._send(client, _Waiting(event, one)) for one in self.endpoints]

    async def forge(
        self, client: httpx.AsyncClient, event: Object, *, secret: str, at_s: int | None = None
    ) -> httpx.Response:
        """Somebody else's mail, to the first endpoint."""
        payload = encode(event)
        headers = {"stripe-signature": sign(payload, secret, at_s)}
        return await client.post(self.endpoints[0].url, content=payload, headers=headers)

    def _collect(self) -> None:
        fresh = self.stripe.events[self._seen :]
        self._seen = len(self.stripe.events)
        for event in fresh:
            for endpoint in self.endpoints:
                if "*" in endpoint.types or event["type"] in endpoint.types:
                    self._waiting.append(_Waiting(event, endpoint))

    async def _send(self, client: httpx.AsyncClient, one: _Waiting) -> Attempt:
        one.tries += 1
        payload = encode(one.event)
        headers = {
            "content-type": "application/json; charset=utf-8",
            "user-agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "stripe-signature": sign(payload, one.endpoint.secret),
        }
        status: int | None
        try:
            answer = await client.post(one.endpoint.url, content=payload, headers=headers)
            status = answer.status_code
        except httpx.HTTPError:
            status = None
        return Attempt(one.event["id"], one.event["type"], one.endpoint.url, status)


def as_event(kind: str, subject: dict[str, Any], **fields: Any) -> Object:
    """An event nobody at Stripe made."""
    return {
        "id": "evt_forged",
        "object": "event",
        "type": kind,
        "data": {"object": subject},
        "livemode": False,
        "created": int(time.time()),
    } | fields
