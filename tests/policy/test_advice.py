"""Every error that the hub itself makes of a function's failure has a remedy."""

from __future__ import annotations

import re
from pathlib import Path

from triggerhub.policy.advice import advise

ROOT = Path(__file__).parents[2]


def test_the_errors_of_the_documentation_have_a_remedy() -> None:
    text = (ROOT / "docs" / "runtimes.md").read_text().partition("## What fails, and how")[2]
    named = re.findall(r"`((?:Runtime|Sandbox|Function)\.\w+)`", text)
    assert len(named) > 8
    assert [name for name in named if advise(name) is None] == []


def test_a_functions_own_error_has_none() -> None:
    assert advise("KeyError") is None
