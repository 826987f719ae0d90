"""Begin with the files that take longest, so that at the end no process works alone."""

from __future__ import annotations

import pytest

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
