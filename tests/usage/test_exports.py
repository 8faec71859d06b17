"""Exports: jobs, their files in every format, their links, and that they end."""

import csv
import io
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pyarrow.parquet as parquet  # type: ignore[import-untyped]
import pytest

from gatewayz.core import clock
from gatewayz.core.deadline import Deadline
from gatewayz.core.errors import Forbidden
from gatewayz.usage import exports
from gatewayz.usage.exports import check_link, link_of, run_exports
from gatewayz.usage.focus import COLUMNS as FOCUS
from gatewayz.usage.focus import unit_price
from tests.usage.test_api import asked, get
from tests.world import Account, World

FORMULA = '=HYPERLINK("http://evil.example","x")'


async def exported(world: World, account: Account, **fields: Any) -> list[bytes]:
    """The parts of a new export, through its links."""
    now_ms = clock.now_ms()
    body = {
        "start": "2026-01-01T00:00:00Z",
        "end": f"{(now_ms // 86_400_000 + 1) * 86_400_000}",
    } | fields
    body["end"] = "2026-12-31T00:00:00Z" if body["end"].isdigit() else body["end"]
    made = await world.client.post("/v1/exports", headers=account.headers, json=body)
    assert made.status_code == 202, made.text
    job = made.json()["data"]
    assert (job["status"], job["parts"]) == ("queued", [])
    await run_exports(world.stores, Deadline.after(60))
    done = (await get(world, account, f"/v1/exports/{job['id']}"))["data"]
    assert done["status"] == "done", done
    files = []
    for part in done["parts"]:
        answer = await world.client.get(part["url"])  # no key: the signature is one
        assert answer.status_code == 200
        assert len(answer.content) == part["bytes"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        files.append(answer.content)
    return files


async def charged(world: World, account: Account) -> Decimal:
    rows = await world.stores.postgres.rpc("list_requests", {"account": account.id, "limit": 1000})
    return Decimal(sum(row["charge_nanos"] for row in rows)).scaleb(-9)


def read(format: str, data: bytes) -> list[dict[str, Any]]:
    match format:
        case "csv":
            return list(csv.DictReader(io.StringIO(data.decode())))
        case "ndjson":
            return [orjson.loads(line) for line in data.splitlines()]
        case "json":
            rows: list[dict[str, Any]] = orjson.loads(data)
            return rows
        case _:
            table: list[dict[str, Any]] = parquet.read_table(io.BytesIO(data)).to_pylist()
            return table


def usd(value: Any) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(str(value))


@pytest.mark.parametrize("format", ["csv", "json", "ndjson", "parquet"])
async def test_every_kind_and_format_adds_up_to_the_ledger(world: World, format: str) -> None:
    account = await world.account()
    ids = await asked(world, account, 3)
    await asked(world, account, 2, model="sandbox/story")
    total = await charged(world, account)
    (log,) = await exported(world, account, format=format)
    rows = read(format, log)
    assert [row["id"] for row in rows][:3] == ids
    assert sum(usd(row["usage_usd"]) for row in rows) == total
    (usage,) = await exported(world, account, format=format, kind="usage")
    rows = read(format, usage)
    assert {row["model"] for row in rows} == {"sandbox/echo", "sandbox/story"}
    assert sum(usd(row["usage"]) for row in rows) == total
    (focus,) = await exported(world, account, format=format, kind="focus")
    rows = read(format, focus)
    assert [*rows[0]] == [column.name for column in FOCUS]
    for cost in ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"):
        assert sum(usd(row[cost]) for row in rows) == total
    for row in rows:
        exact = Decimal(row["ContractedUnitPrice"]) * int(row["PricingQuantity"])
        assert abs(exact - usd(row["ContractedCost"])) < Decimal("0.00000001")


async def test_text_in_a_csv_never_runs_as_a_formula(world: World) -> None:
    account = await world.account()
    answer = await world.client.post(
        "/v1/chat/completions", headers=account.headers | {"x-title": FORMULA},
        json={"model": "sandbox/echo", "messages": [{"role": "user", "content": "Hi"}]},
    )  # fmt: skip
    assert answer.status_code == 200
    await world.settle()
    (data,) = await exported(world, account, format="csv")
    (row,) = read("csv", data)
    assert row["app"].startswith("'=")
    assert usd(row["usage_usd"]) > 0


async def test_a_long_export_comes_in_parts_and_goes_on_where_a_process_died(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PART_ROWS", 2)
    monkeypatch.setattr(exports, "PAGE_ROWS", 2)
    account = await world.account()
    ids = await asked(world, account, 5)
    body = {"start": "2026-01-01", "end": "2026-12-31", "format": "ndjson"}
    made = await world.client.post("/v1/exports", headers=account.headers, json=body)
    job = await world.stores.postgres.rpc("claim_export", {"visible_ms": 1000})
    await exports.write_part(world.stores, job)  # and then it dies
    assert await world.stores.postgres.rpc("claim_export", {"visible_ms": 1000}) is None
    await world.stores.postgres.rpc(
        "advance_export",
        {"export_id": job["export_id"], "cursor": "req_" + ids[1][4:], "visible_ms": 0},
    )
    await run_exports(world.stores, Deadline.after(60))
    done = (await get(world, account, f"/v1/exports/{made.json()['data']['id']}"))["data"]
    files = [(await world.client.get(part["url"])).content for part in done["parts"]]
    rows = [row for data in files for row in read("ndjson", data)]
    assert [row["id"] for row in rows] == ids
    assert len(files) == 3


async def test_a_link_is_good_for_one_part_and_for_an_hour(world: World) -> None:
    account = await world.account()
    await asked(world, account, 1)
    await exported(world, account)
    (job,) = (await get(world, account, "/v1/exports"))["data"]
    url = urlsplit(job["parts"][0]["url"])
    given = {name: values[0] for name, values in parse_qs(url.query).items()}
    for wrong in (
        {"signature": "0" * 64}, {"expires": str(int(given["expires"]) + 1)}, {"signature": "é"},
    ):  # fmt: skip
        answer = await world.client.get(url.path, params=given | wrong)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "link_expired")
    other = url.path.replace("/parts/1", "/parts/2")
    assert (await world.client.get(other, params=given)).status_code == 403


def test_an_old_link_is_refused() -> None:
    pepper, job = "p" * 32, {"export_id": "exp_1"}
    query = parse_qs(urlsplit(link_of(pepper, job, 1)).query)
    until_s, signature = int(query["expires"][0]), query["signature"][0]
    check_link(pepper, "exp_1", 1, until_s, signature)
    with pytest.raises(Forbidden):
        check_link(pepper, "exp_1", 1, 0, exports._signature(pepper, "exp_1", 1, 0))


async def test_an_export_ends_with_its_files(world: World) -> None:
    account = await world.account()
    await asked(world, account, 1)
    await exported(world, account)
    (job,) = (await get(world, account, "/v1/exports"))["data"]
    keys = await world.stores.blobs.list_keys(f"exports/{account.id}/")
    assert len(keys) == 1
    ended = {"export_id": job["id"]}
    assert await world.stores.postgres.rpc("list_ended_exports", {}) == []
    found = await world.stores.postgres.rpc("find_export", ended)
    assert found["expires_at_ms"] - found["finished_at_ms"] == exports.KEEP_MS


async def test_another_accounts_export_is_unknown_and_at_most_five_wait(world: World) -> None:
    account, stranger = await world.account(), await world.account()
    body = {"start": "2026-01-01", "end": "2026-02-01"}
    made = [
        await world.client.post("/v1/exports", headers=account.headers, json=body) for _ in range(6)
    ]
    assert [answer.status_code for answer in made] == [202] * 5 + [409]
    id = made[0].json()["data"]["id"]
    answer = await world.client.get(f"/v1/exports/{id}", headers=stranger.headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "export_not_found")


def test_prices_of_a_unit_are_exact() -> None:
    assert unit_price(150_000_000) == "0.00000015"
    assert unit_price(1) == "0.000000000000001"
    assert unit_price(0) == "0"
