"""What is received from an SQS queue, and on its way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from triggerhub.awsfault import AwsFault
from triggerhub.errors import BadInput
from triggerhub.model import Event
from triggerhub.source import Handled


@dataclass(slots=True)
class Message:
    """One received message."""

    raw: dict[str, Any]
    events: Sequence[Event] = ()
    refused: BadInput | None = None
    """Why it cannot be taken."""
    settled: bool = False
    """Whether the queue was told what became of it: its time in hiding is not ours any more."""
    renew: float = math.inf
    """When its time in hiding is to be renewed."""
    done: bool = False
    """Whether its function is done with it, or the hub has it."""

    @property
    def id(self) -> str:
        return str(self.raw["MessageId"])

    @property
    def receipt(self) -> str:
        return str(self.raw["ReceiptHandle"])

    @property
    def group(self) -> str | None:
        """Of a FIFO queue: what it has a place in line of."""
        found: str | None = self.raw.get("Attributes", {}).get("MessageGroupId")
        return found

    @property
    def received(self) -> int:
        """How often it was received, this time included."""
        return int(self.raw.get("Attributes", {}).get("ApproximateReceiveCount", 1))

    @property
    def size(self) -> int:
        return sum(len(event.data) for event in self.events)


def given(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the messages that a queue answered with; null is nothing. Raises AwsFault for any other answer."""
    found = answer.get("Messages") or []
    if not isinstance(found, list) or not all(map(_is_whole, found)):
        raise AwsFault("unreachable", "sqs:ReceiveMessage: the answer is not SQS's", hint="Is the endpoint a queue's?")
    return [{name: value for name, value in raw.items() if value is not None} for raw in found]


def _is_whole(raw: Any) -> bool:
    if not isinstance(raw, dict) or not all(isinstance(raw.get(name), str) for name in ("MessageId", "ReceiptHandle")):
        return False
    attributes = raw.get("Attributes") or {}
    return isinstance(attributes, dict) and str(attributes.get("ApproximateReceiveCount", 1)).isdecimal()


def sorted_out(batch: Sequence[Message], handled: Handled) -> tuple[list[Message], list[Message], list[Message]]:
    """Return which messages of a batch are done, which failed, and which were not run, by what became of their events.

    A message is done with all its events, and failed with any of them.
    """
    done: list[Message] = []
    failed: list[Message] = []
    undecided: list[Message] = []
    ends, faults = handled.done, handled.failed
    place = 0
    for one in batch:
        parts = slice(place, place := place + len(one.events))
        if all(ends[parts]):
            one.done = True
            done.append(one)
        else:
            (failed if any(faults[parts]) else undecided).append(one)
    return done, failed, undecided


@dataclass(eq=False, slots=True)
class Part:
    """Messages of one group of a FIFO queue, on their way."""

    messages: list[Message]
    stuck: str | None
    """The first message of the group that is not done yet; what follows is not to overtake it."""
    over: anyio.Event = field(default_factory=anyio.Event)
    """Set when nothing more becomes of them for now."""
