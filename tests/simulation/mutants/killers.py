"""Which tests a mutant must survive, in stages: the likely killers first, so most cost one file.

By the file that is broken; what is in no table here is broken by the tests of its kind.
"""

from pathlib import PurePosixPath

LEDGER = "tests/contract/ledger/"
BILLING = "tests/billing/"
SCRIPT = ["tests/contract/test_admit_script.py", "tests/contract/test_admit_edges.py"]
CREDITS = ["tests/contract/test_credits.py"]
WHOLE = [
    "tests/faults/test_lost_memory.py", "tests/faults/test_late_work.py",
    "tests/faults/test_stores.py", "tests/faults/test_versions.py", "tests/faults/test_keys.py",
]  # fmt: skip
KILLS = ["tests/faults/test_kills.py"]
HISTORIES = ["tests/simulation/test_money.py"]
INFLOWS = [BILLING]
FIRST_SQL = [
    LEDGER + f"test_{n}.py" for n in ("edges", "credit", "settlement", "accounts", "queue")
]
TERMS = [BILLING + "test_terms.py"]
FLOWS = [LEDGER + "test_inflows.py", LEDGER + "test_plans.py"]
Stages = list[list[str]]

TESTS: dict[str, Stages] = {
    "lua": [SCRIPT, CREDITS, [*WHOLE, *HISTORIES]],
    "python": [CREDITS, WHOLE, [*KILLS, *HISTORIES]],
    "sql": [
        FIRST_SQL, [LEDGER], [*CREDITS, "tests/contract/test_queue_port.py", *WHOLE[:2]],
        [*INFLOWS, *HISTORIES],
    ],
}  # fmt: skip

# The tests that were written for one file, the quickest first; the rest of the money follows.
OWN: dict[str, Stages] = {
    "0040_audit": [["tests/accounts/test_audit.py", "tests/accounts/test_audit_command.py"]],
    "0041_keys": [["tests/accounts"]],
    "0042_legacy_keys": [["tests/accounts/test_legacy_keys.py"]],
    "0043_activity": [["tests/accounts/test_activity.py"]],
    "0050_operations": [FLOWS, [BILLING + "test_rewards.py", BILLING + "test_top_ups.py"]],
    "0051_payments": [FLOWS, [BILLING + "test_orders_of_events.py", BILLING + "test_top_ups.py"]],
    "0053_rewards": [[LEDGER + "test_rewards.py"], [BILLING + "test_rewards.py"]],
    "0054_subscriptions": [FLOWS, [BILLING + "test_subscriptions.py"]],
    "0055_credit_administration": [
        [LEDGER + "test_credit_orders.py"],
        [BILLING + "test_administration.py"],
    ],
    "0056_auto_topup": [[LEDGER + "test_auto_topup.py"], [BILLING + "test_auto_topup.py"]],
    "0057_daily_caps": [[BILLING + "test_trials.py"]],
    "0058_trials": [[LEDGER + "test_trials.py"], [BILLING + "test_trials.py"]],
    "0059_receivables": [[BILLING + "test_schedules.py"]],
    "0080_plans": [FLOWS, [BILLING + "test_plans.py"]],
    "0081_billing_notices": [FLOWS, [BILLING + "test_events.py"]],
    "daily": [[BILLING + "test_schedules.py"]],
    "drain": [["tests/contract/test_hand_over.py"]],
    "due": [[BILLING + "test_auto_topup.py"]],
    "packages": [[BILLING + "test_top_ups.py"]],
    "plans": [TERMS, [BILLING + "test_plans.py"]],
    "reconcile": [[BILLING + "test_schedules.py"]],
    "returns": [TERMS, [BILLING + "test_top_ups.py"]],
    "rewards": [[BILLING + "test_rewards.py"]],
    "stripe/auto_topup": [[BILLING + "test_auto_topup.py"]],
    "stripe/cards": [[BILLING + "test_auto_topup.py", BILLING + "test_trials.py"]],
    "stripe/check": [[BILLING + "test_schedules.py"]],
    "stripe/inbox": [TERMS, [BILLING + "test_events.py", BILLING + "test_top_ups.py"]],
    "stripe/orders": [TERMS, [BILLING + "test_top_ups.py"]],
    "stripe/payments": [[BILLING + "test_events.py"], [BILLING + "test_top_ups.py"]],
    "stripe/receipts": [[BILLING + "test_receipts.py"]],
    "stripe/signature": [TERMS, [BILLING + "test_top_ups.py"]],
    "stripe/events": [[BILLING + "test_events.py"]],
    "stripe/subscriptions": [[BILLING + "test_subscriptions.py", BILLING + "test_plans.py"]],
}


def stages_of(kind: str, file: str) -> Stages:
    """What to run, stage after stage, until one fails."""
    path = PurePosixPath(file)
    name = f"stripe/{path.stem}" if path.parent.name == "stripe" else path.stem
    if name in OWN:
        return [*OWN[name], [*INFLOWS, *HISTORIES]]
    if name.startswith("stripe/"):
        return [[BILLING + "test_top_ups.py"], INFLOWS]
    return TESTS[kind]
