"""Sends the notices that wait: takes those that are due, writes their letters, notes what became
of each. A failure waits and is tried again, up to MOST_TRIES; then it is dead and an ERROR line.

Never raises for a letter: one that cannot be sent holds up no other.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gatewayz.core.deadline import Deadline
from gatewayz.core.errors import GatewayError
from gatewayz.core.log import get_log
from gatewayz.core.metrics import metric
from gatewayz.core.settings import Settings, SettingsError
from gatewayz.notify.letters import letter
from gatewayz.notify.mail import Mailer, MailFailed, MailRefused
from gatewayz.notify.open import open_mailer
from gatewayz.stores.open import Stores
from gatewayz.stores.postgres import Postgres

log = get_log(__name__)

BATCH = 50
AT_ONCE = 5
# A taken notice whose sender died is taken again after this; longer than a letter's time limits.
VISIBLE_MS = 120_000
MOST_TRIES = 8
FIRST_WAIT_S, LONGEST_WAIT_S, GROWTH = 30.0, 6 * 3600.0, 4.0
# One run of the schedule; platforms cut at a minute.
RUN_S = 40.0
# Who waits for a letter within a request waits no longer than this.
NOW_S = 10.0


def wait_s(tries: int, stated_s: float | None = None) -> float:
    """How long after this failed try the next one is due: 30 s, 2 min, 8 min … 6 h."""
    usual = min(FIRST_WAIT_S * pow(GROWTH, min(tries - 1, 20)), LONGEST_WAIT_S)
    return usual if stated_s is None else max(usual, stated_s)


@dataclass(frozen=True, slots=True)
class Sender:
    postgres: Postgres
    mailer: Mailer
    app_url: str

    async def step(self, *, once: str | None = None) -> dict[str, int]:
        """One batch: how many were taken, sent, failed, dead. `once` names the only event."""
        taken: list[dict[str, Any]] = await self.postgres.rpc(
            "take_notices", {"limit": BATCH, "visible_ms": VISIBLE_MS, "once": once}
        )
        done = {"taken": len(taken), "sent": 0, "failed": 0, "dead": 0}
        for start in range(0, len(taken), AT_ONCE):
            states = await asyncio.gather(
                *(self._send(notice) for notice in taken[start : start + AT_ONCE])
            )
            for state in states:
                done[state] += 1
        return done

    async def _send(self, notice: Mapping[str, Any]) -> str:
        try:
            await self.mailer.send(letter(notice, app_url=self.app_url))
        except MailRefused as error:
            return await self._failed(notice, error, most_tries=1)
        except MailFailed as error:
            return await self._failed(notice, error, most_tries=MOST_TRIES)
        except Exception:
            # A template that is missing or wrong: mended by a release, so it waits as well.
            log.exception("notice_crashed", notice=notice["id"], kind=notice["kind"])
            return await self._failed(notice, MailFailed("crashed"), most_tries=MOST_TRIES)
        await self.postgres.rpc("end_notice", {"id": notice["id"], "outcome": "sent"})
        metric("notices", outcome="sent")
        return "sent"

    async def _failed(
        self, notice: Mapping[str, Any], error: MailFailed, *, most_tries: int
    ) -> str:
        wait_ms = round(wait_s(notice["tries"], error.retry_after_s) * 1000)
        row = await self.postgres.rpc(
            "end_notice",
            {
                "id": notice["id"],
                "outcome": "failed",
                "problem": error.problem,
                "wait_ms": wait_ms,
                "most_tries": most_tries,
            },
        )
        dead = row["state"] == "dead"
        metric("notices", outcome="dead" if dead else "failed")
        named = {"notice": notice["id"], "kind": notice["kind"], "problem": error.problem}
        if dead:
            log.error("notice_dead", **named)
            return "dead"
        log.warning("notice_waits", tries=notice["tries"], **named)
        return "failed"


async def run_notices(
    stores: Stores, settings: Settings, mailer: Mailer | None = None
) -> dict[str, Any]:
    """Everything that is due now, and what a day asks for; for a schedule. `mailer` stands in for
    the one that the settings name, and stays open."""
    postgres = stores.postgres
    done: dict[str, Any] = {"reminders": await postgres.rpc("remind_of_ends", {})}
    done["forgotten"] = (await postgres.rpc("forget_notices", {}))["forgotten"]
    own = mailer is None
    sender = mailer or open_mailer(settings, stores.secrets)
    if sender is None:
        log.warning("mail_not_configured")
        return {**done, "configured": False}
    deadline = Deadline.after(RUN_S)
    total = {"taken": 0, "sent": 0, "failed": 0, "dead": 0}
    try:
        while not deadline.passed:
            step = await Sender(postgres, sender, settings.billing.app_url).step()
            total = {name: total[name] + step[name] for name in total}
            if not step["taken"]:
                break
    finally:
        if own:
            await sender.close()
    return {**done, "configured": True, **total}


async def send_now(
    stores: Stores, settings: Settings, once: str, mailer: Mailer | None = None
) -> bool:
    """Send one event's letters at once, for who waits for them; whether all were sent. Never
    raises: what was not sent is sent by the schedule."""
    own = mailer is None
    try:
        sender = mailer or open_mailer(settings, stores.secrets)
        if sender is None:
            log.warning("mail_not_configured")
            return False
        try:
            async with asyncio.timeout(NOW_S):
                done = await Sender(stores.postgres, sender, settings.billing.app_url).step(
                    once=once
                )
        finally:
            if own:
                await sender.close()
    except (GatewayError, SettingsError, TimeoutError) as error:
        log.warning("notice_waits", problem=type(error).__name__)
        return False
    return done["sent"] == done["taken"] > 0
