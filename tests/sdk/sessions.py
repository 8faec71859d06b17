"""Runs a session script as a caller's application: its own process, its own environment."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.world import World


async def session(
    world: World, python: str, script: str, *arguments: str, usd: str = "10"
) -> dict[str, Any]:
    """step → what the SDK made of it; afterwards everything is settled and adds up."""
    account = await world.account(usd=usd)
    done = subprocess.run(
        [python, str(Path(__file__).with_name(script)), world.url, *arguments],
        env={"PATH": os.environ["PATH"], "KEY": account.key},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    assert await world.settle() > 0
    assert await world.violations() == []
    return seen
