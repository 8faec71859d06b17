"""Looking a request up by its id, from its admission on: never unknown in between (rivals §4.15).

A request is first a hold in Redis, then a message in the queue, then a row of the ledger.
"""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import orjson

from gatewayz.billing.credits import Credits
from gatewayz.core import clock
from gatewayz.core.errors import DependencyError, NotFound
from gatewayz.core.ids import parse_request_id, public_id
from gatewayz.core.money import usd_number
from gatewayz.pricing.byok import fee_of, listed_nanos
from gatewayz.pricing.charge import Line, amount_nanos
from gatewayz.pricing.markup import PPM
from gatewayz.pricing.usage import INPUT_CLASSES, OUTPUT_CLASSES
from gatewayz.stores.postgres import Postgres

# Between the freed hold and the stored message lies one commit; then the row is there.
SETTLING_S = 0.1
TRIES = 3


async def find_generation(
    postgres: Postgres, credits: Credits, account: str, text: str
) -> dict[str, Any]:
    """The request's row, with `state` running, settling or settled.

    NotFound for ids of another account and for ids that never were, alike.
    """
    request_id = parse_request_id(text)
    if request_id is None:
        raise _unknown()
    for _ in range(TRIES):
        held = await _find_held(credits, account, request_id)
        if held is not None:
            return held
        row: dict[str, Any] | None = await postgres.rpc(
            "find_generation", {"account": account, "request_id": request_id}
        )
        if row is not None:
            return row
        await clock.sleep(SETTLING_S)
    raise _unknown()


async def _find_held(credits: Credits, account: str, request_id: str) -> dict[str, Any] | None:
    try:
        kind, text = await credits.find(account, request_id)
    except DependencyError:
        return None
    if kind == "NONE":
        return None
    state = "running" if kind == "HELD" else "settling"
    found: dict[str, Any] = orjson.loads(text)
    return found | {"state": state, "outcome": None if kind == "HELD" else found["outcome"]}


def _unknown() -> NotFound:
    return NotFound("There is no such generation.", code="generation_not_found")


def lines_in(row: dict[str, Any]) -> list[Line]:
    return [Line(*line) for line in row["lines"]]


def tokens_of(row: dict[str, Any], classes: Collection[str]) -> int:
    return sum(line.units for line in lines_in(row) if line.cls in classes)


def show_generation(row: dict[str, Any]) -> dict[str, Any]:
    """OpenRouter's generation object, and what only we can tell: state, classes, attempts."""
    total = usd_number(row["charge_nanos"])
    prompt, completion = tokens_of(row, INPUT_CLASSES), tokens_of(row, OUTPUT_CLASSES)
    created = datetime.fromtimestamp(row["admitted_at_ms"] / 1000, tz=UTC)
    stated = upstream_nanos(row)
    first_ms, total_ms = row.get("first_token_ms"), row.get("total_ms")
    return {
        "id": public_id(row["request_id"], "gen-"),
        "request_id": row["request_id"],
        "client_request_id": row.get("client_request_id"),
        "upstream_id": None,
        "model": row["model"],
        "provider_name": row["provider"],
        "state": row["state"],
        "outcome": row["outcome"],
        "estimated": row.get("estimated", False),
        "total_cost": total,
        "usage": total,
        "upstream_inference_cost": None if stated is None else usd_number(stated),
        "cache_discount": None,
        "created_at": created.isoformat(),
        "streamed": row["stream"],
        "cancelled": row["outcome"] == "left",
        "finish_reason": row.get("finish"),
        "native_finish_reason": row.get("finish"),
        "latency": first_ms if first_ms is not None else total_ms,
        "generation_time": None if first_ms is None or total_ms is None else total_ms - first_ms,
        "total_time": total_ms,
        "moderation_latency": None,
        "tokens_prompt": prompt,
        "tokens_completion": completion,
        "native_tokens_prompt": prompt,
        "native_tokens_completion": completion,
        "native_tokens_reasoning": tokens_of(row, ("reasoning",)),
        "native_tokens_cached": tokens_of(row, ("cache_read",)),
        "native_tokens_completion_images": tokens_of(row, ("image_out",)),
        "num_media_prompt": None,
        "num_media_completion": None,
        "num_input_audio_prompt": None,
        "num_search_results": None,
        "num_fetches": None,
        "tokens": {line.cls: line.units for line in lines_in(row)},
        "attempts": row.get("attempts", []),
        "is_byok": fee_of(row["price_version"]) is not None,
        "api_type": "completions",
        "app_id": None,
        "origin": row.get("app") or "",
        "http_referer": row.get("app"),
        "user_agent": None,
        "external_user": row.get("end_user"),
        "session_id": row.get("session"),
        "preset_id": None,
        "router": None,
        "service_tier": None,
        "data_region": None,
        "web_search_engine": None,
        "provider_responses": None,
    }


def upstream_nanos(row: dict[str, Any]) -> int | None:
    """What the provider asked for: as it states, or its list price for a caller's own key."""
    fee_ppm = fee_of(row["price_version"])
    stated: int | None = row.get("cost_stated_nanos")
    if stated is not None or fee_ppm is None:
        return stated
    return listed_nanos(row["charge_nanos"], fee_ppm)


def explain(row: dict[str, Any]) -> dict[str, Any]:
    """The receipt, recomputed from units × pinned price; `matches` tells if it is the charge."""
    lines = lines_in(row)
    fee_ppm = fee_of(row["price_version"])
    computed = amount_nanos(lines)
    cap = row.get("cap_nanos")
    capped = computed if cap is None else min(computed, cap)
    return {
        "id": public_id(row["request_id"], "gen-"),
        "request_id": row["request_id"],
        "model": row["model"],
        "offer": row["offer"],
        "price_version": row["price_version"],
        "state": row["state"],
        "outcome": row["outcome"],
        "lines": [
            {
                "class": line.cls,
                "units": line.units,
                "usd_per_million": usd_number(line.price_nanos),
                "amount_usd": usd_number(amount_nanos([line])),
            }
            for line in lines
        ],
        "formula": "ceil(sum(units × nano-USD per million) / 1,000,000) nano-USD",
        "computed_nanos": computed,
        "cap_nanos": cap,
        "charge_nanos": row["charge_nanos"],
        "charge_usd": usd_number(row["charge_nanos"]),
        "matches": capped == row["charge_nanos"],
        "reason": row.get("reason"),
        "is_byok": fee_ppm is not None,
        "byok_fee": None if fee_ppm is None else fee_ppm / PPM,
    }
