"""What the operations of usage need before they can be called as their examples say."""

from typing import Any

from gatewayz.api.operation import Operation
from gatewayz.core.ids import ulid
from gatewayz.core.money import NANOS_PER_USD
from tests.world import Account, World

SPAN = {"start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z"}
ALERT = {"name": "Month", "limit": 100, "period": "month", "thresholds": [50, 100]}
QUERY = {"metrics": ["request_count", "usage", "latency_p95"], "dimensions": ["model"]}
REQUESTS: dict[tuple[str, str], dict[str, Any]] = {
    ("post", "/v1/analytics/query"): QUERY,
    ("post", "/api/v1/analytics/query"): QUERY,
    ("post", "/v1/generation/feedback"): {
        "generation_id": "gen-01M89HHCCJT9KCQZSB0ZRMMK9Z", "category": "formatting",
    },
    ("post", "/api/v1/generation/feedback"): {
        "generation_id": "gen-01M89HHCCJT9KCQZSB0ZRMMK9Z", "category": "latency",
    },
    ("post", "/v1/exports"): {"kind": "focus", "format": "parquet", **SPAN},
    ("post", "/v1/alerts"): ALERT,
    ("put", "/v1/alerts/{alert_id}"): ALERT,
}  # fmt: skip
# Wrong wherever it is read.
WRONG: dict[str, Any] = {"metrics": ["nothing"], "limit": -1, "format": "paper", "category": "bad"}


async def names(world: World, operation: Operation, account: Account) -> dict[str, str]:
    """The ids that the path names, of things made for this call."""
    rpc = world.stores.postgres.rpc
    if not account.id:
        return {}
    if "{export_id}" in operation.path:
        made = {"export_id": "exp_" + ulid(), "kind": "focus", "format": "csv", "params": {}}
        return {
            "export_id": (await rpc("create_export", made | {"account": account.id}))["export_id"]
        }
    if "{alert_id}" in operation.path:
        row = {
            "alert_id": "alert_" + ulid(), "account": account.id, "name": "Month",
            "period": "month", "limit_nanos": NANOS_PER_USD, "thresholds": [100],
        }  # fmt: skip
        return {"alert_id": (await rpc("save_spend_alert", row))["alert_id"]}
    return {}
