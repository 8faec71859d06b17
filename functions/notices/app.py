"""How members want to be told of events, a letter to try it, and what staff sees of letters.

A member's choice is theirs; a key, which is nobody, reads and sets the account's. Control plane.
"""

from typing import Any

from fastapi import Response

from gatewayz.accounts.principals import Principal
from gatewayz.api.answers import json_answer, time_text
from gatewayz.api.app import Caller, CurrentPlane, Signed, create_app
from gatewayz.api.key_fields import nanos_of
from gatewayz.api.schemas.notices import ChangePreferences
from gatewayz.api.staff import Staff
from gatewayz.core import clock
from gatewayz.core.errors import RateLimited
from gatewayz.core.money import usd_number
from gatewayz.runtime import entries

app = create_app("notices")
lambda_handler = entries.http(app)

Row = dict[str, Any]
# A letter to try it goes out once in this time.
TEST_EVERY_MS = 60_000
NAMES = {
    "email_notifications": "email_notifications",
    "usage_alerts": "usage_alerts",
    "trial_expiry_reminder_days": "trial_days",
    "plan_expiry_reminder_days": "plan_days",
}


def _who(caller: Principal) -> Row:
    return {"account": caller.account, "member": caller.person}


def _shown(row: Row, caller: Principal) -> Row:
    own = bool(caller.person) and row["member"] == caller.person
    return {
        "status": "success",
        "preferences": {
            **{name: row[ours] for name, ours in NAMES.items()},
            "low_balance_threshold": usd_number(row["low_balance_nanos"]),
            "webhook_url": None,
            "of": "member" if own else "account",
            "updated_at": time_text(row["updated_at_ms"]),
        },
    }


@app.get("/user/notifications/preferences")
async def get_preferences(caller: Caller, plane: CurrentPlane) -> Response:
    row = await plane.stores.postgres.rpc("get_notice_preferences", _who(caller))
    return json_answer(_shown(row, caller))


@app.put("/user/notifications/preferences")
async def set_preferences(
    caller: Caller, plane: CurrentPlane, asked: ChangePreferences
) -> Response:
    """Only what is named changes; it holds for every letter that is not sent yet."""
    given = {
        ours: getattr(asked, name)
        for name, ours in NAMES.items()
        if getattr(asked, name) is not None
    }
    if asked.low_balance_threshold is not None:
        given["low_balance_nanos"] = nanos_of(asked.low_balance_threshold)
    params = _who(caller) | {"set": given}
    row = await plane.stores.postgres.rpc("set_notice_preferences", params)
    return json_answer(_shown(row, caller))


@app.post("/user/notifications/test")
async def send_test(caller: Signed, plane: CurrentPlane) -> Response:
    """A letter to whoever asks, within a minute."""
    slot = clock.now_ms() // TEST_EVERY_MS
    params = _who(caller) | {
        "kind": "test",
        "once": f"test:{caller.account}:{caller.person}:{slot}",
        "data": {},
    }
    row = await plane.stores.postgres.rpc("enqueue_notice", params)
    if not row["enqueued"]:
        raise RateLimited("One letter a minute is enough.", headers={"Retry-After": "60"})
    return json_answer({"status": "success", "message": "The letter is on its way."})


# ------------------------------------------------------------------ staff


@app.get("/admin/notifications/stats")
async def get_stats(staff: Staff, plane: CurrentPlane) -> Response:
    """Letters that wait, and those of 30 days by kind and what became of them."""
    return json_answer(await plane.stores.postgres.rpc("notice_stats", {}))


@app.post("/admin/notifications/process")
async def revive(staff: Staff, plane: CurrentPlane) -> Response:
    """Have dead letters tried again, by the next run of the schedule."""
    return json_answer(await plane.stores.postgres.rpc("revive_notices", {}))
