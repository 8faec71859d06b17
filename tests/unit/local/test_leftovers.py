"""What an earlier run left is found by what it is, never by its number alone."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewayz.local import leftovers
from gatewayz.local.process import wait_until

WORD = "a-word-that-only-this-process-has"


@pytest.fixture(params=["proc", "ps"])
def asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of asking: /proc, and ps with lsof where there is none."""
    if request.param == "ps":
        if not (shutil.which("ps") and shutil.which("lsof")):
            pytest.skip("no ps and lsof here")
        monkeypatch.setattr(leftovers, "PROC", Path("/nowhere"))
    elif not leftovers.PROC.is_dir():
        pytest.skip("no /proc here")
    return str(request.param)


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)", WORD]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_process_is_found_by_its_folder_and_program_and_by_its_words(
    asked: str, sleeper: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    [program] = [name for pid, name in leftovers._programs() if pid == sleeper.pid]
    assert leftovers.pids_in(tmp_path, program) == [sleeper.pid]
    assert leftovers.pids_in(tmp_path, "postgres") == []
    assert leftovers.pids_in(tmp_path.parent, program) == []
    assert leftovers.pids_with(WORD) == [sleeper.pid]
    assert leftovers.pids_with(WORD, "and-another-word") == []


def test_a_leftover_is_ended_and_a_stranger_is_not(
    asked: str, sleeper: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    leftovers.stop_leftovers(tmp_path, "postgres", 15)
    assert sleeper.poll() is None
    [program] = [name for pid, name in leftovers._programs() if pid == sleeper.pid]
    if asked == "proc":  # ps cannot tell a corpse that its parent has not buried
        leftovers.stop_leftovers(tmp_path, program, 15)
        assert wait_until(lambda: sleeper.poll() is not None, timeout_s=10)


def test_a_pid_file_is_forgotten_only_when_its_number_belongs_to_somebody_else(
    sleeper: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    pid_file = tmp_path / "postmaster.pid"
    program = Path(os.path.realpath(sys.executable)).name
    pid_file.write_text(f"{sleeper.pid}\nmore\n")
    leftovers.forget_stale_pid(pid_file, tmp_path, program)
    assert pid_file.exists(), "the server itself, alive in its folder"
    leftovers.forget_stale_pid(pid_file, tmp_path / "elsewhere", program)
    assert not pid_file.exists(), "a stranger has the number"
    sleeper.kill()
    sleeper.wait()
    pid_file.write_text(f"{sleeper.pid}\nmore\n")
    leftovers.forget_stale_pid(pid_file, tmp_path, program)
    assert pid_file.exists(), "a number nobody has: the server can judge that itself"
    pid_file.write_text("")
    leftovers.forget_stale_pid(pid_file, tmp_path, program)
