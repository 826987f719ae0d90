"""When an alarm goes off, and when it is over."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy import alarm
from triggerhub.policy.alarm import CALM, Standing
from triggerhub.settings import HOUR, MINUTE, SECOND


@pytest.mark.parametrize(
    ("text", "measure", "name", "comparison", "bound", "window"),
    [
        ("errors(ship-order) > 5 in 10m", "errors", "ship-order", ">", 5, 10 * MINUTE),
        ("  error_rate( a )>=2.5 %   in 1h ", "error_rate", "a", ">=", 2.5, HOUR),
        ("p95(a_b) > 1m30s in 10s", "p95", "a_b", ">", 90 * SECOND, 10 * SECOND),
        ("succeeded(nightly) < 1 in 25h", "succeeded", "nightly", "<", 1, 25 * HOUR),
        ("lag(orders) > 5m", "lag", "orders", ">", 5 * MINUTE, None),
        ("queued(orders) <= 0", "queued", "orders", "<=", 0, None),
    ],
)
def test_a_sentence_is_read(text: str, measure: str, name: str, comparison: str, bound: float, window: int) -> None:
    read = alarm.parse(text)
    assert (read.measure, read.name, read.comparison, read.bound, read.window) == (
        measure, name, comparison, bound, window,
    )  # fmt: skip
    assert alarm.parse(read.text) == read


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a sentence like"),
        ("errors > 5 in 10m", "expected a sentence like"),
        ("errors(a) = 5 in 10m", "expected a sentence like"),
        ("errors(a) > 5 in", "expected a sentence like"),
        ("eror(a) > 5 in 10m", "did you mean errors"),
        ("nonsense(a) > 5 in 10m", "there is errors, error_rate"),
        ("errors() > 5 in 10m", r"errors is taken of one function: errors\(NAME\)"),
        ("errors(a) > 5", "add one, like 'in 10m'"),
        ("errors(a) > 5% in 10m", "a number, not percent"),
        ("errors(a) > five in 10m", "'five' is no number"),
        ("errors(a) > -1 in 10m", "'-1' is no number"),
        ("errors(a) > 5 in 10", "is not a duration"),
        ("errors(a) > 5 in 1s", "not between 10s and 1w"),
        ("errors(a) > 5 in 8d", "not between 10s and 1w"),
        ("error_rate(a) > 5 in 10m", "write percent, like 5%"),
        ("p95(a) > 5 in 10m", "is not a duration"),
        ("lag(a) > 5m in 10m", "leave out 'in 10m'"),
    ],
)
def test_what_is_no_sentence_is_refused_with_what_was_expected(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        alarm.parse(text)


OK = Standing(since=0, seen=0)
ON = Standing(since=0, seen=0, state="alarm")


@pytest.mark.parametrize(
    ("standing", "holds", "now", "hold", "repeat", "state", "change"),
    [
        (OK, False, 1000, 0, None, "ok", None),
        (OK, None, 1000, 0, None, "ok", None),
        (OK, True, 1000, 0, None, "alarm", "alarm"),
        (OK, True, 1000, 500, None, "ok", None),
        (replace(OK, turning=400), True, 1000, 600, None, "alarm", "alarm"),
        (ON, True, 1000, 0, None, "alarm", None),
        (ON, None, 1000, 0, None, "alarm", None),
        (ON, True, 1000, 0, 1000, "alarm", "again"),
        (ON, True, 999, 0, 1000, "alarm", None),
        (ON, False, CALM * 2, 0, None, "alarm", None),
        (replace(ON, turning=1000), False, 1000 + CALM, 0, None, "ok", "ok"),
        (replace(ON, turning=1000), False, 1000 + CALM, CALM + 1, None, "alarm", None),
    ],
)
def test_it_goes_from_state_to_state(
    standing: Standing, holds: bool | None, now: int, hold: int, repeat: int | None, state: str, change: str | None
) -> None:
    after, told = alarm.step(standing, holds, now, hold=hold, repeat=repeat)
    assert (after.state, told) == (state, change)


@pytest.mark.parametrize(
    ("value", "now", "seen", "begun", "holds"),
    [
        pytest.param(0, 2 * HOUR - 1, HOUR, 0, None, id="written within the window"),
        pytest.param(0, 2 * HOUR - 1, 0, HOUR, None, id="measured for less than a window, as after a restart"),
        pytest.param(0, 2 * HOUR, HOUR, HOUR, True, id="a whole window"),
        pytest.param(1, 2 * HOUR - 1, HOUR, HOUR, False, id="enough, however soon"),
    ],
)
def test_too_little_is_judged_once_the_window_has_been_seen(
    value: float, now: int, seen: int, begun: int, holds: bool | None
) -> None:
    when, standing = alarm.parse("accepted(a) < 1 in 1h"), replace(OK, seen=seen)
    assert alarm.judge(when, standing, value, now, begun=begun) is holds


def test_an_edited_alarm_stays_where_it_is_and_is_judged_anew() -> None:
    was = Standing(since=5, seen=1, state="alarm", turning=7, told=6)
    assert alarm.changed(was, 9) == Standing(since=5, seen=9, state="alarm", told=6)


def test_too_much_is_judged_at_once() -> None:
    assert alarm.judge(alarm.parse("errors(a) > 1 in 1h"), OK, 2, 1, begun=0) is True


@pytest.mark.parametrize("standing", [OK, ON], ids=["off", "on"])
@pytest.mark.parametrize("sentence", ["p95(a) > 2s in 5m", "p99(a) < 1s in 5m", "error_rate(a) >= 5% in 5m"])
@pytest.mark.parametrize(
    ("now", "begun", "holds"),
    [
        pytest.param(HOUR, 0, False, id="a whole window"),
        pytest.param(HOUR, HOUR - 5 * MINUTE, False, id="just a window"),
        pytest.param(HOUR, HOUR - 5 * MINUTE + 1, None, id="not yet a window"),
        pytest.param(HOUR, 2 * HOUR, None, id="a clock that was put back"),
    ],
)
def test_a_window_in_which_nothing_is_measured_is_no_trouble(
    standing: Standing, sentence: str, now: int, begun: int, holds: bool | None
) -> None:
    assert alarm.judge(alarm.parse(sentence), standing, None, now, begun=begun) is holds


@given(
    sentence=st.sampled_from(["p50(a) > 2s in 5m", "p95(a) < 1m in 5m", "error_rate(a) <= 5% in 5m"]),
    values=st.lists(st.tuples(st.integers(0, MINUTE), st.none() | st.floats(0, 1e7)), max_size=40),
    hold=st.integers(0, 3 * MINUTE),
    repeat=st.none() | st.integers(MINUTE, HOUR),
)
def test_once_nothing_is_measured_it_goes_off_no_more_and_ends(
    sentence: str, values: list[tuple[int, float | None]], hold: int, repeat: int | None
) -> None:
    when, now, standing = alarm.parse(sentence), 0, alarm.begin(0)
    for passed, value in values:
        now += passed
        holds = alarm.judge(when, standing, value, now, begun=0)
        before = standing.state
        standing, change = alarm.step(standing, holds, now, hold=hold, repeat=repeat)
        assert not (value is None and before == "ok" and change), "what is off stays off"
    now = max(now, 5 * MINUTE)
    told = []
    for look in range(0, max(hold, CALM) + 10 * SECOND, 10 * SECOND):
        holds = alarm.judge(when, standing, None, now + look, begun=0)
        standing, change = alarm.step(standing, holds, now + look, hold=hold, repeat=repeat)
        told += [change] if change else []
    assert standing.state == "ok"
    assert told in ([], ["ok"])


@given(
    looks=st.lists(st.tuples(st.integers(0, 5 * MINUTE), st.sampled_from([True, False, None])), max_size=60),
    hold=st.integers(0, 3 * MINUTE),
    repeat=st.none() | st.integers(MINUTE, HOUR),
)
def test_what_is_told_makes_sense(looks: list[tuple[int, bool | None]], hold: int, repeat: int | None) -> None:
    standing, now, told = alarm.begin(0), 0, []
    for passed, holds in looks:
        now += passed
        before = standing
        standing, change = alarm.step(standing, holds, now, hold=hold, repeat=repeat)
        assert (change in ("alarm", "ok")) == (standing.state != before.state)
        if change == "again":
            assert holds is not False
            assert now - before.told >= (repeat or 0)
        if change == "ok":
            assert now - (before.turning or now) >= max(hold, CALM)
        if change:
            told.append(change)
    turns = [one for one in told if one != "again"]
    assert turns == ["alarm", "ok"] * (len(turns) // 2) + ["alarm"] * (len(turns) % 2)
    if repeat is None:
        assert "again" not in told
