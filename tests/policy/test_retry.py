"""The table and the bounds of the retry policy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.model import (
    Bury,
    Complete,
    Crashed,
    Decision,
    Delivery,
    Fault,
    Interrupted,
    Outcome,
    Raised,
    Retry,
    Returned,
    State,
    TimedOut,
)
from triggerhub.policy.retry import HOPS, LOST, backoff, decide, hopeless
from triggerhub.settings import HOUR, MINUTE, SECOND, RetryPolicy

NOW = 1_767_225_600_000
FAULT = Fault(type="ValueError", message="no")
RAISED = Raised(fault=FAULT, payload=b"{}")
TIMED_OUT = TimedOut(fault=FAULT, payload=b"{}")
CRASHED = Crashed(fault=FAULT, payload=b"{}")
SCARCE = Crashed(fault=FAULT, payload=b"{}", scarce=True)
SEVERED = Crashed(fault=FAULT, payload=b"{}", severed=True)
POLICY = RetryPolicy(attempts=3, initial=SECOND, max=5 * MINUTE, jitter=False, max_age=6 * HOUR)


def delivery(attempts: int, age: int = 0) -> Delivery:
    return Delivery(
        id="d",
        event_id="e",
        trigger="t",
        function="f",
        state=State.RUNNING,
        attempts=attempts,
        created=NOW - age,
        due=NOW,
    )


@pytest.mark.parametrize(
    ("attempts", "age", "outcome", "expected"),
    [
        pytest.param(1, 0, Returned(payload=b"{}"), Complete(), id="returned"),
        pytest.param(9, 9 * HOUR, Returned(payload=b"{}"), Complete(), id="returned is done however old"),
        pytest.param(1, 0, RAISED, Retry(NOW + SECOND), id="first failure"),
        pytest.param(2, 0, TIMED_OUT, Retry(NOW + 2 * SECOND), id="second failure"),
        pytest.param(3, 0, CRASHED, Bury("failed 3 of 3 attempts"), id="attempts spent"),
        pytest.param(3, 9 * HOUR, SCARCE, Retry(NOW + 3 * SECOND, counted=False), id="the host had no room"),
        pytest.param(5, 0, RAISED, Bury("failed 5 attempts, 3 allowed"), id="policy tightened meanwhile"),
        pytest.param(1, 6 * HOUR - SECOND, RAISED, Retry(NOW + SECOND), id="just young enough"),
        pytest.param(
            1,
            6 * HOUR - SECOND + 1,
            RAISED,
            Bury("older than 6h at its next attempt"),
            id="too old at the next attempt",
        ),
        pytest.param(3, 7 * HOUR, RAISED, Bury("failed 3 of 3 attempts"), id="attempts are looked at before age"),
        pytest.param(3, 7 * HOUR, Interrupted(), Retry(NOW, counted=False), id="interrupted never counts"),
    ],
)
def test_decide(attempts: int, age: int, outcome: Outcome, expected: Decision) -> None:
    assert decide(delivery(attempts, age), outcome, POLICY, now=NOW, draw=0.5) == expected


def test_a_call_that_lost_its_sandbox_with_all_others_is_run_again_at_once_but_not_for_ever() -> None:
    for claims in (3, 3 + LOST - 1):
        again = decide(replace(delivery(3, 9 * HOUR), claims=claims), SEVERED, POLICY, now=NOW, draw=0.5)
        assert again == Retry(NOW, counted=False)
    spent = replace(delivery(3), claims=3 + LOST)
    assert decide(spent, SEVERED, POLICY, now=NOW, draw=0.5) == Bury("failed 3 of 3 attempts")


def test_a_single_attempt_is_told_in_the_singular() -> None:
    decision = decide(delivery(1), RAISED, replace(POLICY, attempts=1), now=NOW, draw=0.0)
    assert decision == Bury("failed 1 of 1 attempt")


def test_without_max_age_nothing_is_too_old() -> None:
    policy = replace(POLICY, max_age=None)
    assert decide(delivery(1, 10_000 * HOUR), RAISED, policy, now=NOW, draw=0.0) == Retry(NOW + SECOND)


@pytest.mark.parametrize(
    ("ago", "expected"), [(HOUR, Retry(NOW + SECOND)), (6 * HOUR, Bury("older than 6h at its next attempt"))]
)
def test_what_was_redriven_is_as_new(ago: int, expected: Decision) -> None:
    redriven = replace(delivery(1, 10_000 * HOUR), since=NOW - ago)
    assert decide(redriven, RAISED, POLICY, now=NOW, draw=0.0) == expected


def test_jitter_can_keep_a_delivery_within_its_age() -> None:
    policy = replace(POLICY, jitter=True)
    aged = delivery(1, 6 * HOUR - SECOND // 2)
    assert decide(aged, RAISED, policy, now=NOW, draw=0.1) == Retry(NOW + 100)
    assert isinstance(decide(aged, RAISED, policy, now=NOW, draw=0.9), Bury)


@pytest.mark.parametrize(
    ("kind", "delays"),
    [
        ("exponential", [1000, 2000, 4000, 8000, 10_000, 10_000]),
        ("linear", [1000, 2000, 3000, 4000, 5000, 6000]),
        ("constant", [1000, 1000, 1000, 1000, 1000, 1000]),
    ],
)
def test_each_backoff_grows_its_own_way(kind: str, delays: list[int]) -> None:
    policy = RetryPolicy(backoff=kind, initial=1000, max=10_000, jitter=False)
    assert [backoff(attempt, policy, draw=0.5) for attempt in range(1, 7)] == delays


def test_an_initial_delay_over_the_maximum_is_capped() -> None:
    assert backoff(1, RetryPolicy(backoff="constant", initial=9000, max=5000, jitter=False), draw=0.0) == 5000


POLICIES = st.builds(
    RetryPolicy,
    backoff=st.sampled_from(["exponential", "linear", "constant"]),
    initial=st.integers(0, HOUR),
    max=st.integers(0, 10**12),
    jitter=st.booleans(),
)
DRAWS = st.floats(0, 1, exclude_max=True)


@given(attempt=st.integers(1, 10_000), policy=POLICIES, draw=DRAWS)
def test_backoff_stays_between_zero_and_the_maximum(attempt: int, policy: RetryPolicy, draw: float) -> None:
    assert 0 <= backoff(attempt, policy, draw=draw) <= policy.max


@given(attempt=st.integers(1, 10_000), policy=POLICIES)
def test_without_jitter_a_later_attempt_never_waits_less(attempt: int, policy: RetryPolicy) -> None:
    calm = replace(policy, jitter=False)
    assert backoff(attempt, calm, draw=0.0) <= backoff(attempt + 1, calm, draw=0.0)


@given(attempt=st.integers(1, 100), policy=POLICIES, draw=DRAWS)
def test_jitter_only_shortens(attempt: int, policy: RetryPolicy, draw: float) -> None:
    jittered = backoff(attempt, replace(policy, jitter=True), draw=draw)
    assert jittered <= backoff(attempt, replace(policy, jitter=False), draw=draw)


@pytest.mark.parametrize(
    ("lost", "hops", "loops", "says"),
    [
        (0, 0, False, None),
        (LOST - 1, HOPS, False, None),
        (LOST, 0, False, f"lost {LOST} times: the hub died whenever it ran"),
        (LOST, 0, True, f"lost {LOST} times: the hub died whenever it ran"),
        (0, HOPS + 1, False, f"stopped: {HOPS} handlers' answers led to one another"),
        (0, 10_000, True, None),
    ],
)
def test_what_kills_the_hub_or_loops_is_not_run(lost: int, hops: int, loops: bool, says: str | None) -> None:
    assert hopeless(replace(delivery(1), lost=lost), hops, loops=loops) == says
