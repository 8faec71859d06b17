"""`make demo`: what a newcomer sees in a minute, and that it tells when the ledger is not even."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gatewayz.local.board import TEXT_LINES, Stream, board_lines
from gatewayz.local.demo import DOOMED, SIDE_BY_SIDE, find_faults

ROOT = Path(__file__).resolve().parents[2]
RUN = "import asyncio, sys; from gatewayz.local.demo import main; sys.exit(asyncio.run(main()))"
AMOUNT = re.compile(r"(−?)\$([\d.]+)")

BEFORE = {"balance_nanos": 10_000, "held_nanos": 0}
AFTER = {"balance_nanos": 9_000, "held_nanos": 0}
ROWS = [
    {"request_id": "req_1", "charge_nanos": 400},
    {"request_id": "req_2", "charge_nanos": 600},
]


def nanos(line: str) -> int:
    sign, text = AMOUNT.search(line).groups()  # type: ignore[union-attr]
    whole, digits = text.split(".")
    assert len(digits) == 9
    return int(whole + digits) * (-1 if sign else 1)


def test_streams_a_kill_and_a_ledger_that_comes_out_even(tmp_path: Path) -> None:
    path = os.pathsep.join((str(ROOT / "shared"), str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        env=os.environ | {"PYTHONPATH": path, "TMPDIR": str(tmp_path), "PYTHONUTF8": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )

    said = done.stdout
    assert done.returncode == 0, said + done.stderr
    assert "ledger violations: 0" in said
    assert re.search(r"kill -9 \d+ \d+", said)
    lines = said.splitlines()
    before, after = (
        nanos(next(line for line in lines if line.split()[:1] == [word]))
        for word in ("before", "after")
    )
    charges = [nanos(line) for line in lines if "−$" in line]
    assert before + sum(charges) == after
    assert before == 10_000_000_000
    # Every stream that was started is charged once, and so is the answer after the kill.
    assert len(charges) == len(SIDE_BY_SIDE) + len(DOOMED) + 1
    assert sum(line.endswith("by the sweeper") for line in lines) == len(DOOMED)
    # The throw-away stack is thrown away.
    assert not list(tmp_path.glob("gatewayz-demo-*"))


def test_an_even_ledger_has_no_faults() -> None:
    assert find_faults(BEFORE, AFTER, ROWS, [], {"req_1", "req_2"}) == []


@pytest.mark.parametrize(
    ("after", "violations", "sent", "fault"),
    [
        (AFTER, [{"rule": "I7", "detail": "revenue is 2"}], set(), "I7: revenue is 2"),
        (AFTER | {"balance_nanos": 8_999}, [], set(), "off by 1 nano-dollars"),
        (AFTER | {"held_nanos": 1}, [], set(), "$0.000000001 is still held"),
        (AFTER, [], {"req_3"}, "1 requests were never settled"),
    ],
)
def test_what_is_not_even_is_said(
    after: dict[str, int], violations: list[dict[str, str]], sent: set[str], fault: str
) -> None:
    (said,) = find_faults(BEFORE, after, ROWS, violations, sent)
    assert fault in said


@pytest.mark.parametrize("width", [40, 80, 110, 200])
def test_streams_stand_side_by_side_within_the_terminal(width: int) -> None:
    streams = [
        Stream("sandbox/a-model-with-a-long-name", text="word " * 200, ended="complete"),
        Stream("sandbox/b", text="\x1b[2Jnot a control sequence\n", first_ms=12),
        Stream("sandbox/c"),
    ]

    lines = board_lines(streams, width)

    plain = [re.sub(r"\x1b\[\d+m", "", line) for line in lines]
    assert len(lines) == TEXT_LINES + 3
    assert {len(line) for line in plain} == {len(plain[0])}
    assert len(plain[0]) <= max(width, 50)
    assert all(line.isprintable() for line in plain)
