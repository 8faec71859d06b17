"""What importing and starting functions/chat costs: CPU, modules, memory, time to an answer."""

import json
import os
import subprocess
from pathlib import Path
from statistics import median
from typing import Any

from harness import Shared, Stack

RUNS = 7
SLOWEST = 15
# Modules of ours and of the web stack that the data plane must not load (architecture §3).
FORBIDDEN = (
    "fastapi", "pydantic", "boto3", "botocore", "supabase", "postgrest", "httpx", "stripe",
    "aws_xray_sdk",
)  # fmt: skip
PROBE = """
import json, resource, sys
before = resource.getrusage(resource.RUSAGE_SELF)
known = len(sys.modules)
import functions.chat.app
after = resource.getrusage(resource.RUSAGE_SELF)
rss_kb = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS"))
print(json.dumps({
    "cpu_ms": 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime),
    "modules": len(sys.modules) - known, "rss_mb": rss_kb / 1024,
    "loaded": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


def run_cold(shared: Shared, stack: Stack, mock: Any) -> None:
    """Print the import cost, the start to a first good answer, and the slowest imports."""
    environ = {**os.environ, "PYTHONPATH": f"{stack.tree / 'shared'}:{stack.tree}"}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as deployed: compiled once
    probes = [_probe(stack, environ) for _ in range(RUNS + 1)][1:]
    bare = [_probe(stack, environ, "import json\nprint('{}')") for _ in range(3)]
    assert all(probe == {} for probe in bare)
    loaded = [name for name in FORBIDDEN if name in probes[0]["loaded"]]
    starts, memories = [], []
    for _ in range(RUNS):
        gateway, seconds = shared.bench.start(stack.target("ours-cold"), mock)
        memories.append(shared.bench.mem_of(gateway.pids()))
        gateway.stop()
        starts.append(seconds)
    print(f"import of functions/chat/app.py, median of {RUNS}:")
    for name, unit in (("cpu_ms", "ms CPU"), ("modules", "modules"), ("rss_mb", "MB resident")):
        print(f"  {median(probe[name] for probe in probes):8.1f} {unit}")
    print(f"  forbidden modules loaded: {', '.join(loaded) or 'none'}")
    print(f"process start to first good answer, stores running, median of {RUNS}:")
    print(f"  {median(starts):8.3f} s   ({min(starts):.3f} to {max(starts):.3f})")
    print(f"  {median(rss for rss, _ in memories):8.1f} MB resident after it")
    print(f"the {SLOWEST} imports with the most time of their own:")
    for own_us, name in _slowest(stack, environ):
        print(f"  {own_us / 1000:8.2f} ms  {name}")


def _probe(stack: Stack, environ: dict[str, str], code: str = PROBE) -> dict[str, Any]:
    run = subprocess.run(
        [stack.python, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    probe: dict[str, Any] = json.loads(run.stdout)
    return probe


def _slowest(stack: Stack, environ: dict[str, str]) -> list[tuple[int, str]]:
    command = [stack.python, "-X", "importtime", "-c", "import functions.chat.app"]
    run = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    rows = []
    for line in run.stderr.splitlines():
        own, _, rest = line.removeprefix("import time:").partition("|")
        if own.strip().isdigit():
            rows.append((int(own), rest.rpartition("|")[2].strip()))
    return sorted(rows, reverse=True)[:SLOWEST]


def versions(shared: Shared, python: str) -> str:
    """A line that says so when the rivals run on another Python than ours."""
    reference = shared.targets.venv("ref")
    said = [
        subprocess.run(
            [each, "-c", "import platform as p; print(p.python_version())"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        for each in (python, reference)
        if Path(each).exists()
    ]
    return f"Python: ours {said[0]}, references {said[-1]}"
