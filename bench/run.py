"""Benchmarks the gateway with everything on: key check, hold, settlement, durable stores.

    run.py table                 the figures of the README, side by side with the rivals
    run.py compare OLD NEW       CPU per request of two commits (or folders), interleaved
    run.py cold                  import cost, start and memory of functions/chat

Stores and settle worker run as processes of their own. bench/README.md says more.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import cold
import figures
from harness import CLIENT_PORT, TREE, Shared, Stack
from soak import drain, run_soak

TARGETS = "direct,ref-pyreqwest,ref-aiohttp,litellm-1w,ours"
ROUNDS_TO_COMPARE = 5
# A commit may cost this much more than the one before it (D48).
ALLOWED = 1.10
COMPARED = {
    "non-stream, CPU µs/request": ("plain", lambda b, t: b.run_wrk(t, 64, 2)),
    "64 paced streams, CPU µs/chunk": (
        "paced",
        lambda b, t: b.run_lg(t, "stream", "paced", 3, c=64),
    ),
}


@contextmanager
def upstream(shared: Shared) -> Iterator[Any]:
    """The mock provider that every target calls."""
    mock = shared.bench.start_mock()
    try:
        yield mock
    finally:
        mock.stop()


def open_stack(shared: Shared, options: argparse.Namespace, home: Path, **more: Any) -> Stack:
    fixed = {"tree": TREE, "python": options.python, "cores": options.store_cores}
    return Stack(shared, home, **{**fixed, "port": CLIENT_PORT, **more})


def table(shared: Shared, options: argparse.Namespace, home: Path) -> int:
    """Print every figure with its bars; 1 when one is missed."""
    results: dict[str, Any] = {"rounds": []}
    with open_stack(shared, options, home / "ours") as stack:
        if options.rounds:
            results = run_shared(shared, options, stack, home / "results.json")
        if options.soak_s:
            with upstream(shared) as mock:
                results["soak"] = run_soak(shared, stack, mock, options.soak_s)
    if options.out:
        Path(options.out).write_text(json.dumps(results))
    print("\n" + cold.versions(shared, options.python) + "\n")
    print(figures.table(results))
    missed = [f.name for f in figures.FIGURES if f.verdict(f.measure(results)) == "MISSED"]
    return 1 if missed else 0


def run_shared(
    shared: Shared, options: argparse.Namespace, stack: Stack, out: Path
) -> dict[str, Any]:
    """The shared harness over all targets, ours among them."""
    command = [sys.executable, "bench.py", "run", "--targets", options.targets, "--out", str(out)]
    command += ["--rounds", str(options.rounds), "--noise", str(options.noise)]
    command += ["--quick"] if options.quick else []
    environ = {**os.environ, **stack.plug_in(), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.Popen(command, cwd=shared.folder, env=environ)
    try:
        if run.wait():
            sys.exit(f"The shared harness failed ({run.returncode})")
    finally:
        run.terminate()  # it ends its targets itself, which a kill would leave behind
        run.wait()
    results: dict[str, Any] = json.loads(out.read_text())
    return results


# ---------------------------------------------------------------- two commits


def compare(shared: Shared, options: argparse.Namespace, home: Path) -> int:
    """CPU per operation of two trees, taken in turns, each with stores of its own (D48)."""
    names = (options.old, options.new)
    stacks = [
        open_stack(
            shared,
            options,
            home / f"stack{i}",
            tree=checked_out(name, home / f"tree{i}"),
            port=CLIENT_PORT + i,
        )
        for i, name in enumerate(names)
    ]
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in COMPARED}
    try:
        with upstream(shared) as mock:
            for turn in range(options.rounds):
                for i in (0, 1) if turn % 2 == 0 else (1, 0):
                    for name, cost_us in measure(shared, stacks[i], mock).items():
                        found[name][i].append(cost_us)
                print(f"[{turn + 1}/{options.rounds}]", *map(last_pair, found.values()), flush=True)
    finally:
        for stack in stacks:
            stack.close()
    worst = 0.0
    print(f"\n| CPU | {names[0]} | {names[1]} | ratio |\n| --- | ---: | ---: | ---: |")
    for name, (old, new) in found.items():
        ratio = median(new) / median(old)
        worst = max(worst, ratio)
        print(f"| {name} | {median(old):.1f} | {median(new):.1f} | {ratio:.3f} |")
    return 1 if worst > ALLOWED else 0


def last_pair(pair: tuple[list[float], list[float]]) -> str:
    return f"{pair[0][-1]:.1f} / {pair[1][-1]:.1f}"


def checked_out(commit: str, folder: Path) -> Path:
    """The files of a commit, or a folder as it is. An archive leaves nothing behind in .git."""
    if Path(commit, "functions").is_dir():
        return Path(commit).resolve()
    folder.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "-C", str(TREE), "archive", commit],  # noqa: S607
        capture_output=True,
        check=True,
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)  # noqa: S607
    return folder


def measure(shared: Shared, stack: Stack, mock: Any) -> dict[str, float]:
    bench = shared.bench
    target = stack.target("compared")
    gateway, _ = bench.start(target, mock)
    try:
        for kind, mode in (("plain", "closed"), ("flood", "stream")):  # as the shared harness warms
            bench.run_lg(target, mode, kind, 0.8, c=16)
        costs = {}
        for name, (_, load) in COMPARED.items():
            drain(stack)
            found = bench.measured(target, gateway, mock, lambda t, load=load: load(bench, t))
            if found["errors"]:
                sys.exit(f"{name}: {found['errors']} errors ({stack.tree})")
            costs[name] = found["cpu_us_per_op"]
        return costs
    finally:
        gateway.stop()


# ---------------------------------------------------------------- command line


def cold_start(shared: Shared, options: argparse.Namespace, home: Path) -> int:
    with open_stack(shared, options, home / "ours") as stack, upstream(shared) as mock:
        cold.run_cold(shared, stack, mock)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    parsers = {name: commands.add_parser(name) for name in ("table", "compare", "cold")}
    for each in parsers.values():
        each.add_argument("--shared", type=Path, default=TREE.parent / "shared" / "bench")
        each.add_argument("--python", default=sys.executable, help="interpreter of the gateway")
        each.add_argument("--store-cores", default="1", help="cores of stores and worker; '' = any")
        each.add_argument("--home", type=Path, help="folder for the stores' data, kept")
    parsers["table"].add_argument("--targets", default=TARGETS)
    parsers["table"].add_argument("--rounds", type=int, default=3)
    parsers["table"].add_argument("--quick", action="store_true")
    parsers["table"].add_argument("--noise", type=float, default=1.0, help="see the shared README")
    parsers["table"].add_argument("--soak-s", type=float, default=60.0)
    parsers["table"].add_argument("--out", help="where the results go as JSON")
    parsers["compare"].add_argument("old")
    parsers["compare"].add_argument("new")
    parsers["compare"].add_argument("--rounds", type=int, default=ROUNDS_TO_COMPARE)
    return parser.parse_args()


def main() -> int:
    options = arguments()
    # End the children too when this is told to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    shared = Shared.load(options.shared)
    work = {"table": table, "compare": compare, "cold": cold_start}[options.command]
    if options.home is not None:
        return work(shared, options, options.home)
    with tempfile.TemporaryDirectory(prefix="gatewayz-bench-") as home:
        Path(home).chmod(0o711)  # Postgres of root runs as a user without rights
        return work(shared, options, Path(home))


if __name__ == "__main__":
    sys.exit(main())
