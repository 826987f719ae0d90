"""What the schedule's source says of itself without running."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from sources import cron
from triggerhub.settings import HOUR, MINUTE
from triggerhub.source import Source
from triggerhub.testing import START, trigger

TRIGGER = trigger("tick", "cron")


def options(schedule: str = "* * * * *", **values: Any) -> cron.Options:
    return cron.Options(schedule=schedule, **values)


def test_the_module_is_a_source() -> None:
    assert isinstance(cron, Source)


def test_the_defaults() -> None:
    values = options()
    assert (values.missed, values.overlap, values.jitter, values.timezone) == ("once", "queue", 0, None)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"timezone": "Berlin"}, "'Berlin' is not a time zone"),
        ({"timezone": "../etc/passwd"}, "is not a time zone"),
        ({"timezone": ""}, "is not a time zone"),
        ({"missed": "some"}, "'once', 'all' or 'skip'"),
        ({"overlap": "wait"}, "'allow', 'skip' or 'queue'"),
        ({"jitter": 30}, "expected a word with a unit"),
        ({"jitter": "25h"}, "less than or equal"),
        ({"every": "5m"}, "Extra inputs are not permitted"),
    ],
)
def test_options_that_are_refused(values: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        options(**values)


def test_a_bad_schedule_is_an_error_in_the_user_s_words() -> None:
    (finding,) = cron.check(options("61 * * * *"), TRIGGER)
    assert (finding.option, finding.code, finding.warning) == ("schedule", "bad-cron", False)
    assert finding.message == '"61 * * * *" is not a cron expression: minute 61 is over 59'


@pytest.mark.parametrize(
    ("schedule", "code", "message"),
    [
        ("0 0 13 * 5", "cron-both-days", '"0 0 13 * 5" fires on every 13th and on every Friday'),
        ("at(2020-01-01T00:00:00)", "cron-over", '"at(2020-01-01T00:00:00)" has no time to come'),
        ("cron(0 0 1 1 ? 2019)", "cron-over", '"cron(0 0 1 1 ? 2019)" has no time to come'),
        ("*/90 * * * *", "cron-step", "'*/90' is minute 0 alone: the step 90 is longer than the cycle"),
    ],
)
def test_what_is_hardly_meant_is_a_warning(schedule: str, code: str, message: str) -> None:
    (finding,) = cron.check(options(schedule), TRIGGER)
    assert (finding.code, finding.message, finding.warning) == (code, message, True)


def test_six_fields_are_an_error_unless_asked_for() -> None:
    (finding,) = cron.check(options("0 */5 * * * *"), TRIGGER)
    assert "seconds_first = true" in finding.message
    assert list(cron.check(options("0 */5 * * * *", seconds_first=True), TRIGGER)) == []


@pytest.mark.parametrize(
    ("values", "option"),
    [
        ({"schedule": "@daily", "seconds_first": True}, "seconds_first"),
        ({"schedule": "cron(0 12 * * ? *)", "seconds_first": True}, "seconds_first"),
        ({"schedule": "rate(5 minutes)", "timezone": "Europe/Berlin"}, "timezone"),
    ],
)
def test_an_option_that_the_schedule_has_no_use_for_is_refused(values: dict[str, Any], option: str) -> None:
    (finding,) = cron.check(options(**values), TRIGGER)
    assert (finding.option, finding.code, finding.hint) == (option, "cron-unused", f"leave {option} out")


def test_upcoming_is_the_next_slot_in_the_hub_s_zone_unless_the_trigger_has_its_own() -> None:
    noon = options("0 12 * * *")
    assert cron.upcoming(noon, TRIGGER, START, UTC) == START + 12 * HOUR
    assert cron.upcoming(noon, TRIGGER, START, ZoneInfo("Europe/Berlin")) == START + 11 * HOUR
    own = options("0 12 * * *", timezone="America/New_York")
    assert cron.upcoming(own, TRIGGER, START, UTC) == START + 17 * HOUR


def test_upcoming_counts_the_jitter_of_a_slot_that_has_passed_too() -> None:
    late = options("@hourly", jitter="30m")
    moment = cron.upcoming(late, TRIGGER, START + MINUTE, UTC)
    assert moment is not None
    assert cron.upcoming(late, TRIGGER, moment - 1, UTC) == moment
    assert START + MINUTE < moment <= START + HOUR + 30 * MINUTE


@pytest.mark.parametrize("schedule", ["rate(5 minutes)", "at(2020-01-01T00:00:00)"])
def test_upcoming_is_none_where_nothing_or_only_the_store_knows(schedule: str) -> None:
    assert cron.upcoming(options(schedule), TRIGGER, START, UTC) is None


def test_firing_by_hand_is_no_slot() -> None:
    event = cron.fire(options(), "tick", START)
    assert event.dedup_key is None
    assert json.loads(event.data)["time"] == "2026-01-01T00:00:00Z"
    assert json.loads(event.data)["detail-type"] == "Scheduled Event"


def test_the_id_is_that_of_the_trigger_and_the_slot() -> None:
    def id_of(name: str, slot: int) -> str:
        text: str = json.loads(cron.fire(options(), name, slot).data)["id"]
        return text

    assert id_of("tick", START) == id_of("tick", START)
    assert len({id_of("tick", START), id_of("tock", START), id_of("tick", START + MINUTE)}) == 3


def test_there_is_a_sample() -> None:
    samples = cron.samples(options(), "tick", START)
    assert list(samples) == ["scheduled"]
    assert samples["scheduled"].ordering_key == "tick"
