"""Hold docs/cron.md to what it says."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from triggerhub.aws import arn, eventbridge
from triggerhub.policy.schedule import MISSED_MOST, parse
from triggerhub.policy.units import duration

TEXT = (Path(__file__).parents[2] / "docs" / "cron.md").read_text(encoding="utf-8")
PARTS = {part.partition("\n")[0]: part for part in TEXT.split("\n## ")}
START = 1_767_225_600_000


def rows(part: str) -> list[list[str]]:
    """The tables' rows below their headings, cell by cell, without quotes."""
    lines = re.findall(r"^\| (`.+) \|$", PARTS[part], re.MULTILINE)
    cells = [[cell.strip() for cell in re.split(r" ?\| ?", line)] for line in lines]
    return [[re.sub(r"^`(.*)`$", r"\1", cell) for cell in row] for row in cells]


FIVE = [row[0] for row in rows("Five fields")]


@pytest.mark.parametrize("expression", [*FIVE, *(row[0] for row in rows("AWS's forms"))])
def test_each_schedule_is_understood_and_fires(expression: str) -> None:
    fields = 6 if expression in FIVE and len(expression.split()) == 6 else 5
    assert parse(expression, timezone=UTC, seconds_first=fields == 6, name="nightly").next(START) is not None


def test_the_tables_are_found_whole() -> None:
    counts = [len(rows(part)) for part in ("Five fields", "AWS's forms", "What is refused", "When clocks change")]
    assert counts == [18, 7, 8, 5]


@pytest.mark.parametrize("alias", re.findall(r"`(@\w+)`", PARTS["Five fields"]))
def test_each_alias_is_understood(alias: str) -> None:
    assert parse(alias, timezone=UTC).next(START) is not None


@pytest.mark.parametrize("expression", ["0 0 13 * 5", "*/90 * * * *"])
def test_each_warning_is_given(expression: str) -> None:
    (warned,) = parse(expression, timezone=UTC).warnings
    assert f"`{expression}`" in PARTS["Five fields"]
    assert f"(`{warned.code}`)" in PARTS["Five fields"]


@pytest.mark.parametrize(("expression", "why"), rows("What is refused"))
def test_each_refusal_is_as_the_text_says(expression: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(expression, timezone=UTC, name="nightly")
    assert why in str(caught.value)


@pytest.mark.parametrize(("expression", "day", "expected"), rows("When clocks change"))
def test_each_change_of_the_clocks_is_as_the_text_says(expression: str, day: str, expected: str) -> None:
    schedule = parse(expression, timezone=ZoneInfo("Europe/Berlin"))
    start = int(datetime.fromisoformat(f"{day}T00:00+00:00").timestamp() * 1000)
    found, slot = [], schedule.next(start - 1)
    while slot is not None and slot < start + 86_400_000:
        found.append(datetime.fromtimestamp(slot / 1000, UTC).strftime("%H:%M"))
        slot = schedule.next(slot)
    assert ", ".join(found) == expected


def test_the_event_is_as_the_text_shows_it() -> None:
    shown = json.loads(re.findall(r"```json event\n(.*?)```", TEXT, re.DOTALL)[0])
    nightly = tomllib.loads(re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)[0])["triggers"]["nightly"]
    plan = parse(nightly["schedule"], timezone=ZoneInfo(nightly["timezone"]))
    slot = plan.next(int(datetime.fromisoformat("2026-05-31T12:00+00:00").timestamp() * 1000))
    assert slot is not None
    assert duration(nightly["jitter"]) == 300_000
    assert json.loads(eventbridge.scheduled(event_id=shown["id"], time=slot, rule_arn=arn.rule("nightly"))) == shown


def test_the_number_of_missed_slots_is_as_the_text_says() -> None:
    assert f"the newest {MISSED_MOST}," in PARTS["After downtime"]
