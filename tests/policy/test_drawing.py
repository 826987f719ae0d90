"""What pages draw: groups of errors, quantiles, JSON for reading, the life of a delivery, the plot of many."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggerhub.model import Attempt, Delivery, Fault, State
from triggerhub.policy.grouping import Grave, fingerprint, group, shown
from triggerhub.policy.prettyjson import pretty
from triggerhub.policy.quantile import quantile
from triggerhub.policy.scatter import plot
from triggerhub.policy.timeline import phases, waited

NOW = 1_767_225_600_000


def delivery(**facts: Any) -> Delivery:
    return Delivery(**{
        "id": "d", "event_id": "e", "trigger": "t", "function": "f", "state": State.SUCCEEDED, "attempts": 1,
        "created": NOW, "due": NOW, **facts,
    })  # fmt: skip


def attempt(started: int, length: float, outcome: str = "raised") -> Attempt:
    error = None if outcome == "returned" else Fault(type="E", message="no")
    return Attempt(request_id="r", started=started, duration_ms=length, version="v", outcome=outcome, error=error)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order 7 failed", "order 123,456.5 failed"),
        ("no 019a0000-0000-7000-8000-000000000001", "no 019A0000-0000-7000-8000-0000000000FF"),
        ("object at 0x7f00 is bad", "object at 0xDEAD is bad"),
        ("blob 0123456789abcdef", "blob fedcba9876543210"),
        ("a  b\nc", "a b c"),
    ],
)
def test_errors_that_differ_in_what_changes_are_one(one: str, other: str) -> None:
    assert fingerprint("E", one) == fingerprint("E", other)


@pytest.mark.parametrize(("one", "other"), [("'name'", "'age'"), ("added", "faded"), ("", "x")])
def test_errors_that_differ_in_words_are_two(one: str, other: str) -> None:
    assert fingerprint("E", one) != fingerprint("E", other)
    assert fingerprint("E", one) != fingerprint("F", one)


def test_a_group_is_shown_by_the_fingerprint_of_what_is_shown() -> None:
    grave = Grave(function="f", type="E", message="no: pa55word", count=1, first=1, last=1, newest="a")
    (one,) = group([grave])
    hidden = shown(one, lambda text: text.replace("pa55word", "•••"))
    assert (hidden.sample, hidden.fingerprint) == ("E: no: •••", "E: no: •••")
    assert shown(one, str) == one


def test_groups_count_and_know_their_first_last_and_newest() -> None:
    graves = [
        Grave(function="f", type="E", message="order 1", count=2, first=10, last=20, newest="b"),
        Grave(function="f", type="E", message="order 2", count=3, first=5, last=15, newest="c"),
        Grave(function="g", type=None, message=None, count=1, first=30, last=30, newest="a"),
    ]
    second, first = sorted(group(graves), key=lambda one: one.function, reverse=True)
    assert group(graves)[0] == second, "the newest death comes first"
    assert (first.count, first.first, first.last, first.newest, first.sample) == (5, 5, 20, "c", "E: order 2")
    assert (second.fingerprint, second.sample) == ("", "")


@pytest.mark.parametrize(
    ("share", "cells", "expected"),
    [
        pytest.param(0.5, [], None, id="nothing"),
        pytest.param(0.95, [(1, 7.0)], 7.0, id="a single one is itself"),
        pytest.param(0.5, [(1, 6.0), (1, 6.5)], 6.0, id="half of two is the lower"),
        pytest.param(0.95, [(1, 6.0), (1, 6.5)], 6.5, id="most of two is the higher"),
        pytest.param(0.95, [(95, 950.0), (5, 5000.0)], 10.0, id="just so many"),
        pytest.param(0.95, [(94, 940.0), (6, 6000.0)], 1000.0, id="one fewer"),
        pytest.param(1.0, [(2, 9.0), (3, 60.0)], 20.0, id="the mean of the last"),
    ],
)
def test_quantile(share: float, cells: list[tuple[int, float]], expected: float | None) -> None:
    assert quantile(share, cells) == expected


@settings(max_examples=80)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_json_that_is_laid_out_is_the_same_json(value: object) -> None:
    assert pretty(json.dumps(value)) == json.dumps(value, indent=2)
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=7)):
        assert json.loads(pretty(text)) == value
        assert re.sub(r'("(?:[^"\\]|\\.)*")|\s', r"\1", pretty(text)) == re.sub(r'("(?:[^"\\]|\\.)*")|\s', r"\1", text)


def test_numbers_and_repeated_members_stay_as_they_came() -> None:
    assert pretty('{"a":[1.10,{}],"a":{"b":1e999}}') == (
        '{\n  "a": [\n    1.10,\n    {}\n  ],\n  "a": {\n    "b": 1e999\n  }\n}'
    )


@settings(max_examples=60)
@given(text=st.text(alphabet='{}[],:"\\ ab1\n', max_size=60))
def test_what_is_no_json_loses_nothing_but_space(text: str) -> None:
    assert pretty(text).split() == [] or "".join(pretty(text).split()) == "".join(text.split())


def test_a_life_is_waits_and_attempts() -> None:
    row = delivery(state=State.DEAD, finished=NOW + 1000, attempts=2)
    found = phases(row, [attempt(NOW + 100, 50), attempt(NOW + 500, 500)], now=NOW + 9000)
    assert [(one.kind, one.number, one.length) for one in found] == [
        ("queued", 0, 100), ("raised", 1, 50), ("backoff", 0, 350), ("raised", 2, 500),
    ]  # fmt: skip
    assert (found[0].left, found[-1].left + found[-1].width) == (0, 1)


def test_what_it_lay_there_after_its_end_is_no_backoff_and_drawn_short() -> None:
    row = delivery(state=State.SUCCEEDED, finished=NOW + 90_000_100, attempts=1)
    attempts = [attempt(NOW, 100), attempt(NOW + 200, 100), attempt(NOW + 90_000_000, 100, "returned")]
    found = phases(row, attempts, now=NOW)
    assert [one.kind for one in found] == ["raised", "backoff", "raised", "ended", "returned"]
    assert found[3].length == 89_999_700
    assert [round(one.width, 2) for one in found] == [0.23, 0.23, 0.23, 0.09, 0.23]
    assert found[-1].left + found[-1].width == pytest.approx(1)
    again = delivery(state=State.QUEUED, attempts=0, due=NOW + 5000)
    assert [one.kind for one in phases(again, attempts[:2], now=NOW + 6000)][-1] == "ended"
    lost = [attempt(NOW, 100), attempt(NOW + 200, 100, "interrupted"), attempt(NOW + 900, 100)]
    assert "ended" not in [one.kind for one in phases(delivery(attempts=2), lost, now=NOW)]


@pytest.mark.parametrize(
    ("facts", "began", "late"),
    [
        pytest.param({}, [], False, id="has not begun"),
        pytest.param({}, [999], False, id="at once"),
        pytest.param({}, [1000], True, id="late"),
        pytest.param({"due": NOW + 5000}, [5999], False, id="delayed"),
        pytest.param({"due": NOW + 5000}, [6000], True, id="delayed and late"),
        pytest.param({"due": NOW + 5000}, [0, 5000], False, id="its retry is no wait to begin"),
        pytest.param({"due": NOW + 5000}, [2000, 5000], True, id="late, and tried again"),
        pytest.param({"due": NOW + 5000, "state": State.QUEUED}, [2000], True, id="late, and to be tried again"),
    ],
)
def test_whether_an_attempt_began_late(facts: dict[str, Any], began: list[int], late: bool) -> None:
    assert waited(delivery(**facts), [attempt(NOW + at, 10) for at in began]) == late


@pytest.mark.parametrize(
    ("state", "attempts", "kinds"),
    [
        pytest.param(State.QUEUED, [], ["queued"], id="waits"),
        pytest.param(State.QUEUED, [attempt(NOW, 5)], ["raised", "backoff"], id="waits for its next attempt"),
        pytest.param(State.RUNNING, [attempt(NOW, 5)], ["raised", "backoff", "running"], id="runs"),
        pytest.param(State.CANCELLED, [], ["queued"], id="ended before it ran"),
    ],
)
def test_a_life_that_is_not_over(state: State, attempts: list[Attempt], kinds: list[str]) -> None:
    own = len(attempts) + (state is State.RUNNING)
    row = delivery(state=state, due=NOW + 200, finished=NOW + 100 if state.finished else None, attempts=own)
    assert [one.kind for one in phases(row, attempts, now=NOW + 300)] == kinds


@settings(max_examples=60)
@given(durations=st.lists(st.none() | st.floats(0, 1e9), max_size=20), gap=st.integers(0, 10**9))
def test_every_dot_lies_on_the_plot(durations: list[float | None], gap: int) -> None:
    rows = [delivery(id=str(n), created=NOW + n * gap, duration_ms=one) for n, one in enumerate(durations)]
    drawn = plot(rows)
    if drawn is None:
        assert not any(durations)
    else:
        assert all(0 <= dot.x <= 1 and 0 <= dot.y <= 1 for dot in drawn.dots)
        assert len(drawn.dots) == len(rows)
