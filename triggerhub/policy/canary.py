"""Decide what becomes of a new version that gets a part of the calls for a while. Pure.

It is rolled back as soon as too much of what it was given has failed, and promoted once its time is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from triggerhub.model import Millis
from triggerhub.policy.units import show_duration
from triggerhub.settings import SECOND

Verdict: TypeAlias = Literal["go on", "promote", "roll back"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a new version is held to."""

    most: float
    """The share of calls that may fail, in percent; more is too many."""
    length: Millis
    """How long it is watched while the hub runs."""
    least: int
    """How many calls it must have had: before them, so many are taken to have come, and none promotes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What was seen of a new version so far."""

    calls: int = 0
    errors: int = 0
    watched: Millis = 0


def judge(terms: Terms, tally: Tally) -> Verdict:
    """Return what is to be done.

    Below the least number of calls a few failures already decide where so many calls could not make up for them.
    """
    if 100 * tally.errors > terms.most * max(tally.calls, terms.least):
        return "roll back"
    return "promote" if tally.watched >= terms.length and tally.calls >= terms.least else "go on"


def told(terms: Terms, tally: Tally) -> str:
    """Say in a sentence what was seen, and what is allowed."""
    share = f" ({100 * tally.errors / tally.calls:.3g}%)" if tally.calls else ""
    watched = tally.watched // SECOND * SECOND if tally.watched >= SECOND else tally.watched
    return f"{tally.errors:,} of {tally.calls:,} calls failed{share} in {show_duration(watched)}; {terms.most:g}% may"
