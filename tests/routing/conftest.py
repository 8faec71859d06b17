"""The scene of routing tests is that of fault tests: the whole gateway, audited at its end."""

from tests.faults.conftest import (
    links,
    logs,
    pytest_configure,
    pytest_runtest_makereport,
    raw,
    stage,
    tune,
    world,
)
from tests.world import sandbox

__all__ = [
    "links", "logs", "pytest_configure", "pytest_runtest_makereport", "raw", "sandbox", "stage",
    "tune", "world",
]  # fmt: skip
