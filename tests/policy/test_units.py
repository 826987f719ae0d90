"""Words with units."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.units import counted, duration, rate, show_duration, show_rate, show_size, size, took
from triggerhub.settings import Rate


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500ms", 500),
        ("30s", 30_000),
        ("1.5h", 5_400_000),
        ("1h30m", 5_400_000),
        ("7d", 604_800_000),
        ("0s", 0),
        (" 2 m ", 120_000),
    ],
)
def test_duration(text: str, expected: int) -> None:
    assert duration(text) == expected


@pytest.mark.parametrize("text", ["", "30", "s", "30 seconds", "-1s", "1h 30", "1e3s", "９s", "9" * 400 + "d"])
def test_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        duration(text)


def test_a_duration_that_no_clock_outlives_is_refused() -> None:
    assert duration("36525d") == 36_525 * 86_400_000
    with pytest.raises(ValueError, match="more than a hundred years"):
        duration("36525d1ms")


@pytest.mark.parametrize(
    ("text", "expected"), [("1B", 1), ("64KB", 65_536), ("256mb", 268_435_456), ("1.5GB", 1_610_612_736)]
)
def test_size(text: str, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize("text", ["", "256", "1TB", "MB", "1 M B", "9" * 400 + "GB"])
def test_not_a_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        size(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("50/s", Rate(count=50, per=1000)), ("10 / m", Rate(count=10, per=60_000))]
)
def test_rate(text: str, expected: Rate) -> None:
    assert rate(text) == expected


@pytest.mark.parametrize("text", ["", "0/s", "5", "5/w", "a/s", "1.5/s", "9" * 5000 + "/s"])
def test_not_a_rate(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        rate(text)


@given(st.integers(0, 10**12))
def test_what_is_shown_reads_back(value: int) -> None:
    assert duration(show_duration(value)) == value
    assert size(show_size(value)) == value


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 more kinds"), (1, "1 more kind"), (2, "2 more kinds"), (1234, "1,234 more kinds")]
)
def test_of_one_thing_it_is_said_in_the_singular(count: int, words: str) -> None:
    assert counted(count, "more kind") == words


@pytest.mark.parametrize("text", ["1/s", "50/m", "3/h", "100/d"])
def test_a_rate_is_shown_as_it_is_read(text: str) -> None:
    assert show_rate(rate(text)) == text


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (0, "0 ms"),
        (1.654, "1.65 ms"),
        (123.4, "123 ms"),
        (6_030, "6.03 s"),
        (150_000, "2.5 min"),
        (5_400_000, "1 h"),
        (86_400_000 * 3, "3 d"),
    ],
)
def test_what_something_took_is_said_to_three_digits(milliseconds: float, words: str) -> None:
    assert took(milliseconds) == words
