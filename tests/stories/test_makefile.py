"""A machine that lacks something is told what, in one line, before anything is made."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# All that the Makefile uses besides Python.
PROGRAMS = ("sh", "make", "cat", "touch", "chmod", "printf", "dirname")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


def make(tmp_path: Path, **pythons: str) -> "subprocess.CompletedProcess[str]":
    """`make run` where PATH has only these Pythons, each a shell script."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    for name, script in pythons.items():
        file = programs / name.replace("_", ".")
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
    return subprocess.run(
        ["make", "-C", str(ROOT), "run", f"VENV={tmp_path / 'venv'}"],
        env={"PATH": str(programs), "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        check=False,
    )


def complaint(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_without_a_fitting_python_it_names_the_versions(tmp_path: Path) -> None:
    done = make(tmp_path, python3="exit 1", python3_13="exit 127")
    assert complaint(done).startswith("Gatewayz needs Python 3.11, 3.12 or 3.13")
    assert not (tmp_path / "venv").exists()


def test_without_venv_it_names_the_package(tmp_path: Path) -> None:
    script = 'case "$2" in *ensurepip*) exit 1;; *print*) echo python3.12-venv;; esac'
    done = make(tmp_path, python3_12=script)
    assert "python3.12 has no venv" in complaint(done)
    assert "apt install python3.12-venv" in complaint(done)
    assert not (tmp_path / "venv").exists()


def test_a_venv_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    script = 'case "$1" in -m) exit 1;; --version) echo Python 3.11.9;; esac'
    done = make(tmp_path, python3_11=script)
    assert "is this folder writable?" in complaint(done)


def test_a_venv_cut_short_is_mended_and_a_moved_clone_finds_its_sources(tmp_path: Path) -> None:
    clone, moved = tmp_path / "clone", tmp_path / "moved"
    clone.mkdir()
    shutil.copy(ROOT / "Makefile", clone)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", clone / ".venv"], check=True)
    make = ["make", "VENV=.venv", f"PYTHON={sys.executable}", ".venv/bin/gatewayz"]
    subprocess.run(make, cwd=clone, check=True, capture_output=True)
    clone.rename(moved)
    subprocess.run(make, cwd=moved, check=True, capture_output=True)
    code = "import pip, sys; print(*sys.path, sep='\\n')"
    (moved / "shared").mkdir()
    said = subprocess.run(
        [moved / ".venv/bin/python", "-c", code], check=True, capture_output=True, text=True
    )
    assert str(moved / "shared") in said.stdout.splitlines()
