"""What must be true after every step, and what must be true in the end.

The oracle knows what bytes a caller received, what the provider's script says, and who died;
what stores had accepted is noted on the way, so that evidence lost with a process, or with Redis,
can be told from money lost by us.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson
import redis.asyncio

from gatewayz.billing.slot import ADMIT, account_keys
from gatewayz.dialects.openai_chat.meter import OutputMeter
from gatewayz.pricing.estimate import likely_share
from tests.simulation.upstream import PROMPT_TOKENS, Script, word
from tests.simulation.world import SimulationFailed, Step

MOVES_MONEY = {"reserve_credit", "give_back_credit", "close_lease", "settle_charges"}
MOVES_MONEY |= {"grant_credit", "apply_payment", "sync_rewards", "grant_allowance"}
MOVES_MONEY |= {"redeem_coupon", "expire_wallets"}
MICRO = 1_000_000


@dataclass(eq=False)
class Caller:
    """One request, from its caller's side; prices in nano-USD per 10^6 tokens."""

    number: int
    account: str
    key: str
    stream: bool
    script: Script
    at_s: float
    max_tokens: int | None = None
    leaves_after: int | None = None
    prompt_tokens: int = 0
    prices: tuple[int, int] = (0, 0)
    offered: dict[str, tuple[int, int]] = field(default_factory=dict)  # by version, while it asked
    revoked_before: bool = False
    reached_upstream: bool = False
    played: Script | None = None
    status: int | None = None
    body: bytes = b""
    ended: bool = False
    process: Any = None

    @property
    def label(self) -> str:
        return f"call{self.number}"

    def text(self) -> str:
        """The content that was delivered."""
        if not self.stream:
            if self.status != 200 or not self.ended:
                return ""
            return str(orjson.loads(self.body)["choices"][0]["message"]["content"])
        deltas = [
            event["choices"][0]["delta"].get("content", "")
            for event in self._events()
            if event.get("choices")
        ]
        return "".join(deltas)

    def complete(self) -> bool:
        """The caller has the whole answer, and knows."""
        if not self.stream:
            return self.ended and self.status == 200
        return self.body.endswith(b"data: [DONE]\n\n")

    def finish(self) -> str | None:
        """The finish reason of a stream; "length" when the credit ran out."""
        choices = [event["choices"][0] for event in self._events() if event.get("choices")]
        return next((c["finish_reason"] for c in choices if c.get("finish_reason")), None)

    @property
    def leaves_early(self) -> bool:
        return self.stream and self.leaves_after is not None

    def _events(self) -> Iterator[dict[str, Any]]:
        for frame in self.body.split(b"\n\n")[:-1]:
            if frame.startswith(b"data: {"):
                yield orjson.loads(frame[6:])

    def price(self, prompt: int, output: int) -> int:
        return -(-(prompt * self.prices[0] + output * self.prices[1]) // MICRO)

    def metered(self, text: str, *, slack: int = 0) -> int:
        """What an estimate of that much text costs; each checkpoint rounds it, by `slack`."""
        meter = OutputMeter()
        meter.add(text)
        rounded = slack * (1 + text.count(" ") // 4)
        tokens = max(0, meter.tokens + rounded) if text else 0
        return self.price(likely_share(self.prompt_tokens), tokens)


@dataclass
class Evidence:
    """What the stores have accepted, seen where it is applied."""

    sent: dict[str, int] = field(default_factory=dict)  # request → charge in the queue
    kept: dict[str, int] = field(default_factory=dict)  # request → charge in the outbox
    checkpoints: dict[str, int] = field(default_factory=dict)  # request → charge on its hold
    holds: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)  # requests that a flush took
    in_log: set[str] = field(default_factory=set)  # whole messages in ERROR lines
    labels: dict[str, str] = field(default_factory=dict)  # request → the caller's label

    def rpc(self, name: str, params: dict[str, Any], answer: Any) -> None:
        if name == "send_messages":
            for message in params["messages"]:
                self.sent.setdefault(message["id"], message["body"]["charge_nanos"])
                self._name(message["body"])
        elif name == "reserve_credit" and params["private"]:
            self._name(orjson.loads(params["record"]))

    def script(self, given: list[Any], answer: list[Any]) -> None:
        match given[0]:
            case "admit" if answer[0] == "OK":
                self.holds.add(given[2])
                self._name(orjson.loads(given[6]))
            case "checkpoint" if answer[0] == "OK":
                self.checkpoints[given[2]] = orjson.loads(given[3])["charge_nanos"]
            case "finish":
                self.holds.discard(given[2])
                if given[4]:
                    self.kept[given[2]] = orjson.loads(given[4])["charge_nanos"]
                    self._name(orjson.loads(given[4]))
            case "drained":
                for request in given[2:]:
                    self.kept.pop(request, None)

    def flushed(self) -> None:
        self.forgotten |= self.holds | set(self.kept) | set(self.checkpoints)
        self.holds.clear()
        self.kept.clear()
        self.checkpoints.clear()

    def _name(self, message: dict[str, Any]) -> None:
        self.labels[message["request_id"]] = message["client_request_id"]


class Auditor:
    """Looks at both stores by ways of its own."""

    def __init__(
        self, connection: "asyncpg.Connection[Any]", client: "redis.asyncio.Redis[str]"
    ) -> None:
        self._connection = connection
        self._redis = client

    async def after(self, step: Step, accounts: list[str]) -> None:
        if step.label in MOVES_MONEY:
            found = await self._connection.fetch("select * from ledger.violations")
            if found:
                raise SimulationFailed(f"after {step.label}: {[tuple(row) for row in found]}")
        if step.label == "settle_charges":
            await self._check_sums(step)
        if step.label in MOVES_MONEY or step.label.startswith(ADMIT):
            for account in accounts:
                await self._check_lease(account, step)

    async def _check_sums(self, step: Step) -> None:
        """What customers are shown by hour, day and class is what the ledger charged."""
        await self._connection.fetchval("""select api.fold_usage('{"most": 1000000}')""")
        found = await self._connection.fetch("select * from ledger.find_usage_violations(null)")
        sums = await self._connection.fetchrow(SUMS)
        if found or len(set(sums or ())) > 1:
            raise SimulationFailed(f"after {step.label}: {[tuple(row) for row in found]}, {sums}")

    async def _check_lease(self, account: str, step: Step) -> None:
        """I16: 0 ≤ left; left, holds and charges of a lease are within what was granted."""
        keys = account_keys(account)
        state = await self._redis.hgetall(keys[0])
        if "lease" not in state:
            return
        holds = {r: v.split("\x1f") for r, v in (await self._redis.hgetall(keys[1])).items()}
        left, lease = int(state["left"]), state["lease"]
        if left < 0:
            raise SimulationFailed(f"after {step.label}: left is {left} (I16)")
        rows = await self._connection.fetch(LEASE, lease)
        if not rows or rows[0]["state"] != "open":
            return
        held = sum(int(h[1]) for h in holds.values() if h[0] == lease)
        charged = sum(r["amount"] or 0 for r in rows if r["request_id"] not in holds)
        if left + held + charged > rows[0]["granted"]:
            raise SimulationFailed(
                f"after {step.label}: left {left}, held {held}, charged {charged} "
                f"of {rows[0]['granted']} granted (I16)"
            )

    async def holds(self, accounts: list[str]) -> int:
        return sum([await self._redis.hlen(account_keys(a)[1]) for a in accounts])

    async def books(self) -> list[tuple[str, int]]:
        rows = await self._connection.fetch(
            "select id, balance from ledger.books where account is not null order by id"
        )
        return [(row["id"], row["balance"]) for row in rows]

    async def rows(self) -> list[dict[str, Any]]:
        found = await self._connection.fetch(
            "select r.*, c.cause from ledger.requests r"
            " join ledger.charges c using (request_id) order by request_id"
        )
        return [dict(row) for row in found]

    async def leases(self) -> list[dict[str, Any]]:
        found = await self._connection.fetch("select * from ledger.leases where state = 'open'")
        return [dict(row) for row in found]


SUMS = """
select (select coalesce(sum(amount), 0)::bigint from ledger.charges) as ledger,
       (select coalesce(sum(nanos), 0)::bigint from ledger.usage_hours) as hours,
       (select coalesce(sum(nanos), 0)::bigint from ledger.usage_days) as days,
       (select coalesce(sum(nanos), 0)::bigint from ledger.usage_lines) as lines
"""
LEASE = """
select l.granted, l.state, c.request_id, c.amount from ledger.leases l left join (
    select lease, request_id, from_held as amount from ledger.charges
    union all
    select (body ->> 'lease')::uuid, id, (body ->> 'charge_nanos')::bigint from queue.messages q
     where not exists (select 1 from ledger.charges c where c.request_id = q.id)
  ) as c on c.lease = l.id
 where l.id = $1::text::uuid
"""


@dataclass
class Verdict:
    """What a run came to; `lost_nanos` is delivered and not charged, each with its reason."""

    served: int = 0
    charged_nanos: int = 0
    lost_nanos: int = 0
    lost: list[str] = field(default_factory=list)
    budgets: int = 0


def judge(callers: list[Caller], rows: list[dict[str, Any]], evidence: Evidence) -> Verdict:
    """Every caller's delivery beside the ledger; SimulationFailed names the first that differs."""
    verdict = Verdict()
    for caller in callers:
        own = [row for row in rows if row["client_request_id"] == caller.label]
        charged = sum(row["charge_nanos"] for row in own)
        verdict.charged_nanos += charged
        verdict.served += caller.reached_upstream
        outcomes = [row["outcome"] for row in own]
        name = f"{caller.label} ({caller.played}, {len(caller.text())} characters, {outcomes})"
        ids = [r for r, label in evidence.labels.items() if label == caller.label]
        if len([row for row in own if row["charge_nanos"] or row["outcome"] != "expired"]) > 1:
            raise SimulationFailed(f"{name}: {len(own)} charges for one request (D19)")
        if caller.revoked_before and caller.reached_upstream:
            raise SimulationFailed(f"{name}: served with a key that was revoked before (D13)")
        gone = [r for r in ids if r in evidence.forgotten or r in evidence.in_log]
        for row in own:
            caller.prices = caller.offered[row["price_version"]]
        # Evidence lost with all stores down, or flushed: what its last checkpoint says is charged.
        lost = bool(gone) and "expired" in outcomes
        # The deadline may fall between the last word and the usage.
        lost |= caller.script.gap_s >= 4 and any(row["estimated"] for row in own)
        most, least = _bounds(caller, lost=lost)
        if any(row["reason"] == "cap" for row in own):
            # An estimate never goes above its hold, which pays for every word that may come.
            least = min(least, caller.price(0, caller.text().count(" ")))
        if charged > most:
            raise SimulationFailed(f"{name}: charged {charged}, owes at most {most}")
        _check_evidence(name, ids, own, evidence)
        if caller.reached_upstream and not own and not gone:
            raise SimulationFailed(f"{name}: admitted, and no row tells of it (D19)")
        if charged < least:
            if not (caller.process.dead or gone):
                raise SimulationFailed(f"{name}: charged {charged}, owes {least}, nobody died")
            verdict.lost_nanos += least - charged
            verdict.lost.append(f"{caller.label}: {least - charged}")
    return verdict


def _bounds(caller: Caller, *, lost: bool) -> tuple[int, int]:
    """The most and the least that may be charged, by what was delivered and what was played."""
    played, text = caller.played, caller.text()
    if played is None or (played.end == "empty" and not caller.leaves_early):
        return 0, 0
    fails = played.end in ("refusal", "cut", "stall")
    if fails and not caller.stream:
        return 0, 0
    words = 0 if played.end in ("refusal", "empty") else played.words
    sent = "".join(map(word, range(min(words, played.cut_after) if fails else words)))
    # A caller who leaves pays for what the provider wrote, the prompt included (D20).
    most = caller.metered(sent, slack=1) if sent or caller.leaves_early else 0
    least = caller.metered(text, slack=-1) if text else 0
    if played.end == "ok":
        stated = caller.price(PROMPT_TOKENS, words)
        if not lost and caller.complete() and caller.finish() != "length":
            return stated, stated
        return max(stated, most), min(stated, least)
    return most, least


def _check_evidence(
    name: str, ids: list[str], own: list[dict[str, Any]], evidence: Evidence
) -> None:
    """What a store had accepted, and no flush took, is what the ledger has."""
    charges = {row["request_id"]: row["charge_nanos"] for row in own}
    expired = {row["request_id"] for row in own if row["outcome"] == "expired"}
    for request in ids:
        if request in evidence.sent and charges.get(request) != evidence.sent[request]:
            raise SimulationFailed(
                f"{name}: {evidence.sent[request]} was queued, the ledger has "
                f"{charges.get(request)}"
            )
        if request in evidence.kept or request in evidence.holds:
            raise SimulationFailed(f"{name}: still in Redis after all sweeps (L1)")
        known = evidence.checkpoints.get(request, 0)
        if request in expired and charges[request] < known:
            raise SimulationFailed(f"{name}: {known} was recorded, {charges[request]} charged")
