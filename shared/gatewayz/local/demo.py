"""`gatewayz demo`: a minute in the terminal: streams, a kill, and a ledger that comes out even.

Runs a throw-away stack of its own, as `gatewayz dev` would. Guarantees that every number shown was
measured or read from the ledger, and an exit code other than 0 when the ledger is not even.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGHUP, SIGKILL, SIGTERM
from typing import Any

import orjson

from gatewayz.billing.sweep import Sweeper
from gatewayz.core import clock
from gatewayz.core.deadline import Deadline
from gatewayz.core.errors import GatewayError
from gatewayz.core.ids import parse_request_id
from gatewayz.core.money import usd_text
from gatewayz.core.settings import load_settings
from gatewayz.dialects.sse import SseParser
from gatewayz.local import process
from gatewayz.local.account import ACCOUNT
from gatewayz.local.board import Board, Stream, paint, say, title
from gatewayz.local.errors import LocalError
from gatewayz.local.files import choose_port
from gatewayz.local.home import Home, Running
from gatewayz.local.leftovers import pids_with
from gatewayz.net.http import HttpClient, NetError
from gatewayz.stores.open import Stores, open_stores

READY_S = 45.0
SETTLE_S = 30.0
READ_TIMEOUT_S = 10.0
KILL_AFTER_S = 1.6
# A real deadline is 15 minutes: nobody would wait for the sweeper that long.
SHORT = {
    "GATEWAYZ_DEADLINE_S": "8",
    "GATEWAYZ_HOLD_GRACE_S": "1",
    "GATEWAYZ_CHECKPOINT_S": "0.5",
    "GATEWAYZ_SWEEP_S": "1",
}
SIDE_BY_SIDE = (
    "sandbox/story-d25",
    "sandbox/echo-t400-d90",
    "sandbox/mock-think-n90-d30",
    "sandbox/story-d30-cut70",
)
DOOMED = ("sandbox/story-d40", "sandbox/story-d55", "sandbox/story-d80")
PROMPT = "Say that the books are even, whatever happens to the processes that keep them."
OUTCOMES = {
    "completed": "completed",
    "cut": "cut off upstream",
    "left": "caller left",
    "expired": "by the sweeper",
}


@dataclass(slots=True)
class Demo:
    home: Home
    running: Running
    stores: Stores
    http: HttpClient
    streams: list[Stream] = field(default_factory=list)

    async def run(self) -> int:
        before = await self._balance()
        say(f"  balance {dollars(before['balance_nanos'])}, on an account of its own\n")
        await self._act_stream()
        await self._act_kill()
        await self._act_recover()
        return await self._act_audit(before)

    # ------------------------------------------------------------ the acts

    async def _act_stream(self) -> None:
        title("Four models at once, over one key. The last one's upstream breaks off halfway.")
        streams = [Stream(model) for model in SIDE_BY_SIDE]
        await Board(streams).watch(asyncio.gather(*map(self._play, streams)))

    async def _act_kill(self) -> None:
        title("Three more streams, and kill -9 to the gateway and the settlement worker.")
        streams = [Stream(model) for model in DOOMED]
        victims: list[int] = []
        killed_at_s: list[float] = []

        async def murder() -> None:
            await clock.sleep(KILL_AFTER_S)
            victims.extend(self._pids("serve") + self._pids("work"))
            killed_at_s.append(clock.monotonic_s())
            if len(victims) < 2:
                raise LocalError("The gateway's processes cannot be found, so nobody was killed.")
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, SIGKILL)
            for stream in streams:
                stream.ended = stream.ended or "killed"

        await Board(streams).watch(asyncio.gather(murder(), *map(self._play, streams)))
        say(f"  kill -9 {' '.join(map(str, victims))}")
        await self._await_answer(killed_at_s[0])
        say(f"  {len(streams)} requests are neither finished nor charged: their holds are left.\n")

    async def _await_answer(self, since_s: float) -> None:
        deadline = Deadline.after(READY_S)
        while True:
            again = Stream("sandbox/echo")
            await self._play(again)
            if again.clean:
                break
            if deadline.passed:
                raise LocalError("The gateway does not come back.")
            await clock.sleep(0.05)
        say(f"  The supervisor started both again: next answer {since(since_s)} after the kill.")

    async def _act_recover(self) -> None:
        title("The sweeper settles what the dead left, from what they had noted last.")
        say("  Holds end after 9 s here, after 15 minutes otherwise; it runs every second.")
        missing = wanted = {stream.request_id for stream in self.streams if stream.request_id}
        started_s = clock.monotonic_s()
        deadline = Deadline.after(SETTLE_S)
        while not deadline.passed:
            missing = wanted - {row["request_id"] for row in await self._rows()}
            depth = await self.stores.queue.depth("charges")
            if not missing and not depth.waiting and not depth.inflight:
                break
            await clock.sleep(0.2)
        else:
            say(paint(f"  {len(missing)} requests are still not settled.", "31"))
        settled = len(wanted - missing)
        say(f"  {settled} of {len(wanted)} requests are settled, {since(started_s)} later.")
        say("  The credit drawn ahead goes back too: after 5 idle minutes, here at once.\n")
        await Sweeper(self.stores.postgres, self.stores.redis).sweep(idle_ms=0)

    async def _act_audit(self, before: dict[str, int]) -> int:
        title("The ledger.")
        rows, after = await self._rows(), await self._balance()
        violations = await self.stores.postgres.rpc("check_violations", {"from_zero": True})
        received = {stream.request_id: stream.tokens for stream in self.streams}
        say(f"  {'':<26}{'received':>9}{'charged':>9}{'amount':>16}")
        say(f"  {'before':<44}{dollars(before['balance_nanos']):>16}")
        for row in reversed(rows):
            say("  " + ledger_line(row, received.get(row["request_id"], 0)))
        say(f"  {'after':<44}{dollars(after['balance_nanos']):>16}")
        say("  (tokens; ~ metered by us, because the upstream's own count never came)\n")
        faults = find_faults(before, after, rows, violations, set(received) - {""})
        for fault in faults:
            say(paint(f"  ✗ {fault}", "31"))
        if not faults:
            total = sum(row["charge_nanos"] for row in rows)
            say(f"  before − {len(rows)} charges ({dollars(total)}) = after, to the nano-dollar;")
            say("  nothing is held; every request is settled exactly once.")
        say(paint(f"  ledger violations: {len(violations)}", "31" if violations else "32"))
        return 1 if faults else 0

    # ------------------------------------------------------------ what the acts use

    async def _play(self, stream: Stream) -> None:
        """Send one request and read its stream to whatever end it has."""
        self.streams.append(stream)
        message = {"role": "user", "content": PROMPT}
        body = {"model": stream.model, "messages": [message], "stream": True}
        stream.started_s = clock.monotonic_s()
        try:
            answer = await self.http.open(
                "POST",
                f"{self.running.url}/v1/chat/completions",
                headers={
                    "authorization": f"Bearer {self.home.key_file.read_text().strip()}",
                    "content-type": "application/json",
                },
                body=orjson.dumps(body),
                timeout_s=READ_TIMEOUT_S,
            )
        except NetError:
            stream.ended = "not reached"
            return
        generation = answer.headers.get("x-generation-id", "")
        stream.request_id = parse_request_id(generation) or ""
        parser = SseParser()
        try:
            while block := await answer.read(READ_TIMEOUT_S):
                for event in parser.feed(block):
                    if event.data == b"[DONE]":
                        stream.clean = True
                    else:
                        stream.take(orjson.loads(event.data))
            stream.ended = stream.ended or ("complete" if stream.clean else "ended early")
        except NetError:
            stream.ended = stream.ended or "connection lost"
        finally:
            await answer.aclose()

    def _pids(self, name: str) -> list[int]:
        return pids_with("gatewayz.local", name, str(self.home.path))

    async def _balance(self) -> dict[str, int]:
        balance: dict[str, int] = await self.stores.postgres.rpc(
            "get_balance", {"account": ACCOUNT}
        )
        return balance

    async def _rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = await self.stores.postgres.rpc(
            "list_requests", {"account": ACCOUNT, "limit": 100}
        )
        return rows


def ledger_line(row: dict[str, Any], received: int) -> str:
    """One charge, and how many tokens its caller saw."""
    metered = sum(units for cls, units, _ in row["lines"] if cls in ("output", "reasoning"))
    charged = f"{'~' if row['estimated'] else ''}{metered}"
    amount = "−" + dollars(row["charge_nanos"])
    outcome = OUTCOMES.get(row["outcome"], row["outcome"])
    return f"{row['model']:<26}{received:>9}{charged:>9}{amount:>16}  {outcome}"


def find_faults(
    before: dict[str, int],
    after: dict[str, int],
    rows: list[dict[str, Any]],
    violations: list[dict[str, str]],
    sent: set[str],
) -> list[str]:
    """What is not even, in words; empty when everything is."""
    faults = [f"{row['rule']}: {row['detail']}" for row in violations]
    total = sum(row["charge_nanos"] for row in rows)
    off = before["balance_nanos"] - total - after["balance_nanos"]
    if off:
        faults.append(f"The balance is off by {off} nano-dollars.")
    if after["held_nanos"]:
        faults.append(f"{dollars(after['held_nanos'])} is still held.")
    if missing := sent - {row["request_id"] for row in rows}:
        faults.append(f"{len(missing)} requests were never settled.")
    return faults


@contextlib.asynccontextmanager
async def open_stack(home: Home) -> AsyncIterator[Running]:
    """A stack that runs from `home` on a free port; LocalError with its own words if it cannot."""
    home.prepare()
    log = home.log_file("dev")
    child = _launch(home, log)
    try:
        end_s = clock.monotonic_s() + READY_S
        while (running := home.running()) is None:
            if child.poll() is not None or clock.monotonic_s() > end_s:
                raise LocalError(f"The stack does not start: {process.last_line(log)}")
            await clock.sleep(0.05)
        yield running
    finally:
        await asyncio.to_thread(process.stop, child, SIGTERM)


def _launch(home: Home, log: Path) -> "subprocess.Popen[bytes]":
    variables = {
        **SHORT,
        "GATEWAYZ_HOME": str(home.path),
        "HOST": process.LOOPBACK,
        "PORT": str(choose_port(home.path / "port")),
    }
    given = [f"{name}={value}" for name, value in variables.items()]
    with open(log, "wb") as out:
        return subprocess.Popen(
            ["/usr/bin/env", *given, sys.executable, "-m", "gatewayz.cli", "dev"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            # Ctrl-C reaches us alone; we stop it in order.
            start_new_session=True,
            preexec_fn=process.die_with_parent(SIGTERM),
        )


async def main() -> int:
    """Run the demo; 0 when the ledger came out even, 130 when it was stopped."""
    show = asyncio.create_task(_show())
    loop = asyncio.get_running_loop()
    for number in (SIGTERM, SIGHUP):
        loop.add_signal_handler(number, show.cancel)
    try:
        return await show
    except asyncio.CancelledError:
        say("\nStopped; nothing is left behind.")
        return 130


async def _show() -> int:
    """All acts on a stack that is thrown away afterwards."""
    started_s = clock.monotonic_s()
    with _folder() as folder:
        try:
            title("A gateway from nothing: Postgres, Valkey, HTTP, settlement worker, sandbox.")
            home = Home(folder)
            async with open_stack(home) as running:
                say(f"  ready at {running.url} after {since(started_s)}")
                stores = open_stores(load_settings(running.environment))
                http = HttpClient()
                try:
                    code = await Demo(home, running, stores, http).run()
                finally:
                    await http.aclose()
                    await stores.close()
        except (LocalError, GatewayError) as error:
            say(paint(f"gatewayz: {error}", "31"))
            return 1
    say(f"\n  {since(started_s)} in all. Now your own: make run")
    return code


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gatewayz-demo-", ignore_cleanup_errors=True) as made:
        yield Path(made).resolve()


def dollars(nanos: int) -> str:
    """Always nine digits, so that columns line up."""
    whole, _, digits = usd_text(nanos).partition(".")
    return f"${whole}.{digits:0<9}"


def since(started_s: float) -> str:
    return f"{clock.monotonic_s() - started_s:.1f} s"
