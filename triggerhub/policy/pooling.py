"""Decide when a worker is started ahead or ended, and how much work is claimed ahead."""

from __future__ import annotations

from triggerhub.model import Millis

AHEAD_MILLIS = 20.0
"""Claim ahead what the workers will do within this time: it covers a commit, and nobody waits behind it."""
AHEAD_MOST = 256
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds until another worker is started ahead after one was lost; twice as long each time, up to the longest."""


def ahead_of_calls(*, ready: int, lent: int, limit: int, warm: int, spare: bool, fresh: bool = False) -> int:
    """Say how many workers to start that nobody waits for.

    *ready* are idle or being started ahead. *warm* is how many there are at any time, lent ones among them;
    *spare* adds one where all are lent, and with *fresh*, where no worker comes back, where none is there. Never
    more than *limit* in all.
    """
    wanted = max(warm, lent + 1) if spare and (lent or fresh) else warm
    return max(min(wanted, limit) - ready - lent, 0)


def pause(failures: int) -> float:
    """Return the seconds without a start after so many workers in a row, at least one, that were started in vain."""
    return float(min(FIRST_PAUSE * 2.0 ** min(failures - 1, 32), LONGEST_PAUSE))


def ahead(recent_ms: float | None, *, concurrency: int) -> int:
    """Return how many deliveries to claim beyond the free workers.

    *recent_ms* is what recent calls took; unknown or long means none, so that no delivery counts as
    running while it only waits behind a slow one.
    """
    if recent_ms is None:
        return 0
    return min(AHEAD_MOST, int(AHEAD_MILLIS / max(recent_ms, 0.01)) * concurrency)


def smoothed(recent_ms: float | None, latest_ms: float) -> float:
    """Fold the latest duration into the recent one: a slow call counts at once, fast ones win it back slowly."""
    if recent_ms is None or latest_ms > recent_ms:
        return latest_ms
    return recent_ms * 0.9 + latest_ms * 0.1


def idle_too_long(since: Millis, now: Millis, idle: Millis) -> bool:
    """Whether a worker without work since then may end."""
    return now - since >= idle
