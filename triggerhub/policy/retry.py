"""Decide what becomes of a delivery after an attempt.

Pure: the clock reading and the random draw are arguments, so every branch can be tabled and the
bounds proved by property tests.
"""

from __future__ import annotations

from typing import assert_never

from triggerhub.model import (
    Bury,
    Complete,
    Crashed,
    Decision,
    Delivery,
    Interrupted,
    Millis,
    Outcome,
    Raised,
    Retry,
    Returned,
    TimedOut,
)
from triggerhub.policy.units import show_duration
from triggerhub.settings import SECOND, RetryPolicy

LOST = 10
"""How often the hub, or what makes its sandboxes, may die while a delivery runs: what kills it again and again must
not go on for ever."""
SCARCE: Millis = 4 * SECOND
"""The longest wait, the shortest is half of it, until the host is asked for a process again."""
HOPS = 16
"""How many handlers' answers may lead to one another: where Lambda's recursion detection stops a chain."""
_DOUBLINGS = 64
"""More doublings than this pass every maximum; the number stays small at attempt 10,000."""


def hopeless(delivery: Delivery, hops: int, *, loops: bool = False) -> str | None:
    """Say why a claimed delivery, whose event *hops* handlers' answers led to, must not be run; None lets it.

    *loops* is whether its function may be led to as often as may be.
    """
    if delivery.lost >= LOST:
        return f"lost {delivery.lost} times: the hub died whenever it ran"
    if hops > HOPS and not loops:
        return f"stopped: {HOPS} handlers' answers led to one another"
    return None


def decide(delivery: Delivery, outcome: Outcome, policy: RetryPolicy, *, now: Millis, draw: float) -> Decision:
    """Return the one thing to do with *delivery* now that *outcome* is known.

    ``delivery.attempts`` counts the attempt that just ended. *draw* is a number in [0, 1) that spreads
    the delay. The age limit looks at when the next attempt would begin, as Lambda's does. A call that
    the hub itself cut short is queued again at once and given back, whatever the limits say, as is one whose
    sandbox was lost with all others, unless that happens again and again; one that the host had no room for, a little
    later.
    """
    match outcome:
        case Returned():
            return Complete()
        case Interrupted():
            return Retry(at=now, counted=False)
        case Crashed(scarce=True):
            return Retry(at=now + int(SCARCE * (1 + draw) / 2), counted=False)
        case Crashed(severed=True) if delivery.claims < delivery.attempts + LOST:
            return Retry(at=now, counted=False)
        case Raised() | TimedOut() | Crashed():
            pass
        case _:
            assert_never(outcome)

    if delivery.attempts >= policy.attempts:
        return Bury(_spent(delivery.attempts, policy.attempts))
    at = now + backoff(delivery.attempts, policy, draw=draw)
    if policy.max_age is not None and delivery.age(at) > policy.max_age:
        return Bury(f"older than {show_duration(policy.max_age)} at its next attempt")
    return Retry(at=at)


def backoff(attempt: int, policy: RetryPolicy, *, draw: float) -> Millis:
    """Return how long to wait after failed attempt number *attempt* (the first is 1).

    With jitter it is anything from nothing to the full delay, by *draw* in [0, 1): calls that failed
    together do not come back together.
    """
    number = max(attempt, 1)
    match policy.backoff:
        case "exponential":
            delay = policy.initial << min(number - 1, _DOUBLINGS)
        case "linear":
            delay = policy.initial * number
        case "constant":
            delay = policy.initial
        case _:
            assert_never(policy.backoff)
    delay = min(delay, policy.max)
    return int(delay * draw) if policy.jitter else delay


def _spent(attempts: int, allowed: int) -> str:
    if attempts > allowed:
        # The policy was tightened while the delivery waited.
        return f"failed {attempts} attempts, {allowed} allowed"
    return f"failed {attempts} of {allowed} attempt{'' if allowed == 1 else 's'}"
