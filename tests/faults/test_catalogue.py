"""The catalogue of faults is held: every number that the product answers for has its test."""

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def _numbers(text: str) -> set[int]:
    """`F01–F03, F07` as numbers."""
    found: set[int] = set()
    for first, last in re.findall(r"F(\d+)(?:–F(\d+))?", text):
        found |= set(range(int(first), int(last or first) + 1))
    return found


HELD = _numbers(
    "F01–F29, F31–F37, F44–F58, F61, F66, F67, F69, F70, F79, F81, F82, F84, F85, F88, F89, F91"
    ", F93"
)
# Held, but of a feature that is not there yet: which issue brings it. None is, by now.
COMING: dict[int, str] = {}
NAMED = re.compile(r"^ *(?:async )?def test_((?:F\d+_)+)\w", re.MULTILINE)


def _tested() -> dict[int, list[str]]:
    """The files that have a test named after a number."""
    found: dict[int, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for numbers in NAMED.findall(path.read_text()):
            for number in re.findall(r"F(\d+)_", numbers):
                found.setdefault(int(number), []).append(path.name)
    return found


def test_every_fault_has_a_test_named_after_it() -> None:
    missing = HELD - set(_tested()) - set(COMING)
    assert not missing, f"no test is named after {sorted(f'F{n:02}' for n in missing)}"


def test_what_is_said_to_come_has_not_come() -> None:
    """A row goes when its feature comes: then it has a test."""
    assert set(COMING) <= HELD
    arrived = set(COMING) & set(_tested())
    assert not arrived, f"take {sorted(arrived)} out of COMING"


def test_faults_of_stores_and_processes_are_tried_on_the_whole_gateway() -> None:
    """A unit's own test is not enough where stores, processes or a caller's connection fail."""
    whole = {number for number, files in _tested().items() if _whole(files)}
    wanted = _numbers("F01–F11, F13, F14, F16–F20, F22–F29, F31–F37, F44–F58, F66, F69, F70, F79")
    assert wanted - whole == set()


def _whole(files: list[str]) -> bool:
    here = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    return bool(here & set(files))
