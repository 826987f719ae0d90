"""The short form of `make chaos`: fifty kills in every run of the suite, and what its judge would find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.chaos import Ledger, Report, Run, Told, never, rampage


@pytest.mark.timeout(1200)
def test_fifty_kills_lose_nothing(tmp_path: Path) -> None:
    report = rampage(tmp_path, kills=50, seed=20)
    print(report.table())
    assert report.broken() == [], report.table()
    assert len(report.told.accepted) > 50, "the load was there"
    assert any(report.held.values()), "kills met what was claimed"
    assert never(report.kills, 50) == []


HIT = {"a": {"state": "succeeded", "reason": "idempotent"}}


def report(**changes: Any) -> Report:
    """A hub with one delivery that was cut by the kill of its first life and ran again in the second."""
    told = Told(accepted={"a"})
    rows = {"a": {"state": "succeeded", "reason": None}}
    ledger = Ledger()
    ledger.runs["a"] = {1: Run(began=1), 2: Run(began=1)}
    made = Report(seed=1, told=told, rows=rows, ledger=ledger, held={1: frozenset("a")})
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def ran(*lives: Run, order: str | None = None) -> Ledger:
    ledger = Ledger()
    ledger.runs["a"] = dict(enumerate(lives, 1))
    if order:
        ledger.orders[order] += ["a", "b"]
    return ledger


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        pytest.param({}, "", id="cut"),
        pytest.param({"held": {}, "ledger": ran(Run(1, 1), Run(1))}, "", id="failed"),
        pytest.param({"held": {}}, "ran again", id="again in a later life"),
        pytest.param({"ledger": ran(Run(2))}, "ran again", id="again in one life"),
        pytest.param({"held": {}, "ledger": ran(Run(1), order="k")}, "ran again", id="again for one key"),
        pytest.param({"ledger": Ledger()}, "without running", id="hollow"),
        pytest.param({"ledger": Ledger(), "rows": HIT}, "", id="answered by a key that nobody was told"),
        pytest.param(
            {"ledger": Ledger(), "rows": HIT, "told": Told(orders={"a": "k"})}, "without running", id="hollow answer"
        ),
        pytest.param({"rows": {}}, "not known any more", id="lost"),
        pytest.param({"told": Told(files={"f"})}, "not known any more", id="a file lost"),
        pytest.param({"rows": {"a": {"state": "running", "reason": None}}}, "stuck", id="stuck"),
        pytest.param({"drift": 1}, "drifts", id="drift"),
    ],
)
def test_the_judge_finds_what_is_broken(changes: dict[str, Any], word: str) -> None:
    found = report(**changes).broken()
    assert len(found) == bool(word), found
    assert word in "".join(found)
