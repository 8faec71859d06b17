"""The mutation check itself: it finds the guards, breaks them singly, and lists survivors."""

import ast
import re
from collections import Counter

from tests.simulation.mutants.killers import OWN, TESTS
from tests.simulation.mutants.operators import ROOT, all_mutants
from tests.simulation.mutants.run import LEAST_KILLED, reasons, unchanged

MUTANTS = all_mutants()


def test_every_kind_of_guard_is_broken() -> None:
    found = Counter(mutant.kind for mutant in MUTANTS)
    assert all(found[kind] > 100 for kind in ("lua", "python", "sql")), found
    files = {mutant.file for mutant in MUTANTS}
    for path in ("billing/credits.py", "billing/settlement.py", "billing/sweep.py"):
        assert f"shared/gatewayz/{path}" in files
    for number in ("0002_ledger", "0003_accounts", "0004_credit", "0005_settlement"):
        assert f"supabase/migrations/{number}.sql" in files


def test_a_mutant_is_one_change_of_one_place() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        before, after = (ROOT / mutant.file).read_text(), mutant.applied()
        assert before != after
        assert len(after) - len(before) == len(mutant.new) - len(mutant.old)
        if mutant.kind == "python":
            ast.parse(after)
        assert unchanged(mutant).applied() == before


def test_what_is_said_is_not_broken() -> None:
    for mutant in MUTANTS:
        if mutant.kind == "python":
            assert not re.match(r"\S+: *(log\.|metric\()", mutant.name), mutant.name


def test_every_survivor_is_a_mutant_and_has_its_reason() -> None:
    names = {mutant.name for mutant in MUTANTS}
    for name, reason in reasons().items():
        assert name in names, f"fits no mutant any more: {name}"
        assert len(reason) > 20
    assert len(reasons()) <= (1 - LEAST_KILLED) * len(MUTANTS)


def test_the_tests_that_kill_exist() -> None:
    stages = [stage for stages in [*TESTS.values(), *OWN.values()] for stage in stages]
    for path in (path for stage in stages for path in stage):
        assert (ROOT / path).exists(), path


def test_files_with_tests_of_their_own_are_broken() -> None:
    broken = {mutant.file for mutant in MUTANTS}
    for name in OWN:
        assert any(re.search(rf"/{name}\.(py|sql)$", file) for file in broken), name
