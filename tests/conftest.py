"""Let no test depend on how fast the machine is, and begin with the files that take longest."""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import HealthCheck, settings

# Hubs and commands are started by the hundred, and most of a start is the compiling of what nobody kept.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# How long an example takes is the machine's business: a pause of the system is no finding.
settings.register_profile("hub", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hub")

LONGEST = (
    "simulation/test_simulation.py",
    "e2e/test_chaos.py",
    "contract/test_keys.py",
    "contract/test_lifecycle.py",
    "e2e/test_queuekills.py",
    "e2e/test_streamkills.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        path = str(item.path)
        return next((at for at, name in enumerate(LONGEST) if path.endswith(name)), len(LONGEST))

    items.sort(key=place)
