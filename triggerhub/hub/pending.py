"""Know which events of a batch are to run, and what became of each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from triggerhub.model import Delivery, Interrupted, Outcome
from triggerhub.policy.calling import overtaking, repeats
from triggerhub.settings import Trigger
from triggerhub.source import Duplicate, Filtered
from triggerhub.store import Claimed

Answer: TypeAlias = Outcome | Duplicate | Filtered
Key: TypeAlias = tuple[str, str]
"""A trigger and a dedup key."""


@dataclass(slots=True)
class Pending:
    """One event that a call may carry."""

    claimed: Claimed
    at: int
    """Its place among those given."""
    line: str | None
    """What it has in common with those that its source keeps in order with it."""
    answer: Answer | None = None

    @property
    def withheld(self) -> bool:
        """Whether it is not to run yet: another call has a key of its, or it would overtake one that waits."""
        return isinstance(self.answer, Interrupted)

    @property
    def known(self) -> Answer:
        return Interrupted() if self.answer is None else self.answer


def once(
    pending: Sequence[Pending], key: Callable[[Delivery], str | None]
) -> tuple[list[Pending], list[tuple[Pending, Pending]]]:
    """Return the first of each *key*, and what repeats one of them within its batch, with that one."""
    places = repeats([key(one.claimed.delivery) for one in pending])
    again = [(pending[place], pending[first]) for place, first in places.items()]
    return [one for place, one in enumerate(pending) if place not in places], again


def keys_of(trigger: Trigger, pending: Sequence[Pending]) -> set[Key]:
    """Return the dedup keys of events."""
    return {(trigger.name, key) for one in pending if (key := one.claimed.event.dedup_key) is not None}


def withhold(pending: Sequence[Pending], deliveries: Collection[str] = ()) -> None:
    """Let these wait, and with all that do what would overtake one of them."""
    for one in pending:
        if one.claimed.delivery.id in deliveries:
            one.answer = Interrupted()
    withheld = [place for place, one in enumerate(pending) if one.withheld]
    for place in overtaking([one.line for one in pending], withheld):
        if pending[place].answer is None:
            pending[place].answer = Interrupted()
