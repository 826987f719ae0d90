"""Which expressions are understood, when they fire, and what is said of those that are not."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggerhub.policy.schedule import MISSED_MOST, Policy, missed, parse

BERLIN = ZoneInfo("Europe/Berlin")
START = "2026-01-01T00:00:00"
"""A Thursday."""


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def show(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def slots(expression: str, count: int = 3, *, seconds_first: bool = False, after: str = START) -> list[str]:
    schedule = parse(expression, timezone=UTC, seconds_first=seconds_first, name="nightly").anchored(at(START))
    found, moment = [], schedule.next(at(after))
    while moment is not None and len(found) < count:
        found.append(show(moment))
        moment = schedule.next(moment)
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("* * * * *", ["2026-01-01T00:01:00", "2026-01-01T00:02:00", "2026-01-01T00:03:00"]),
        ("30 2 * * *", ["2026-01-01T02:30:00", "2026-01-02T02:30:00", "2026-01-03T02:30:00"]),
        ("*/20 9-10 * * *", ["2026-01-01T09:00:00", "2026-01-01T09:20:00", "2026-01-01T09:40:00"]),
        ("5/25 * * * *", ["2026-01-01T00:05:00", "2026-01-01T00:30:00", "2026-01-01T00:55:00"]),
        ("5-5 * * * *", ["2026-01-01T00:05:00", "2026-01-01T01:05:00", "2026-01-01T02:05:00"]),
        ("58-1 * * * *", ["2026-01-01T00:01:00", "2026-01-01T00:58:00", "2026-01-01T00:59:00"]),
        ("0 22-2/2 * * *", ["2026-01-01T02:00:00", "2026-01-01T22:00:00", "2026-01-02T00:00:00"]),
        ("0 0 * feb-MAR Mon", ["2026-02-02T00:00:00", "2026-02-09T00:00:00", "2026-02-16T00:00:00"]),
        ("0 0 * * 7", ["2026-01-04T00:00:00", "2026-01-11T00:00:00", "2026-01-18T00:00:00"]),
        ("0 0 * * 5-7", ["2026-01-02T00:00:00", "2026-01-03T00:00:00", "2026-01-04T00:00:00"]),
        ("0 0 * * fri-mon", ["2026-01-02T00:00:00", "2026-01-03T00:00:00", "2026-01-04T00:00:00"]),
        ("0 0 * * mon-7/2", ["2026-01-02T00:00:00", "2026-01-04T00:00:00", "2026-01-05T00:00:00"]),
        ("0 0 * * 0-7", ["2026-01-02T00:00:00", "2026-01-03T00:00:00", "2026-01-04T00:00:00"]),
        ("0 0 L * *", ["2026-01-31T00:00:00", "2026-02-28T00:00:00", "2026-03-31T00:00:00"]),
        ("0 0 * * L5", ["2026-01-30T00:00:00", "2026-02-27T00:00:00", "2026-03-27T00:00:00"]),
        ("0 0 * * 5L", ["2026-01-30T00:00:00", "2026-02-27T00:00:00", "2026-03-27T00:00:00"]),
        ("0 0 * * fri#2", ["2026-01-09T00:00:00", "2026-02-13T00:00:00", "2026-03-13T00:00:00"]),
        ("0 0 15W * *", ["2026-01-15T00:00:00", "2026-02-16T00:00:00", "2026-03-16T00:00:00"]),
        ("0 0 29 2 *", ["2028-02-29T00:00:00", "2032-02-29T00:00:00", "2036-02-29T00:00:00"]),
        ("0 0 13 * 5", ["2026-01-02T00:00:00", "2026-01-09T00:00:00", "2026-01-13T00:00:00"]),
        ("0 0 15W * 5", ["2026-01-02T00:00:00", "2026-01-09T00:00:00", "2026-01-15T00:00:00"]),
        ("0 0 13 * 5#2", ["2026-01-09T00:00:00", "2026-01-13T00:00:00", "2026-02-13T00:00:00"]),
        ("0 0 * * 1#1,5#1,6#1", ["2026-01-02T00:00:00", "2026-01-03T00:00:00", "2026-01-05T00:00:00"]),
        ("0 0 * * 1,fri#2", ["2026-01-05T00:00:00", "2026-01-09T00:00:00", "2026-01-12T00:00:00"]),
        ("0 0 10,3W,L * *", ["2026-01-02T00:00:00", "2026-01-10T00:00:00", "2026-01-31T00:00:00"]),
        ("@hourly", ["2026-01-01T01:00:00", "2026-01-01T02:00:00", "2026-01-01T03:00:00"]),
        ("@yearly", ["2027-01-01T00:00:00", "2028-01-01T00:00:00", "2029-01-01T00:00:00"]),
        ("cron(0 12 * * ? *)", ["2026-01-01T12:00:00", "2026-01-02T12:00:00", "2026-01-03T12:00:00"]),
        ("cron(15 10 ? * 2-6 *)", ["2026-01-01T10:15:00", "2026-01-02T10:15:00", "2026-01-05T10:15:00"]),
        ("cron(0 0 ? * 1 *)", ["2026-01-04T00:00:00", "2026-01-11T00:00:00", "2026-01-18T00:00:00"]),
        ("cron(0 0 ? * 2/2 *)", ["2026-01-02T00:00:00", "2026-01-05T00:00:00", "2026-01-07T00:00:00"]),
        ("cron(0 0 ? * L *)", ["2026-01-03T00:00:00", "2026-01-10T00:00:00", "2026-01-17T00:00:00"]),
        ("cron(0 0 ? * 6L *)", ["2026-01-30T00:00:00", "2026-02-27T00:00:00", "2026-03-27T00:00:00"]),
        ("cron(0 0 ? * 6#3 *)", ["2026-01-16T00:00:00", "2026-02-20T00:00:00", "2026-03-20T00:00:00"]),
        ("cron(0 0 3W * ? *)", ["2026-01-02T00:00:00", "2026-02-03T00:00:00", "2026-03-03T00:00:00"]),
        ("cron(0 0 1 1 ? 2030-2031)", ["2030-01-01T00:00:00", "2031-01-01T00:00:00"]),
        ("cron(0 0 1 1 ? 2020)", []),
        ("cron(0 0 29 2 ? 2099-2108)", ["2104-02-29T00:00:00", "2108-02-29T00:00:00"]),
        ("cron(0 0/12 1 1 ? 2030,2199)", ["2030-01-01T00:00:00", "2030-01-01T12:00:00", "2199-01-01T00:00:00"]),
        ("at(2026-06-01T12:00:01)", ["2026-06-01T12:00:01"]),
        ("at(2025-06-01T12:00:01)", []),
        ("rate(1 minute)", ["2026-01-01T00:01:00", "2026-01-01T00:02:00", "2026-01-01T00:03:00"]),
        ("rate(12 hours)", ["2026-01-01T12:00:00", "2026-01-02T00:00:00", "2026-01-02T12:00:00"]),
        ("rate(2 days)", ["2026-01-03T00:00:00", "2026-01-05T00:00:00", "2026-01-07T00:00:00"]),
    ],
)
def test_an_expression_fires_when_its_words_say(expression: str, expected: list[str]) -> None:
    assert slots(expression) == expected


def test_a_sixth_field_is_the_seconds_in_front_where_that_is_asked_for() -> None:
    assert slots("*/30 0 12 * * *", seconds_first=True) == [
        "2026-01-01T12:00:00",
        "2026-01-01T12:00:30",
        "2026-01-02T12:00:00",
    ]
    assert slots("0 12 * * *", seconds_first=True, count=1) == ["2026-01-01T12:00:00"]


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("61 * * * *", "is not a cron expression: minute 61 is over 59"),
        ("0 24 * * *", "hour 24 is over 23"),
        ("0 0 0 * *", "day of month 0 is under 1"),
        ("0 0 1 13 *", "month 13 is over 12"),
        ("0 0 * * 8", "day of week 8 is over 7"),
        ("0 0 * * fry", "day of week 'fry' is not a number or a name"),
        ("x * * * *", "minute 'x' is not a number"),
        ("1,,2 * * * *", "minute has an empty item"),
        ("*/0 * * * *", "minute '*/0' has a step of 0"),
        ("*/x * * * *", "minute '*/x' has no number after the slash"),
        ("/5 * * * *", "minute '/5' has no start"),
        ("١ * * * *", "minute '١' is not a number"),
        ("* * *", "expected 5 fields, got 3"),
        ("", "expected 5 fields, got 0"),
        ("0 */5 * * * *", "expected 5 fields, got 6; with seconds_first = true the first is the seconds"),
        ("0 0 31 2 *", "Day(s) [31] can never occur in month(s) [2]"),
        ("0 0 LW * *", 'day of month "LW" is not supported'),
        ("0 0 * * L", '"L5" is the last Friday of the month'),
        ("0 0 * * 1#6", "expected 1 to 5 after the #"),
        ("R * * * *", "minute 'r' is random"),
        ("R(0-9) * * * *", "is random"),
        ("H(70-80) * * * *", "minute 70 is over 59"),
        ("H(9-3) * * * *", "ends before it begins"),
        ("@reboot", "expected one of @yearly"),
        ("cron(0 12 * * ?)", "expected 6 fields (minute, hour, day, month, day of week, year), got 5"),
        ("cron(0 12 * * * *)", 'exactly one of day of month and day of week must be "?"'),
        ("cron(0 12 ? * ? *)", 'exactly one of day of month and day of week must be "?"'),
        ("cron(0 12 ? * 0 *)", "day of week 0 is under 1"),
        ("cron(0 12 * * ? 2200)", "year 2200 is over 2199"),
        ("cron(H 12 * * ? *)", "is not in AWS's syntax"),
        ("cron(0 0 29 2 ? 2027)", "no day is ever like that"),
        ("5- * * * *", "minute '5-' is a range without its end"),
        ("0 -5 * * *", "hour '-5' is a range without its beginning"),
        ("rate(1 minutes)", 'is not a rate: expected "rate(1 minute)"'),
        ("rate(5 minute)", 'is not a rate: expected "rate(5 minutes)"'),
        ("rate(0 minutes)", "expected a number and minutes, hours or days"),
        ("rate(30 seconds)", "expected a number and minutes, hours or days"),
        ("at(tomorrow)", "is not a moment: expected at(yyyy-mm-ddThh:mm:ss)"),
        ("at(2026-02-30T00:00:00)", "is not a moment: day is out of range"),
        ("at(0001-01-01T00:00:00)", "is not a moment: year 1 is under 1970"),
        ("at(9999-12-31T23:59:59)", "is not a moment: year 9999 is over 2199"),
    ],
)
def test_a_mistake_is_named_with_the_expression(expression: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(expression, timezone=UTC, name="nightly")
    assert str(caught.value).startswith(f'"{expression}" is not a')
    assert why in str(caught.value)


def test_seven_fields_are_refused_also_with_seconds() -> None:
    with pytest.raises(ValueError, match="expected 5 or 6 fields, got 7"):
        parse("0 0 0 * * * 2026", timezone=UTC, seconds_first=True)


def test_h_is_stable_for_a_trigger_and_spreads_triggers() -> None:
    def first(name: str) -> int | None:
        return parse("H H * * *", timezone=UTC, name=name).next(at(START))

    assert first("a") == first("a")
    assert len({first(f"trigger-{number}") for number in range(20)}) > 10


def test_h_keeps_to_its_range() -> None:
    for number in range(20):
        slot = parse("H(10-19) H(3-4) * * *", timezone=UTC, name=f"t{number}").next(at(START))
        assert slot is not None
        moment = datetime.fromtimestamp(slot / 1000, UTC)
        assert (10 <= moment.minute <= 19, 3 <= moment.hour <= 4) == (True, True)


@pytest.mark.parametrize(
    ("expression", "code", "message"),
    [
        ("0 0 13 * 5", "cron-both-days", '"0 0 13 * 5" fires on every 13th and on every Friday'),
        ("0 0 1,22 * sun", "cron-both-days", "fires on every 1st and 22nd and on every Sunday"),
        ("0 0 L * 5#2", "cron-both-days", "fires on every last day of the month and on every 2nd Friday"),
        ("0 0 3 * L1", "cron-both-days", "fires on every 3rd and on every last Monday"),
        ("*/90 * * * *", "cron-step", "'*/90' is minute 0 alone: the step 90 is longer than the cycle"),
        ("0 */24 * * *", "cron-step", "'*/24' is hour 0 alone"),
        ("H/70 * * * *", "cron-step", "'H/70' is one minute alone: the step 70 is longer than the cycle"),
        (
            "0 0 15W * H",
            "cron-both-days",
            "on every working day nearest to the 15th and on every day of the week that H",
        ),
    ],
)
def test_what_is_hardly_meant_is_warned_of(expression: str, code: str, message: str) -> None:
    (warned,) = parse(expression, timezone=UTC, name="nightly").warnings
    assert warned.code == code
    assert message in warned.message


@pytest.mark.parametrize("expression", ["*/30 * * * *", "0 0 13 * *", "0 0 * * 5", "cron(0 0 13 * ? *)", "rate(1 day)"])
def test_what_is_meant_is_not_warned_of(expression: str) -> None:
    assert parse(expression, timezone=UTC).warnings == ()


def test_a_rate_counts_from_its_anchor() -> None:
    anchor = at(START) + 1234
    schedule = parse("rate(5 minutes)", timezone=UTC).anchored(anchor)
    assert schedule.next(anchor - 1) == anchor + 300_000
    assert schedule.next(anchor) == anchor + 300_000
    assert schedule.next(anchor + 300_000) == anchor + 600_000
    assert schedule.next(anchor + 299_999) == anchor + 300_000


@pytest.mark.parametrize(
    ("expression", "last", "now", "policy", "expected"),
    [
        ("0 * * * *", START, "2026-01-01T03:30:00", "once", ["2026-01-01T03:00:00"]),
        ("0 * * * *", START, "2026-01-01T02:00:00", "all", ["2026-01-01T01:00:00", "2026-01-01T02:00:00"]),
        ("0 * * * *", START, "2026-01-01T03:30:00", "skip", []),
        ("0 * * * *", START, "2026-01-01T00:59:59", "once", []),
        ("0 * * * *", START, "2025-12-31T00:00:00", "all", []),
        ("@yearly", "2020-06-01T00:00:00", START, "once", [START]),
        ("at(2025-01-01T00:00:00)", "2020-06-01T00:00:00", START, "all", ["2025-01-01T00:00:00"]),
    ],
)
def test_missed(expression: str, last: str, now: str, policy: Policy, expected: list[str]) -> None:
    found = missed(parse(expression, timezone=UTC), at(last), at(now), policy)
    assert [show(slot) for slot in found] == expected


def test_of_very_many_missed_slots_the_newest_are_kept() -> None:
    now = at("2036-01-01T00:00:00")
    found = missed(parse("* * * * *", timezone=UTC), at(START), now, "all")
    assert found == [now - 60_000 * back for back in reversed(range(MISSED_MOST))]


NUMBERS = st.sampled_from(["*", "*/7", "0", "30", "15,45", "1-3", "H"])
MOMENTS = st.integers(at("2025-12-01T00:00:00"), at("2027-01-31T00:00:00"))


@settings(max_examples=150, deadline=None)
@given(minute=NUMBERS, hour=st.sampled_from(["*", "*/2", "2", "1-3", "0,12"]), start=MOMENTS)
def test_slots_strictly_grow_and_no_moment_between_has_another(minute: str, hour: str, start: int) -> None:
    schedule = parse(f"{minute} {hour} * * *", timezone=BERLIN, name="any")
    moment = start
    for _ in range(4):
        slot = schedule.next(moment)
        assert slot is not None
        assert slot > moment
        assert schedule.next((moment + slot) // 2) == slot
        assert schedule.next(slot - 1) == slot
        moment = slot


@settings(max_examples=40, deadline=None)
@given(start=MOMENTS, length=st.integers(0, 10_000_000))
def test_the_newest_missed_slot_is_the_last_of_all(start: int, length: int) -> None:
    schedule = parse("*/13 * * * *", timezone=BERLIN)
    everything = missed(schedule, start, start + length, "all")
    assert missed(schedule, start, start + length, "once") == everything[-1:]
