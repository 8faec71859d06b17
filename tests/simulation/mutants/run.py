"""Runs the tests against every mutant: `make mutants`, or

    python -m tests.simulation.mutants.run [lua|python|sql] [--jobs 2] [--part 1/4] [--stages 1]

A mutant is killed when a test fails, hangs, or the schema no longer applies. Workers fork from a
process that has imported everything foreign; each has a Postgres and a Valkey of its own. Survivors
must stand in survivors.toml with a reason; exit code 1 when one does not, or fewer than 90 % die.
"""

import argparse
import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

import pytest

from tests.simulation.mutants.killers import stages_of
from tests.simulation.mutants.operators import ROOT, Mutant, all_mutants

KEPT = Path(__file__).parent / "survivors.toml"
LEAST_KILLED = 0.9
PATIENCE_S = 400
SEEDS = "1-3"
# Ours is imported anew in every child, so that it gets the mutant.
OURS = ("gatewayz", "functions", "tests", "conftest")
FOREIGN = ("asyncpg", "cryptography", "fastapi", "httpx", "orjson", "pydantic", "redis", "uvicorn")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", nargs="?", choices=["lua", "python", "sql"])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--part", default="1/1", help="the second quarter is 2/4")
    parser.add_argument("--stages", type=int, default=9, help="a first look: 1, the likely killers")
    parser.add_argument("--only", default="", help="mutants whose name has this in it")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    mutants = [m for m in all_mutants(options.kind) if options.only in m.name][part - 1 :: parts]
    started_s = time.monotonic()
    for name in FOREIGN:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    # First without a change, stages by stages: a suite that fails anyhow would kill every mutant.
    sound = [unchanged(mutant) for mutant in {_stages(m): m for m in mutants}.values()]
    if len(run_all(sound, 1, options.stages)) != len(sound):
        print("the tests fail without a mutant: nothing can be told")
        return 2
    survivors = run_all(mutants, options.jobs, options.stages)
    known = reasons()
    killed = Counter(mutant.kind for mutant in mutants)
    killed.subtract(mutant.kind for mutant in survivors)
    for kind in dict.fromkeys(mutant.kind for mutant in mutants):
        total = sum(mutant.kind == kind for mutant in mutants)
        print(f"{kind}: {killed[kind]} of {total} killed, {killed[kind] / total:.1%}")
    print(f"took {(time.monotonic() - started_s) / 60:.0f} min")
    unknown = [mutant.name for mutant in survivors if mutant.name not in known]
    for name in unknown:
        print(f"survived, without a reason: {name}")
    rate = sum(killed.values()) / max(1, len(mutants))
    return 1 if unknown or rate < LEAST_KILLED else 0


def unchanged(mutant: Mutant) -> Mutant:
    """The one beside it that changes nothing."""
    return replace(mutant, new=mutant.old, name=f"{PurePosixPath(mutant.file).name}: no change")


def _stages(mutant: Mutant) -> str:
    return repr(stages_of(mutant.kind, mutant.file))


def reasons() -> dict[str, str]:
    """Reason by name of every kept survivor."""
    rows = tomllib.loads(KEPT.read_text())["survivor"]
    return {row["mutant"]: row["reason"] for row in rows}


# ---------------------------------------------------------------- the workers


def run_all(mutants: Sequence[Mutant], jobs: int, stages: int) -> list[Mutant]:
    """The survivors. Each worker takes every `jobs`-th mutant and tells what became of it."""
    pipes = []
    for number in range(jobs):
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.close(reading)
            _work(list(enumerate(mutants))[number::jobs], writing, stages)
            os._exit(0)
        os.close(writing)
        pipes.append(os.fdopen(reading))
    survivors = []
    for pipe in pipes:
        for line in pipe:
            survivors.append(mutants[int(line)])
    for _ in range(jobs):
        os.wait()
    return survivors


def _work(mine: list[tuple[int, Mutant]], writing: int, stages: int) -> None:
    from gatewayz.local.postgres import start_postgres
    from gatewayz.local.valkey import start_valkey

    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        os.chmod(folder, 0o711)
        postgres = start_postgres(Path(folder) / "postgres", durable=False)
        valkey = start_valkey(Path(folder) / "valkey", durable=False)
        try:
            for number, mutant in mine:
                verdict, took_s = _try(mutant, stages, postgres.url, valkey.url)
                print(f"{verdict:8} {took_s:5.1f} s  {mutant.name}", flush=True)
                if verdict == "survived":
                    os.write(writing, f"{number}\n".encode())
        finally:
            valkey.stop()
            postgres.stop()


def _try(mutant: Mutant, stages: int, postgres_url: str, valkey_url: str) -> tuple[str, float]:
    started_s = time.monotonic()
    for tests in stages_of(mutant.kind, mutant.file)[:stages]:
        verdict = _try_stage(mutant, tests, postgres_url, valkey_url)
        if verdict != "survived":
            break
    return verdict, time.monotonic() - started_s


def _try_stage(mutant: Mutant, tests: list[str], postgres_url: str, valkey_url: str) -> str:
    _drop_databases(postgres_url)
    started_s = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        code = 1
        try:
            code = _run_tests(mutant, tests, postgres_url, valkey_url)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    while time.monotonic() - started_s < PATIENCE_S:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            return "survived" if status == 0 else "killed"
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hung"


def _drop_databases(url: str) -> None:
    import asyncio

    import asyncpg

    async def drop() -> None:
        connection = await asyncpg.connect(url)
        rows = await connection.fetch(
            "select datname from pg_database where datname <> 'postgres' and not datistemplate"
        )
        for row in rows:
            await connection.execute(f"drop database {row['datname']} with (force)")
        await connection.close()

    asyncio.run(drop())


# ---------------------------------------------------------------- in the child


class _Shared:
    """A server that others started and will stop."""

    def __init__(self, url: str) -> None:
        self.url = url

    def stop(self) -> None: ...


def _run_tests(mutant: Mutant, tests: list[str], postgres_url: str, valkey_url: str) -> int:
    os.chdir(ROOT)
    for name in [n for n in sys.modules if n.partition(".")[0] in OURS and n != __name__]:
        del sys.modules[name]
    sys.path[:0] = [str(ROOT / "shared"), str(ROOT)]
    text = mutant.applied()
    if mutant.kind == "python":
        sys.meta_path.insert(0, _MutantFinder(mutant, text))
    import gatewayz.local.migrate as migrate
    import gatewayz.local.postgres as postgres
    import gatewayz.local.valkey as valkey
    import gatewayz.stores.redis as redis

    _replace(postgres, "start_postgres", lambda *_, **__: _Shared(postgres_url))
    _replace(valkey, "start_valkey", lambda *_, **__: _Shared(valkey_url))
    file = Path(mutant.file)
    if mutant.kind == "sql":
        read = migrate._read
        _replace(migrate, "_read", lambda folder: {**read(folder), file.name: text})
    if mutant.kind == "lua":
        load = redis.load_script

        def load_mutant(name: str) -> tuple[str, str]:
            if name != file.stem:
                return load(name)
            import hashlib

            return text, hashlib.sha1(text.encode()).hexdigest()

        _replace(redis, "load_script", load_mutant)
    silence = os.open(os.environ.get("MUTANTS_LOG", os.devnull), os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(silence, stream)
    os.environ["SIMULATION_SEEDS"] = SEEDS
    quiet = ["-x", "-q", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    here = ["-p", "no:cacheprovider", "-k", "not managed and not postgres15"]
    return int(pytest.main([*quiet, *here, *tests]))


def _replace(module: ModuleType, name: str, value: Callable[..., Any]) -> None:
    setattr(module, name, value)


class _MutantFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from its mutant's text."""

    def __init__(self, mutant: Mutant, text: str) -> None:
        path = Path(mutant.file).relative_to("shared").with_suffix("")
        self._name, self._text = ".".join(path.parts), text
        self._path = str(ROOT / mutant.file)

    def find_spec(
        self, fullname: str, path: Any, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(fullname, self._path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._text, self._path, "exec"), module.__dict__)


if __name__ == "__main__":
    sys.exit(main())
