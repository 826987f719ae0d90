"""What a function's answer to a batch of a stream means."""

from __future__ import annotations

import json

import pytest

from triggerhub.model import Crashed, Fault, Interrupted, Outcome, Raised, Returned, TimedOut
from triggerhub.policy.streaming import (
    Call,
    Failed,
    FailedFrom,
    Plan,
    Record,
    Succeeded,
    Unheard,
    Verdict,
    Window,
    Windowed,
    verdict,
)

FAULT = Fault(type="E", message="m")
BATCH = Call(0, [Record(str(n), "k", 0, b"{}") for n in (10, 20, 30)], 1)
INSIDE = Call(0, BATCH.records, 1, Windowed(Window(start=0), 60, False))
FINAL = Call(0, (), 1, Windowed(Window(start=0), 60, True))


def failing(*names: str) -> str:
    return json.dumps({"batchItemFailures": [{"itemIdentifier": name} for name in names], "state": {"a": 1}})


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Raised(fault=FAULT, payload=b"{}"), Failed("r")),
        (TimedOut(fault=FAULT, payload=b"{}"), Failed("r")),
        (Crashed(fault=FAULT, payload=b"{}"), Failed("r")),
        (Crashed(fault=FAULT, payload=b"{}", throttled=True), Unheard()),
        (Crashed(fault=Fault(type="TooManyRequestsException", message=""), payload=b"{}"), Failed("r")),
        (Interrupted(), Unheard()),
        (Returned(payload=failing("20").encode()), Succeeded()),
    ],
)
def test_outcomes(outcome: Outcome, expected: Verdict) -> None:
    assert verdict(BATCH, outcome, Plan(), "r")[0] == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("null", Succeeded()),
        (failing(), Succeeded()),
        (failing("20"), FailedFrom(1, "r")),
        (failing("30", "20"), FailedFrom(1, "r")),
        (failing("10"), FailedFrom(0, "r")),
        (failing(""), Failed("r")),
        (failing("40"), Failed("r")),
        ('{"batchItemFailures":[{"itemIdentifier":null}]}', Failed("r")),
        ('{"batchItemFailures":[{"id":"20"}]}', Failed("r")),
        ("[", Failed("r")),
    ],
)
def test_partial_answers(answer: str, expected: Verdict) -> None:
    found, why = verdict(BATCH, Returned(payload=answer.encode()), Plan(partial=True), "r")
    assert found == expected
    assert bool(why) is not isinstance(expected, Succeeded)


@pytest.mark.parametrize("answer", ["null", "{}", "[]", "7", '{"state":null}', '{"state":"x"}', "{"])
def test_an_answer_within_a_window_must_have_a_state(answer: str) -> None:
    found, why = verdict(INSIDE, Returned(payload=answer.encode()), Plan(tumbling=60), "r")
    assert found == Failed("r")
    assert why == "the answer has no state, which one within a tumbling window must have"
    assert verdict(FINAL, Returned(payload=answer.encode()), Plan(tumbling=60), "r") == (Succeeded(), "")


def test_a_state_is_kept_also_beside_failures() -> None:
    plan = Plan(tumbling=60, partial=True)
    answer = Returned(payload=failing("20").encode())
    assert verdict(INSIDE, answer, plan, "r")[0] == FailedFrom(1, "r", '{"a":1}')
    assert verdict(INSIDE, answer, Plan(tumbling=60), "r")[0] == Succeeded('{"a":1}')
