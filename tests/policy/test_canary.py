"""A new version is rolled back as soon as it cannot be good enough any more, and promoted when its time is over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.canary import Tally, Terms, Verdict, judge, told
from triggerhub.settings import MINUTE, SECOND

TERMS = Terms(most=5, length=10 * MINUTE, least=20)


@pytest.mark.parametrize(
    ("calls", "errors", "watched", "verdict"),
    [
        (0, 0, 0, "go on"),
        (1, 1, 0, "go on"),
        (2, 2, 0, "roll back"),
        (20, 1, 0, "go on"),
        (20, 2, 0, "roll back"),
        (1000, 50, 10 * MINUTE - 1, "go on"),
        (1000, 50, 10 * MINUTE, "promote"),
        (1000, 51, 10 * MINUTE, "roll back"),
        (19, 0, 60 * MINUTE, "go on"),
        (20, 0, 60 * MINUTE, "promote"),
    ],
)
def test_the_verdict(calls: int, errors: int, watched: int, verdict: Verdict) -> None:
    assert judge(TERMS, Tally(calls=calls, errors=errors, watched=watched)) == verdict


def test_where_none_may_fail_the_first_failure_ends_it() -> None:
    strict = Terms(most=0, length=SECOND, least=0)
    assert judge(strict, Tally(calls=10_000, errors=1, watched=SECOND)) == "roll back"
    assert judge(strict, Tally(watched=SECOND)) == "promote"


@given(
    most=st.floats(0, 99.9),
    least=st.integers(0, 1000),
    calls=st.integers(0, 10_000),
    share=st.floats(0, 1),
    watched=st.integers(0, 10 * MINUTE),
)
def test_nothing_is_promoted_that_fails_too_often_or_was_not_seen_enough(
    most: float, least: int, calls: int, share: float, watched: int
) -> None:
    terms, errors = Terms(most=most, length=5 * MINUTE, least=least), int(calls * share)
    verdict = judge(terms, Tally(calls=calls, errors=errors, watched=watched))
    if verdict == "promote":
        assert 100 * errors <= most * max(calls, least)
        assert calls >= least
        assert watched >= terms.length
    if verdict == "roll back":
        # Whatever else may come of the least number of calls, too many of them have failed.
        assert 100 * errors > most * max(calls, least)
    if errors == 0:
        assert verdict != "roll back"


@pytest.mark.parametrize(
    ("tally", "says"),
    [
        (Tally(), "0 of 0 calls failed in 0ms; 5% may"),
        (Tally(calls=2, errors=2, watched=450), "2 of 2 calls failed (100%) in 450ms; 5% may"),
        (Tally(calls=40, errors=3, watched=61_500), "3 of 40 calls failed (7.5%) in 61s; 5% may"),
        (Tally(calls=2000, errors=0, watched=10 * MINUTE), "0 of 2,000 calls failed (0%) in 10m; 5% may"),
    ],
)
def test_what_was_seen_is_said(tally: Tally, says: str) -> None:
    assert told(TERMS, tally) == says
