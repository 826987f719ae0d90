"""The short form of ``make fuzz``, and a broken reader that it must find out."""

from __future__ import annotations

import json

import pytest

from tests.runtimes import fuzz
from triggerhub.runtimes import frames


def test_no_input_breaks_a_reader() -> None:
    report = fuzz.fuzz(20_000, 2026)
    print(report.table())
    assert report.findings == [], report.table()
    for name, count in report.inputs.items():
        assert count / 10 < report.taken[name] < count * 9 / 10, f"{name}: both sides of its rules were tried"


def test_several_processes_find_what_one_does() -> None:
    alone, spread = fuzz.fuzz(2000, 7), fuzz.spread(2000, 7, 2)
    assert (spread.inputs, spread.taken, spread.findings) == (alone.inputs, alone.taken, alone.findings)


def test_a_reader_that_raises_what_it_should_not_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_header", lambda text: json.loads(text.decode()))
    assert fuzz.fuzz(2000, 2026).findings
