import asyncio
import logging

import orjson
import pytest

from gatewayz.core.log import _JsonLines, bind, get_log, redact

SECRETS = [
    "gw_live_0aB9xkeykeykeykeykeykeykeykeykeykeykeykey",
    "Bearer sk-proj-abcdefghijklmnop",
    "https://host/v1?key=AIzaSyabcdefghijklmnop&x=1",
    "postgres://owner:hunter2hunter2@db/postgres",
    "gsk_abcdefghijklmnopqrstuv",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_what_looks_like_a_credential_is_masked(secret: str) -> None:
    shown = redact(f"failed for {secret} at once")
    assert "***" in shown
    for part in ("0aB9xkey", "abcdefghijklmnop", "hunter2"):
        assert part not in shown


def test_a_line_is_json_with_named_fields_and_a_redacted_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, logger="gatewayz.test"):
        try:
            raise ValueError("no access with Bearer abcdefghijklmnopqrst")
        except ValueError:
            get_log("gatewayz.test").exception("it_failed", request_id="req_1", n=2)
    line = orjson.loads(_JsonLines().format(caplog.records[0]))
    assert (line["event"], line["request_id"], line["n"]) == ("it_failed", "req_1", 2)
    assert line["error"] == "ValueError"
    assert "abcdefghijklmnopqrst" not in str(line)


async def test_what_a_task_is_about_stands_on_each_of_its_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = get_log("gatewayz.test")

    async def request(name: str) -> None:
        bind(request_id=name)
        await asyncio.sleep(0)
        log.warning("attempt_failed", offer="a/b")
        await asyncio.create_task(child())

    async def child() -> None:
        log.evidence("charge_unsent", "{}")

    with caplog.at_level(logging.INFO, logger="gatewayz.test"):
        await asyncio.gather(request("req_1"), request("req_2"))
        log.info("outside")
    lines = [orjson.loads(_JsonLines().format(record)) for record in caplog.records]
    named = sorted(line.get("request_id", "") for line in lines)
    assert named == ["", "req_1", "req_1", "req_2", "req_2"]
    assert all(line["at"].endswith("+00:00") for line in lines)
