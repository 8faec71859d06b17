"""`gatewayz queue` and `gatewayz openapi`, as an operator uses them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gatewayz.billing.settlement import ChargeMessage
from gatewayz.core.settings import Settings
from gatewayz.stores.open import open_stores

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def gatewayz(environment: dict[str, str], tmp_path: Path) -> Command:
    def run(*arguments: str, text: str = "", **more: str) -> "subprocess.CompletedProcess[str]":
        path = os.pathsep.join((str(ROOT / "shared"), str(ROOT)))
        variables = {"PATH": os.environ["PATH"], "PYTHONPATH": path, **environment, **more}
        return subprocess.run(
            [sys.executable, "-m", "gatewayz.cli", *arguments],
            cwd=tmp_path, env=variables, capture_output=True, text=True, check=False, input=text,
        )  # fmt: skip

    return run


async def test_a_charge_kept_by_a_log_line_is_sent_dies_and_is_sent_again(
    gatewayz: Command, settings: Settings
) -> None:
    charge = ChargeMessage("req_1", "acct", "key", "a/b", False, 1, outcome="failed").sealed()
    for _ in range(2):
        done = gatewayz("queue", "send", text=json.dumps(charge))
        assert done.stdout == "req_1 is queued.\n", done.stderr
    stores = open_stores(settings)
    try:
        for _ in range(2):  # the second receive is one too many
            await stores.postgres.rpc(
                "receive_messages",
                {"queue": "charges", "limit": 10, "visible_ms": 0, "max_receives": 1},
            )
        depth = json.loads(gatewayz("queue", "depth", "--json").stdout)
        assert (depth["waiting"], depth["dead"]) == (0, 1)
        assert "dead     1" in gatewayz("queue", "depth").stdout
        assert gatewayz("queue", "redrive").stdout == "1 dead letters wait again.\n"
        depth = json.loads(gatewayz("queue", "depth", "--json").stdout)
        assert (depth["waiting"], depth["dead"]) == (1, 0)
    finally:
        await stores.close()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"v": 99}', "no json"])
def test_what_is_no_charge_message_is_not_sent(gatewayz: Command, text: str) -> None:
    done = gatewayz("queue", "send", text=text)
    assert done.returncode == 1
    assert done.stderr.startswith("gatewayz: This is no charge message")


def test_dead_letters_in_sqs_are_sent_again_by_sqs(gatewayz: Command) -> None:
    url = "https://sqs.eu-west-1.amazonaws.com/1/charges"
    done = gatewayz("queue", "redrive", SQS_CHARGES_URL=url)
    assert done.returncode == 1
    assert "aws sqs start-message-move-task" in done.stderr


def test_the_api_document_is_printed_or_written(gatewayz: Command, tmp_path: Path) -> None:
    printed = gatewayz("openapi").stdout
    assert json.loads(printed)["openapi"] == "3.1.0"
    assert gatewayz("openapi", "--out", "api.json").returncode == 0
    assert (tmp_path / "api.json").read_text() == printed
