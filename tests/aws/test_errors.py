"""The words of function errors are AWS's."""

from __future__ import annotations

import json
import signal

import pytest

from triggerhub.aws import arn, errors


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (127, "Runtime exited with error: exit status 127"),
        (0, "Runtime exited without providing a reason"),
        (None, "Runtime exited without providing a reason"),
        (-signal.SIGKILL, "Runtime exited with error: signal: killed"),
        (-signal.SIGSEGV, "Runtime exited with error: signal: segmentation fault"),
        (-signal.SIGABRT, "Runtime exited with error: signal: aborted"),
        (-signal.SIGTERM, "Runtime exited with error: signal: terminated"),
    ],
)
def test_how_a_process_ended(status: int | None, expected: str) -> None:
    assert errors.ending(status) == expected
    fault = errors.exited("r1", status)
    assert (fault.type, fault.message) == ("Runtime.ExitError", f"RequestId: r1 Error: {expected}")
    assert errors.exited(None, status).message == expected


def test_a_timeout_has_two_decimals() -> None:
    fault = errors.timed_out("r1", 1000)
    assert json.loads(errors.payload(fault.type, fault.message)) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "RequestId: r1 Error: Task timed out after 1.00 seconds",
    }
    assert "after 0.25 seconds" in errors.timed_out("r1", 250).message


def test_memory_and_size() -> None:
    fault = errors.out_of_memory("r1")
    assert fault.type == "Runtime.OutOfMemory"
    assert fault.message == "RequestId: r1 Error: Runtime exited with error: signal: killed"
    assert errors.too_large().message == (
        "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
    )


def test_a_lone_surrogate_in_a_message_is_still_valid_json() -> None:
    assert json.loads(errors.payload("E", "\ud800"))["errorMessage"] == "\ud800"


def test_arns() -> None:
    assert arn.function("f") == "arn:aws:lambda:us-east-1:000000000000:function:f"
    assert arn.function("f", "$LATEST", region="eu-west-1") == (
        "arn:aws:lambda:eu-west-1:000000000000:function:f:$LATEST"
    )
    assert arn.bucket("b") == "arn:aws:s3:::b"
    assert arn.rule("r") == "arn:aws:events:us-east-1:000000000000:rule/r"
    assert arn.queue("q") == "arn:aws:sqs:us-east-1:000000000000:q"
