"""What an operator can follow: one id through every log line, and the metrics of a run."""

import logging
from typing import Any

import orjson
import pytest

from gatewayz.billing.credits import Ask, Credits
from gatewayz.billing.settlement import ChargeMessage
from gatewayz.core.log import _JsonLines
from gatewayz.core.metrics import METRICS, configure_metrics, flush_metrics
from tests.world import World


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [orjson.loads(_JsonLines().format(record)) for record in caplog.records]


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Also the lines of DEBUG, which are off as shipped."""
    logging.getLogger("gatewayz").setLevel(logging.DEBUG)
    logging.getLogger("gatewayz").addHandler(caplog.handler)
    return caplog


async def test_one_id_leads_from_admission_through_the_queue_to_the_ledger(
    world: World, everything: pytest.LogCaptureFixture
) -> None:
    account = await world.account()
    answer = await world.post(account)
    request_id = answer.headers["x-request-id"]
    await world.settle()
    told = [line["event"] for line in lines(everything) if line.get("request_id") == request_id]
    assert told == ["admitted", "charge_sent", "charge_settled"]
    (row,) = await world.requests(account)
    assert row["request_id"] == request_id


async def test_a_failed_attempt_names_its_request(
    world: World, everything: pytest.LogCaptureFixture
) -> None:
    account = await world.account()
    answer = await world.post(account, "sandbox/mock-err500")
    (failed,) = [line for line in lines(everything) if line["event"] == "attempt_failed"]
    assert failed["request_id"] == answer.headers["x-request-id"]


async def test_a_swept_hold_and_a_drained_message_name_their_request(
    world: World, everything: pytest.LogCaptureFixture
) -> None:
    account = await world.account()
    stores = world.stores
    credits = Credits(stores.postgres, stores.redis, lease_ttl_s=2400)
    charges = []
    for number in (1, 2):
        charge = ChargeMessage(
            f"req_0000000000000000000000000{number}", account.id, account.key_id, "a/b", False, 1
        )
        ask = Ask(charge.request_id, account.id, 1, 1000, 0.001, charge.record())
        charges.append((await credits.admit(ask), charge))
    hold, charge = charges[1]
    charge.lease, charge.outcome = hold.lease, "failed"
    await credits.finish(hold, 0, orjson.dumps(charge.sealed()).decode())
    swept = await world.sweep()
    assert (swept.holds, swept.messages) == (1, 1)
    (found,) = [line for line in lines(everything) if line["event"] == "hold_swept"]
    assert (found["request_id"], found["account"]) == (charges[0][1].request_id, account.id)
    (drained,) = [line for line in lines(everything) if line["event"] == "outbox_drained"]
    assert drained["request_ids"] == [charge.request_id]
    await credits.finish_background()


async def test_nothing_is_logged_for_a_request_that_goes_well(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("gatewayz").addHandler(caplog.handler)
    account = await world.account()
    await world.post(account)
    await world.settle()
    assert [line["event"] for line in lines(caplog)] == []


async def test_a_run_writes_the_metrics_of_the_catalogue(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_metrics("Test")
    try:
        account = await world.account()
        await world.stream(account, "sandbox/echo")
        await world.post(account, "sandbox/mock-err500")
        await world.post(account, "no/such")
        await world.settle()
        await world.sweep()
        flush_metrics(now=True)
    finally:
        configure_metrics("")
    written = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
    found: dict[tuple[str, ...], Any] = {}
    for line in written:
        for name in METRICS.keys() & line.keys():
            key = (name, *[line[label] for label in METRICS[name].labels])
            found[key] = found[key] + line[name] if key in found else line[name]
    assert found[("admissions", "admitted")] == 2
    assert found[("admissions", "model_not_found")] == 1
    assert found[("attempts", "sandbox", "ok")] == 1
    assert found[("attempts", "sandbox", "UpstreamUnavailable")] == 1
    assert (found[("requests", "completed")], found[("requests", "failed")]) == (1, 1)
    assert found[("charges", "posted")] == 2
    assert len(found[("first_token", "sandbox")]) == 1
    assert found[("settlement_lag",)][0] >= 0
    assert ("swept", "holds") in found
