"""Exports: a job is a row, its parts are blobs, its links are signed and end.

A schedule writes part after part; a process that dies between two leaves the job where the next one
goes on. Nothing of an export is kept longer than `KEEP_MS`.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gatewayz.core import clock
from gatewayz.core.deadline import Deadline
from gatewayz.core.errors import Forbidden, GatewayError, InvalidRequest, NotFound
from gatewayz.core.log import get_log
from gatewayz.stores.open import Stores
from gatewayz.stores.queue import WORKER_TIMEOUT_S
from gatewayz.usage import focus
from gatewayz.usage.files import MEDIA, WRITERS
from gatewayz.usage.log import COLUMNS as LOGGED
from gatewayz.usage.log import filed
from gatewayz.usage.parquet import Column, Kind
from gatewayz.usage.questions import MONEY

log = get_log(__name__)
Row = dict[str, Any]

PART_ROWS = 50_000
PAGE_ROWS = 5_000
USAGE_ROWS = 100_000
DAY_MS = 86_400_000
LINK_S = 3600
KEEP_MS = 7 * DAY_MS
# Two parts at their slowest; the job of a process that died is taken up again after it.
VISIBLE_MS = 300_000
_KINDS: Mapping[str, Kind] = {
    "created_at": "text",
    "streamed": "flag",
    "is_byok": "flag",
    "estimated": "flag",
    **dict.fromkeys(
        ("tokens_prompt", "tokens_completion", "tokens_cached", "tokens_reasoning", "attempts",
         "first_token_ms", "total_ms"), "integer",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one file and where the next one begins; None when there is none."""

    columns: tuple[Column, ...]
    rows: list[Row]
    cursor: str | None


LOG_COLUMNS = tuple(Column(name, _KINDS.get(name, "text")) for name in LOGGED)


async def _requests(stores: Stores, job: Row) -> Part:
    rows: list[Row] = []
    cursor = job["cursor"]
    while len(rows) < PART_ROWS:
        asked = job["params"] | {
            "account": job["account"], "limit": PAGE_ROWS, "order": "oldest", "cursor": cursor
        }  # fmt: skip
        page = await stores.postgres.rpc("search_requests", asked, timeout_s=WORKER_TIMEOUT_S)
        rows += [filed(row) for row in page["rows"]]
        cursor = page["next"]
        if cursor is None:
            break
    return Part(LOG_COLUMNS, rows, cursor)


async def _usage(stores: Stores, job: Row) -> Part:
    params = job["params"]
    asked = params | {"account": job["account"], "limit": USAGE_ROWS}
    answer = await stores.postgres.rpc("query_usage", asked, timeout_s=WORKER_TIMEOUT_S)
    dims = list(params["dimensions"])
    columns = [Column(name, "text") for name in dims]
    if answer["granularity"]:
        columns.insert(0, Column("date", "time_ms"))
    for name in params["metrics"]:
        is_share = name.endswith(("rate", "average", "throughput")) or "_p" in name[-4:]
        columns.append(
            Column(name, "usd_nanos" if name in MONEY else "number" if is_share else "integer")
        )
    rows = [row | {"date": row.get("date_ms")} for row in answer["rows"]]
    return Part(tuple(columns), rows, None)


async def _focus(stores: Stores, job: Row) -> Part:
    params = job["params"]
    day_ms = int(job["cursor"] or params["from_ms"] // DAY_MS * DAY_MS)
    rows: list[Row] = []
    while day_ms < params["to_ms"] and len(rows) < PART_ROWS:
        asked = {"account": job["account"], "day_ms": day_ms}
        lines = await stores.postgres.rpc("list_billed_lines", asked, timeout_s=WORKER_TIMEOUT_S)
        rows += [focus.focus_row(line, day_ms) for line in lines]
        day_ms += DAY_MS
    return Part(focus.COLUMNS, rows, str(day_ms) if day_ms < params["to_ms"] else None)


SOURCES: Mapping[str, Callable[[Stores, Row], Awaitable[Part]]] = {
    "requests": _requests,
    "usage": _usage,
    "focus": _focus,
}


def blob_key(job: Row, number: int) -> str:
    return f"exports/{job['account']}/{job['export_id']}/part-{number:04d}.{job['format']}"


async def write_part(stores: Stores, job: Row) -> Row | None:
    """Write the job's next part; the job as it is then, None when somebody else has it."""
    part = await SOURCES[job["kind"]](stores, job)
    writer = WRITERS[job["format"]](part.columns)
    writer.add(part.rows)
    data = writer.close()
    key = blob_key(job, len(job["parts"]) + 1)
    await stores.blobs.put(key, data, content_type=MEDIA[job["format"]])
    moved: Row | None = await stores.postgres.rpc(
        "advance_export",
        {
            "export_id": job["export_id"],
            "part": {"key": key, "rows": len(part.rows), "bytes": len(data)},
            "cursor": part.cursor,
            "done": part.cursor is None,
            "visible_ms": VISIBLE_MS,
            "keep_ms": KEEP_MS,
        },
    )
    return moved


async def run_exports(stores: Stores, deadline: Deadline) -> int:
    """Work on what waits until the deadline; the number of parts written."""
    written = 0
    while not deadline.passed:
        job: Row | None = await stores.postgres.rpc("claim_export", {"visible_ms": VISIBLE_MS})
        if job is None:
            break
        try:
            moved: Row | None = job
            while moved is not None and moved["state"] == "running" and not deadline.passed:
                moved = await write_part(stores, moved)
                written += 1
        except InvalidRequest as error:
            problem = {"export_id": job["export_id"], "problem": error.message}
            await stores.postgres.rpc("advance_export", problem)
        except GatewayError as error:
            log.warning("export_waits", export_id=job["export_id"], error=error.metric)
            break
    await _forget(stores)
    return written


async def _forget(stores: Stores) -> None:
    for job in await stores.postgres.rpc("list_ended_exports", {"limit": 100}):
        for part in job["parts"]:
            await stores.blobs.delete(part["key"])
        await stores.postgres.rpc("expire_export", {"export_id": job["export_id"]})


# ------------------------------------------------------------------ links


def _signature(pepper: str, export_id: str, number: int, until_s: int) -> str:
    text = f"export:{export_id}:{number}:{until_s}"
    return hmac.new(pepper.encode(), text.encode(), hashlib.sha256).hexdigest()


def link_of(pepper: str, job: Row, number: int) -> str:
    """The path and query that give this part to whoever has them, for an hour."""
    until_s = clock.now_ms() // 1000 + LINK_S
    signature = _signature(pepper, job["export_id"], number, until_s)
    path = f"/v1/exports/{job['export_id']}/parts/{number}"
    return f"{path}?expires={until_s}&signature={signature}"


def check_link(pepper: str, export_id: str, number: int, until_s: int, signature: str) -> None:
    """Forbidden, always the same, unless the signature is ours and its time is not over."""
    expected = _signature(pepper, export_id, number, until_s)
    if not hmac.compare_digest(expected.encode(), signature.encode()) or (
        until_s < clock.now_ms() // 1000
    ):
        raise Forbidden("The link is not valid any more.", code="link_expired")


async def find_part(stores: Stores, export_id: str, number: int) -> tuple[bytes, Row]:
    """The bytes of a part and its job; the link was checked before."""
    job: Row | None = await stores.postgres.rpc("find_export", {"export_id": export_id})
    if job is None or not 1 <= number <= len(job["parts"]):
        raise NotFound("There is no such part.", code="export_not_found")
    return await stores.blobs.get(job["parts"][number - 1]["key"]), job


async def store_link(stores: Stores, export_id: str, number: int) -> str | None:
    """The blob store's own signed address of a part, where the store gives such; it spares the
    function bytes that its platform would not let through."""
    job: Row | None = await stores.postgres.rpc("find_export", {"export_id": export_id})
    if job is None or not 1 <= number <= len(job["parts"]):
        return None
    return await stores.blobs.link(job["parts"][number - 1]["key"], ttl_s=LINK_S)
