"""What becomes of the messages of a queue, by what became of their events."""

from __future__ import annotations

import time
from typing import Any

import pytest

from triggerhub.awsfault import AwsFault
from triggerhub.awsmessage import Message, given, sorted_out
from triggerhub.model import Event, Fault, Interrupted, Outcome, Raised, Returned
from triggerhub.source import Duplicate, Filtered, Handled

DONE, CUT = Returned(payload=b"null"), Interrupted()
FAILED = Raised(fault=Fault(type="E", message="no"), payload=b"{}")
REPEATED, UNWANTED = Duplicate(event="e", deliveries=("d",)), Filtered(why="no")


def message(name: str, events: int = 1) -> Message:
    return Message({"MessageId": name, "ReceiptHandle": name}, [Event(data=b"{}", time=0)] * events)


def handled(*each: Outcome | Duplicate | Filtered) -> Handled:
    return Handled(outcome=DONE, each=each)


def test_a_message_is_done_with_all_its_events_and_failed_with_any() -> None:
    batch = [message("done", 3), message("failed", 2), message("waits", 2), message("also", 1)]
    answer = handled(DONE, REPEATED, UNWANTED, FAILED, CUT, DONE, CUT, DONE)
    names = [[one.id for one in part] for part in sorted_out(batch, answer)]
    assert names == [["done", "also"], ["failed"], ["waits"]]
    assert [one.done for one in batch] == [True, False, False, True]


def test_a_large_batch_is_sorted_out_in_no_time() -> None:
    batch = [message(str(number)) for number in range(4_000)]
    began = time.process_time()
    done, failed, undecided = sorted_out(batch, handled(*[DONE, FAILED] * 2_000))
    assert (len(done), len(failed), len(undecided)) == (2_000, 2_000, 0)
    assert time.process_time() - began < 1, "it takes as many steps as there are messages"


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({}, []),
        ({"Messages": None}, []),
        ({"Messages": [{"MessageId": "1", "ReceiptHandle": "r"}]}, [{"MessageId": "1", "ReceiptHandle": "r"}]),
        (
            {"Messages": [{"MessageId": "1", "ReceiptHandle": "r", "Attributes": None, "MessageAttributes": None}]},
            [{"MessageId": "1", "ReceiptHandle": "r"}],
        ),
    ],
)
def test_null_is_nothing(answer: dict[str, Any], found: list[dict[str, Any]]) -> None:
    assert given(answer) == found


@pytest.mark.parametrize(
    "messages",
    [
        "none",
        [None],
        [{}],
        [{"MessageId": "1"}],
        [{"MessageId": 1, "ReceiptHandle": "r"}],
        [{"MessageId": "1", "ReceiptHandle": "r", "Attributes": []}, {}],
        [{"MessageId": "1", "ReceiptHandle": "r", "Attributes": {"ApproximateReceiveCount": "often"}}],
    ],
)
def test_what_is_no_answer_of_a_queue_is_told(messages: Any) -> None:
    with pytest.raises(AwsFault, match="the answer is not SQS's"):
        given({"Messages": messages})
