"""What schedules do when clocks are put forward and back, in exact moments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggerhub.policy import walltime
from triggerhub.policy.schedule import parse

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kolkata", "UTC")


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def slots(expression: str, zone: str, start: str, end: str) -> list[str]:
    """The slots in (start, end], as day and time of UTC."""
    schedule = parse(expression, timezone=ZoneInfo(zone))
    found, moment = [], schedule.next(at(start))
    while moment is not None and moment <= at(end):
        found.append(datetime.fromtimestamp(moment / 1000, UTC).strftime("%d %H:%M"))
        moment = schedule.next(moment)
    return found


# Berlin: 29 March 2026 01:00Z, 02:00 becomes 03:00; 25 October 01:00Z, 03:00 becomes 02:00.
# New York: 8 March 07:00Z, 02:00 becomes 03:00; 1 November 06:00Z, 02:00 becomes 01:00.
# Lord Howe: 4 October, 3rd 15:30Z, 02:00 becomes 02:30; 5 April, 4th 15:00Z, 02:00 becomes 01:30.
@pytest.mark.parametrize(
    ("expression", "zone", "start", "end", "expected"),
    [
        pytest.param(
            "30 2 * * *", "Europe/Berlin", "2026-03-27T12:00", "2026-03-30T12:00",
            ["28 01:30", "29 01:00", "30 00:30"], id="Berlin, in the gap: at its end",
        ),
        pytest.param(
            "0,15,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", "2026-03-30T12:00",
            ["29 01:00", "30 00:00", "30 00:15", "30 00:30"], id="Berlin, three in the gap: one",
        ),
        pytest.param(
            "0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00", "2026-03-29T12:00",
            ["29 01:00"], id="Berlin, in the gap and at its end: one",
        ),
        pytest.param(
            "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", "2026-10-26T12:00",
            ["25 00:30", "26 01:30"], id="Berlin, in the doubled hour: the first time",
        ),
        pytest.param(
            "0 2,3 * * *", "Europe/Berlin", "2026-10-24T12:00", "2026-10-25T12:00",
            ["25 00:00", "25 02:00"], id="Berlin, around the doubled hour",
        ),
        pytest.param(
            "*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00", "2026-03-29T02:00",
            ["29 00:30", "29 01:00", "29 01:30", "29 02:00"], id="Berlin, half hours go on through the gap",
        ),
        pytest.param(
            "*/30 * * * *", "Europe/Berlin", "2026-10-24T23:30", "2026-10-25T02:00",
            ["25 00:00", "25 00:30", "25 01:00", "25 01:30", "25 02:00"], id="Berlin, … and the doubled hour",
        ),
        pytest.param(
            "30 * * * *", "Europe/Berlin", "2026-10-24T23:30", "2026-10-25T02:30",
            ["25 00:30", "25 01:30", "25 02:30"], id="Berlin, every hour is every hour",
        ),
        pytest.param(
            "0 */2 * * *", "Europe/Berlin", "2026-03-28T22:00", "2026-03-29T04:00",
            ["28 23:00", "29 02:00", "29 04:00"], id="Berlin, even hours: there is no 02:00",
        ),
        pytest.param(
            "*/30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", "2026-10-25T12:00",
            ["25 00:00", "25 00:30", "25 01:00", "25 01:30"], id="Berlin, wild minutes of the doubled hour",
        ),
        pytest.param(
            "30 2 * * *", "America/New_York", "2026-03-07T12:00", "2026-03-09T12:00",
            ["08 07:00", "09 06:30"], id="New York, in the gap",
        ),
        pytest.param(
            "30 1 * * *", "America/New_York", "2026-10-31T12:00", "2026-11-02T12:00",
            ["01 05:30", "02 06:30"], id="New York, in the doubled hour",
        ),
        pytest.param(
            "cron(0/30 * * * ? *)", "America/New_York", "2026-11-01T05:00", "2026-11-01T07:00",
            ["01 05:30", "01 06:00", "01 06:30", "01 07:00"], id="New York, an open step is wild, too",
        ),
        pytest.param(
            "15 2 * * *", "Australia/Lord_Howe", "2026-10-02T12:00", "2026-10-04T18:00",
            ["02 15:45", "03 15:30", "04 15:15"], id="Lord Howe, in the gap of half an hour",
        ),
        pytest.param(
            "45 1 * * *", "Australia/Lord_Howe", "2026-04-03T12:00", "2026-04-05T18:00",
            ["03 14:45", "04 14:45", "05 15:15"], id="Lord Howe, in the doubled half hour",
        ),
        pytest.param(
            "*/15 * * * *", "Australia/Lord_Howe", "2026-04-04T14:30", "2026-04-04T15:45",
            ["04 14:45", "04 15:00", "04 15:15", "04 15:30", "04 15:45"], id="Lord Howe, quarters go on",
        ),
        pytest.param(
            "0 * * * *", "Australia/Lord_Howe", "2026-10-03T14:00", "2026-10-03T17:30",
            ["03 14:30", "03 16:00", "03 17:00"], id="Lord Howe, there is no 02:00",
        ),
        pytest.param(
            "0 12 30 12 *", "Pacific/Apia", "2011-12-29T00:00", "2012-01-01T00:00",
            ["30 10:00"], id="Samoa, a day that never was: at its end",
        ),
        pytest.param(
            "at(2026-03-29T02:30:00)", "Europe/Berlin", "2026-03-01T00:00", "2026-04-01T00:00",
            ["29 01:00"], id="Berlin, one moment in the gap",
        ),
        pytest.param(
            "rate(1 hour)", "Europe/Berlin", "2026-10-24T23:00", "2026-10-25T02:00",
            ["25 00:00", "25 01:00", "25 02:00"], id="Berlin, a rate knows no clocks",
        ),
    ],
)  # fmt: skip
def test_when_clocks_change(expression: str, zone: str, start: str, end: str, expected: list[str]) -> None:
    assert slots(expression, zone, start, end) == expected


@settings(max_examples=60, deadline=None)
@given(zone=st.sampled_from(ZONES), hour=st.integers(0, 23), minute=st.integers(0, 59), year=st.integers(2024, 2036))
def test_a_fixed_time_fires_once_for_each_day(zone: str, hour: int, minute: int, year: int) -> None:
    schedule = parse(f"{minute} {hour} * * *", timezone=ZoneInfo(zone))
    start = walltime.moment(datetime(year, 1, 1), ZoneInfo(zone))  # noqa: DTZ001 - wall-clock time
    days, moment = [], schedule.next(start - 1)
    for _ in range(365):
        assert moment is not None
        days.append(walltime.shown(moment, ZoneInfo(zone)).date())
        moment = schedule.next(moment)
    assert days == [days[0] + timedelta(days=number) for number in range(365)]


@settings(max_examples=100, deadline=None)
@given(zone=st.sampled_from(ZONES), start=st.integers(at("2026-01-01"), at("2026-12-31")))
def test_every_minute_is_every_minute_of_real_time(zone: str, start: int) -> None:
    slot = parse("* * * * *", timezone=ZoneInfo(zone)).next(start)
    assert slot == (start // 60_000 + 1) * 60_000


@settings(max_examples=200, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    wall=st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)),  # noqa: DTZ001 - wall-clock time
)
def test_a_wall_clock_time_that_is_shown_maps_to_a_moment_that_shows_it(zone: str, wall: datetime) -> None:
    wall = wall.replace(microsecond=0, fold=0)
    shown = walltime.shown(walltime.moment(wall, ZoneInfo(zone)), ZoneInfo(zone))
    assert shown == wall or timedelta(0) < shown - wall <= timedelta(hours=1)
