"""Since when: one judge for the command line and the hub."""

from __future__ import annotations

import pytest

from triggerhub.policy import moment
from triggerhub.settings import DAY, HOUR
from triggerhub.telemetry.archive import day_of

NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOW - 90_000),
        (" 1h30m ", NOW - HOUR * 3 // 2),
        ("36525d", 0),
        ("2026-01-31T12:00:00Z", 1_769_860_800_000),
        ("2026-01-31 13:00:00.5+01:00", 1_769_860_800_500),
        ("0001-01-01T00:00:00+23:59", 0),
        ("9999-12-31T23:59:59-23:59", moment.LAST),
    ],
)
def test_since(text: str, expected: int) -> None:
    assert moment.since(text, NOW) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not a time"),
        ("yesterday", "is not a time"),
        ("2026-13-01T00:00:00Z", "is not a time"),
        ("2026-11-28T00:00:00", "does not say in which time zone"),
        ("2026-11-28", "does not say in which time zone"),
        ("36600d", "more than a hundred years"),
    ],
)
def test_what_is_no_time_is_refused_with_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        moment.since(text, NOW)


def test_every_moment_that_is_read_has_a_day() -> None:
    assert (day_of(0), day_of(moment.LAST)) == ("1970-01-01", "9999-12-31")
    assert moment.LAST % DAY == DAY - 1
