"""What a fault test acts on: the whole gateway over breakable links, its logs, its audit."""

import asyncio
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
import orjson
import redis

from tests.fakes.proxy import Proxy
from tests.world import Account, World, eventually

# Nano-USD per token of every sandbox model (catalog/bundled.toml).
INPUT, OUTPUT = 500, 1500
HOLD_SEPARATOR = "\x1f"
MESSAGES = [{"role": "user", "content": "hello"}]


class Logs(io.StringIO):
    """Standard error while a gateway runs; also passed on, so that a failure shows it."""

    def __init__(self) -> None:
        super().__init__()
        self._before = sys.stderr

    def write(self, text: str) -> int:
        self._before.write(text)
        return super().write(text)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Our own lines of one event."""
        found = []
        for line in self.getvalue().splitlines():
            if line.startswith("{"):
                parsed = orjson.loads(line)
                if parsed.get("event") == event:
                    found.append(parsed)
        return found


@dataclass(frozen=True)
class Links:
    """The two links that a test may break."""

    postgres: Proxy
    redis: Proxy

    def up(self) -> None:
        self.postgres.up()
        self.redis.up()


@dataclass(frozen=True)
class Held:
    """A hold as it stands in Redis."""

    lease: str
    amount_nanos: int
    record: dict[str, Any]


@dataclass
class Scene(World):
    """A World whose gateway reaches its stores over `links`; the operator's own way is direct."""

    database_url: str = ""
    redis_url: str = ""
    logs: Logs = field(default_factory=Logs)

    def redis(self) -> "redis.Redis[str]":
        return redis.Redis.from_url(self.redis_url, decode_responses=True)

    def holds(self, account: Account | str) -> dict[str, Held]:
        name = account if isinstance(account, str) else account.id
        with self.redis() as client:
            rows = client.hgetall(f"holds:{{{name}}}")
        found = {}
        for request, text in rows.items():
            lease, amount, _, record = text.split(HOLD_SEPARATOR)
            found[request] = Held(lease, int(amount), orjson.loads(record))
        return found

    def outbox(self, account: Account) -> dict[str, dict[str, Any]]:
        with self.redis() as client:
            rows = client.hgetall(f"outbox:{{{account.id}}}")
        return {request: orjson.loads(text) for request, text in rows.items()}

    async def sql(self, query: str, *arguments: Any) -> list[Any]:
        connection = await asyncpg.connect(self.database_url)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    async def settled(self, account: Account) -> list[dict[str, Any]]:
        """The account's requests, newest first, once nothing is under way or queued."""
        await self.quiet()
        await self.settle()
        return await self.requests(account)

    async def one(self, account: Account) -> dict[str, Any]:
        """The account's only request, settled."""
        rows = await self.settled(account)
        assert len(rows) == 1, rows
        return rows[0]

    async def charged(self, account: Account) -> int:
        return (await self.balance(account))["charged_nanos"]

    async def suspend(self, account: Account) -> None:
        """What an operator does: change the account and push its new epoch."""
        (row,) = await self.sql(
            "update tenancy.accounts set status = 'suspended', epoch = epoch + 1 "
            "where account = $1 returning epoch",
            account.id,
        )
        await self.push_epoch(account, row["epoch"])

    async def push_epoch(self, account: Account, epoch: int) -> None:
        from gatewayz.billing.credits import Credits

        await Credits(self.stores.postgres, self.stores.redis, lease_ttl_s=2400).push_epoch(
            account.id, epoch
        )

    async def redeliver(self) -> None:
        """Make every received and unfinished message visible again, as time would."""
        await self.sql("update queue.messages set visible_at = now() - interval '1 s'")

    async def released(self, name: str, count: int = 1) -> None:
        """Let `count` chunks of the lock-step stream `name` go."""
        url = self.settings.catalog.sandbox_url.removesuffix("/v1")
        async with httpx.AsyncClient(base_url=url) as client:
            for _ in range(count):
                await client.post(f"/lockstep/{name}/release")

    async def quiet(self) -> None:
        """Wait until the gateway has nothing under way."""

        async def idle() -> bool:
            gateway = self.chat.gateway()
            return not gateway.requests and not gateway._running

        await eventually(idle)

    async def pass_time(self, account: Account) -> None:
        """Bring the account's holds and private leases to their end, as waiting would."""
        with self.redis() as client:
            for request in client.zrange(f"due:{{{account.id}}}", 0, -1):
                client.zadd(f"due:{{{account.id}}}", {request: 1})
        await self.sql(
            "update ledger.leases set expires_at = ledger.now() - interval '1 s' "
            "where private and state = 'open' and account = $1",
            account.id,
        )

    async def swept(self, account: Account) -> None:
        """Sweep until nothing of the account is held."""

        async def done() -> bool:
            await self.sweep()
            return not self.holds(account) and not (await self.balance(account))["held_nanos"]

        await eventually(done)

    async def audit(self, *, conflicts: int = 0, crashes: int = 0) -> None:
        """Nothing under way, queued, kept or held; no invariant broken; no crash."""
        await self.quiet()
        await self.settle()
        for account in self.accounts:
            await self.swept(account)
            with self.redis() as client:
                for name in ("holds", "due", "outbox"):
                    assert not client.exists(f"{name}:{{{account.id}}}"), name
        violations = await self.sql("select * from ledger.violations")
        assert violations == [], violations
        found = await self.sql("select * from ledger.conflicts")
        assert len(found) == conflicts, found
        assert len(self.logs.lines("request_crashed")) == crashes
        assert "Traceback" not in self.logs.getvalue()


async def reached(check: Callable[[], Any]) -> None:
    """Wait until `check()` is true."""

    async def look() -> bool:
        return bool(check())

    await eventually(look, tries=1500)


def content_of(text: str) -> str:
    """What a streamed answer says, joined."""
    said = []
    for frame in frames_of(text):
        for choice in frame.get("choices") or ():
            said.append((choice.get("delta") or {}).get("content") or "")
    return "".join(said)


def frames_of(text: str) -> list[dict[str, Any]]:
    return [orjson.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


def error_of(text: str) -> dict[str, Any] | None:
    """The error frame that a stream ends with, None when it ends otherwise."""
    frames = frames_of(text)
    found: dict[str, Any] | None = frames[-1].get("error") if frames else None
    return found


class RawCall:
    """A caller who writes bytes to a socket and can leave at any moment."""

    def __init__(self, world: World) -> None:
        self._port = int(world.url.rpartition(":")[2])
        self.text = b""

    async def open(self, *parts: bytes) -> "RawCall":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        for part in parts:
            self._writer.write(part)
        await self._writer.drain()
        return self

    async def until(self, wanted: bytes) -> None:
        """Read until `wanted` was seen."""
        while wanted not in self.text:
            block = await asyncio.wait_for(self._reader.read(65536), 20)
            assert block, f"the connection ended before {wanted!r}: {self.text!r}"
            self.text += block

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        try:
            while block := await asyncio.wait_for(self._reader.read(65536), 20):
                self.text += block
        except ConnectionError:
            pass
        self.leave()
        return self.text

    def leave(self) -> None:
        self._writer.transport.abort()


def http_request(
    account: Account | None, body: bytes, *headers: str, path: str = "/v1/chat/completions"
) -> bytes:
    """A POST as it stands on the wire; `headers` come last and may contradict what is before."""
    lines = [f"POST {path} HTTP/1.1", "host: gateway.test", "content-type: application/json"]
    if account is not None:
        lines.append(f"authorization: Bearer {account.key}")
    lines += headers
    if not any(h.lower().startswith(("content-length", "transfer-encoding")) for h in headers):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chat_body(model: str, **fields: Any) -> bytes:
    return orjson.dumps({"model": model, "messages": MESSAGES} | fields)
