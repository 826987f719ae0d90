"""What the hub says, worded for people."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click
import pytest

from triggerhub.cli import words

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_an_error_begins_with_its_cause() -> None:
    message = "RequestId: 01a21c2c-2b4e-7000-9554-aa7db88bd500 Error: Runtime exited with error: exit status 3"
    fault = {"type": "Runtime.ExitError", "message": message}
    assert words.error(fault) == "Runtime.ExitError: Runtime exited with error: exit status 3"
    assert words.error({"type": "E", "message": "a RequestId: of mine"}) == "E: a RequestId: of mine"


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        (None, ""),
        ("2026-01-01T12:00:00.400Z", "now"),
        ("2026-01-01T11:59:58.000Z", "2s ago"),
        ("2026-01-01T11:58:00.000Z", "2m ago"),
        ("2026-01-01T09:00:00.000Z", "3h ago"),
        ("2025-12-30T12:00:00.000Z", "2d ago"),
        ("2026-01-01T12:00:05.000Z", "in 5s"),
    ],
)
def test_age(then: str | None, expected: str) -> None:
    assert words.age(then, NOW) == expected


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [(None, ""), (0.04, "0.0 ms"), (9.96, "10.0 ms"), (12.4, "12 ms"), (1500, "1.5 s"), (125_000, "2m 5s")],
)
def test_took(milliseconds: float | None, expected: str) -> None:
    assert words.took(milliseconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KB"), (3 << 30, "3.0 GB"), (5 << 40, "5.0 TB")]
)
def test_size(count: float, expected: str) -> None:
    assert words.size(count) == expected


@pytest.mark.parametrize(
    "number", [*range(9), *range(10, 32), *range(0x7F, 0xA0), 0x202E, 0x2066, 0x200B, 0xFEFF, 0xAD, 0xE0041, 0xD800]
)
def test_nothing_that_a_terminal_obeys_or_hides_is_left(number: int) -> None:
    text = words.clean(f"a{chr(number)}b")
    assert text.isascii()
    assert text.isprintable()
    assert text.startswith("a\\")


def test_what_people_write_is_left_as_it_is() -> None:
    text = "Grüße, 世界 <b>&amp;</b> 👋🏽 'quoted' \\n"
    assert words.clean(text) == text


def test_json_keeps_its_value_while_its_text_becomes_harmless() -> None:
    raw = '{"a": "\u202ex\x7f\U000e0041",\r"b": 12345678901234567890.10}'.encode()
    shown = words.raw_json(raw)
    assert "\\u202e" in shown
    assert "\\u007f" in shown
    assert "12345678901234567890.10" in shown
    assert json.loads(shown) == json.loads(raw)


def test_a_table_is_aligned_whatever_its_letters_are_as_wide_as() -> None:
    drawn = click.unstyle(words.table(("NAME", "N"), [("世界", "1"), ("e\u0301", "22"), ("abcdef", "333")], right=(1,)))
    assert drawn.split("\n") == ["NAME      N", "世界      1", "e\u0301        22", "abcdef  333"]


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 120])
def test_a_table_stays_within_its_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_columns", lambda: columns)
    rows = [("id" * 4, "state", "function-name", "why " * 50), ("id", "s", "世界", "")]
    drawn = click.unstyle(words.table(("ID", "STATE", "FUNCTION", "WHY"), rows, spare=(2, 1)))
    assert all(words.width(line) <= columns for line in drawn.split("\n"))
    assert ("FUNCTION" in drawn) is (columns >= 60)
    assert drawn.split("\n")[1].startswith("idididid")


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (200, "ID TRIES TRIGGER AGE WHY"),
        (90, "ID TRIGGER AGE WHY"),
        (75, "ID AGE WHY"),
        (45, "ID AGE WHY"),
        (35, "ID WHY"),
    ],
)
def test_a_reason_has_room_before_minor_columns_have(columns: int, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_columns", lambda: columns)
    header, row = ("ID", "TRIES", "TRIGGER", "AGE", "WHY"), ("i" * 20, "1", "t" * 12, "a" * 8, "w" * 100)
    drawn = click.unstyle(words.table(header, [row], minor=(1, 2), spare=(3, 4)))
    assert drawn.split("\n")[0].split() == shown.split()
    assert all(words.width(line) <= columns for line in drawn.split("\n"))


def test_problems_have_their_severity_in_colour_and_nothing_else_is_obeyed() -> None:
    shown = words.problems("a.toml:1:2: error[x]: \x1b[2J\nb.toml: warning[y]: z")
    assert click.unstyle(shown) == "a.toml:1:2: error[x]: \\x1b[2J\nb.toml: warning[y]: z"
    assert "\x1b[31m\x1b[1merror" in shown
    assert "\x1b[33m\x1b[1mwarning" in shown
