"""Where other people's clients are installed: by `make extended`, in an environment of its own.
Without it these tests are skipped, and say so.
"""

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

HOME = ROOT / ".venv-extended"
HERE = Path(__file__).parent
MISSING = "make extended installs what this needs"


@pytest.fixture
def extended_python() -> Path:
    """The folder of the programs of its Python."""
    programs = HOME / "bin"
    if not (HOME / "installed").exists():
        pytest.skip(MISSING)
    return programs


@pytest.fixture
def extended_node() -> Path:
    """The folder with its node_modules; our scripts stand beside them, where they find them."""
    folder = HOME / "node"
    if not (HOME / "installed").exists():
        pytest.skip(MISSING)
    if not (folder / "node_modules").is_dir():
        pytest.skip("npm was not there when make extended ran")
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, folder)
    return folder


async def run(
    command: list[str | Path], *, key: str, cwd: Path | None = None, **environment: str
) -> str:
    """What a caller's program prints; it knows nothing of this process but where programs are."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "KEY": key, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(120):
            out, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode == 0, (out + errors).decode()[-4000:]
    return out.decode()


def last_line(text: str) -> Any:
    return json.loads(text.strip().splitlines()[-1])
