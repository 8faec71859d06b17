"""A child that falls is started again; one that cannot live is reported with its last words."""

import sys
from pathlib import Path

import pytest

from gatewayz.local.errors import LocalError
from gatewayz.local.process import wait_until
from gatewayz.local.supervisor import MAX_FALLS, Child, Supervisor


def program(folder: Path, text: str) -> str:
    file = folder / "program"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o700)
    return str(file)


def fallen(child: Child) -> bool:
    return wait_until(lambda: child.fallen, timeout_s=10)


def test_a_child_is_told_its_variables_once_and_again_after_a_fall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program(tmp_path, "cat; echo; echo gone"))
    said: list[str] = []
    supervisor, child = Supervisor(said.append), Child("serve", ["x"], log=tmp_path / "log")
    supervisor.start(child)
    assert not child.fallen, "it waits for its variables"
    supervisor.begin({"A": "1"})
    assert fallen(child)
    supervisor.watch()
    assert fallen(child)
    supervisor.stop()
    assert (tmp_path / "log").read_text().count('{"A":"1"}') == 2
    assert said == ["serve fell and is started again: gone"]


def test_a_child_that_falls_again_and_again_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program(tmp_path, "echo no disk; exit 1"))
    supervisor, child = Supervisor(lambda _: None), Child("work", [], log=tmp_path / "log")
    supervisor.start(child)
    supervisor.begin({})
    for _ in range(MAX_FALLS - 1):
        assert fallen(child)
        supervisor.watch()
    assert fallen(child)
    with pytest.raises(LocalError, match=r"^work keeps falling: no disk$"):
        supervisor.watch()
    with pytest.raises(LocalError, match=r"^work does not start: no disk$"):
        supervisor.check_alive()
