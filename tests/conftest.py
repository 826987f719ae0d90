"""Let no test depend on how fast the machine is, and begin with the files that take longest."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from hypothesis import HealthCheck, settings

# Hubs and commands are started by the hundred, and most of a start is the compiling of what nobody kept.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A shell has what it starts in the background ignore Ctrl-C, and what that starts, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is the machine's business: a pause of the system is no finding.
settings.register_profile("hub", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hub")

LONGEST = (
    "e2e/test_chaos.py",
    "simulation/test_simulation.py",
    "attacks/test_attacks.py",
    "console/test_browser.py",
    "cli/test_keep.py",
    "e2e/test_user.py",
    "e2e/test_streamkills.py",
    "e2e/test_queuekills.py",
    "e2e/test_rollback.py",
    "contract/test_keys.py",
    "e2e/test_start.py",
    "cli/test_project.py",
    "console/test_access.py",
    "e2e/test_reload.py",
    "e2e/test_daemon.py",
    "e2e/test_signals.py",
    "contract/test_operations.py",
    "e2e/test_outages.py",
    "e2e/test_clocks.py",
    "e2e/test_operations.py",
    "e2e/test_tracing.py",
    "contract/test_policies.py",
    "contract/test_lifecycle.py",
    "console/test_pages.py",
    "e2e/test_floods.py",
    "e2e/test_bad_handlers.py",
    "powercut/test_powercut.py",
    "faults/test_full_disk.py",
    "e2e/test_examples.py",
    "e2e/test_survivors.py",
    "contract/test_signatures.py",
    "contract/test_scopes.py",
    "faults/test_sweep.py",
    "stores/test_model.py",
)
"""Each takes more than five seconds of a processor, or waits as long; the most comes first, so that none is left to end alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        path = str(item.path)
        return next((at for at, name in enumerate(LONGEST) if path.endswith(name)), len(LONGEST))

    items.sort(key=place)
