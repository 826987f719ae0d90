"""The lines of a run, and the screen that never holds up the hub."""

from __future__ import annotations

import os
import sys
from typing import Any

import click
import pytest

from triggerhub.cli import live, words
from triggerhub.hub.feed import Happening

ID = "019a0000-0000-7000-8000-000000000001"
NOW = 1_767_225_600_000


def drawn(kind: str, columns: int = 120, **facts: Any) -> list[str]:
    lines = live.lines(Happening(time=NOW, kind=kind, **facts), columns)
    return [click.unstyle(line)[9:] if number == 0 else click.unstyle(line) for number, line in enumerate(lines)]


def test_a_success_says_where_how_long_and_which() -> None:
    (line,) = drawn("succeeded", trigger="orders", function="ship", delivery=ID, duration_ms=12.4)
    assert line == f"succeeded orders → ship           12 ms  {ID}"


def test_a_dead_one_says_why_and_what_to_do() -> None:
    first, second = drawn(
        "dead", trigger="t", function="f", delivery=ID, duration_ms=2, text="E: gone\x07 (failed 1 of 1)"
    )
    assert first == "dead      t → f                  2.0 ms  E: gone\\x07 (failed 1 of 1)"
    assert second.strip() == f"triggerhub dlq show {ID}"


def test_output_is_never_cut() -> None:
    (line,) = drawn("output", 40, function="f", text="x" * 100 + "\x1b[2J")
    assert line == f"          f │ {'x' * 100}\\x1b[2J"


def test_problems_of_a_configuration_have_lines_of_their_own() -> None:
    lines = drawn("rejected", text="the running configuration is kept\na.toml:1:2: error[x]: y")
    assert lines == ["rejected  the running configuration is kept", "  a.toml:1:2: error[x]: y"]
    assert drawn("reloaded", text="2 functions, 1 triggers") == ["reloaded  2 functions, 1 triggers"]


@pytest.mark.parametrize("columns", range(30, 140, 7))
def test_a_line_keeps_within_any_width_and_an_id_is_whole_or_absent(columns: int) -> None:
    (line,) = live.lines(
        Happening(
            time=NOW, kind="retried", trigger="注文" * 5, function="f" * 30, delivery=ID, duration_ms=1.0, text="long " * 40
        ),
        columns,
    )  # fmt: skip
    text = click.unstyle(line)
    assert words.width(text) <= columns
    assert "019a" not in text or ID in text


def test_what_a_slow_terminal_has_no_room_for_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr(live, "ROOM", 10)
    with open(writing, "w") as out, open(reading) as read:
        monkeypatch.setattr(sys, "stdout", out)
        screen = live.Screen(lambda count: f"{count} left out")
        for number in range(25):
            screen.put(f"line {number}")
        with screen.open():
            while not screen._lines.empty():
                os.sched_yield()
            screen.put("after")
        os.close(os.dup(writing))
        out.close()
        assert read.read().split("\n") == [*(f"line {number}" for number in range(10)), "15 left out", "after", ""]


def test_a_screen_that_cannot_be_written_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        screen = live.Screen(str)
        with screen.open():
            for number in range(5):
                screen.put(str(number))
