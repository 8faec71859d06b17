"""A long prompt on its way through: never more than three copies of it at once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.dialects import prompt_copies, recorded


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux's /proc")
def test_a_long_prompt_is_never_held_more_than_three_times() -> None:
    """The bytes that came, the text in them, the bytes that go."""
    done = subprocess.run(
        [sys.executable, "-m", prompt_copies.__name__],
        cwd=recorded.ROOT,
        env={**os.environ, "PYTHONPATH": str(Path(recorded.ROOT) / "shared")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == set(prompt_copies.bodies(100))
    for kind, rows in found.items():
        for upstream, copies in rows.items():
            # A picture in a data URL is cut out of it, and written into another for some.
            most = 4.2 if kind == "picture" and upstream != "openai_chat" else 3.2
            assert copies < most, f"{kind} → {upstream}: {copies} copies"
