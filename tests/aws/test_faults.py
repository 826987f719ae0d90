"""What AWS refuses is understood: its kind, the missing permission, the words."""

from __future__ import annotations

import pytest

from triggerhub.aws.faults import Answer, Kind, kind_of, permission, told


def answer(code: str, status: int = 400, message: str = "") -> Answer:
    return Answer(service="sqs", operation="ReceiveMessage", code=code, status=status, message=message)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("ThrottlingException", 400, "throttled"),
        ("SomethingNew", 429, "throttled"),
        ("ExpiredToken", 403, "credentials"),
        ("InvalidClientTokenId", 403, "credentials"),
        ("AccessDenied", 403, "denied"),
        ("AccessDeniedException", 400, "denied"),
        ("SomethingNew", 403, "denied"),
        ("AWS.SimpleQueueService.NonExistentQueue", 400, "missing"),
        ("com.amazonaws.sqs#QueueDoesNotExist", 400, "missing"),
        ("SomethingNew", 404, "missing"),
        ("InternalFailure", 500, "unreachable"),
        ("", 503, "unreachable"),
        ("ExpiredIteratorException", 400, "refused"),
    ],
)
def test_each_code_is_of_a_kind(code: str, status: int, kind: Kind) -> None:
    assert kind_of(answer(code, status)) == kind


DENIED = (
    "User: arn:aws:sts::123456789012:assumed-role/r/s is not authorized to perform: sqs:receivemessage on resource: "
    "arn:aws:sqs:eu-central-1:123456789012:orders because no identity-based policy allows the sqs:receivemessage action"
)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (DENIED, "sqs:receivemessage on arn:aws:sqs:eu-central-1:123456789012:orders"),
        ("User: x is not authorized to perform: kms:Decrypt on this resource", "kms:Decrypt"),
        ("Access to the resource https://sqs… is denied.", "sqs:ReceiveMessage"),
        ("", "sqs:ReceiveMessage"),
    ],
)
def test_the_missing_permission_is_named(message: str, expected: str) -> None:
    denied = answer("AccessDenied", 403, message)
    assert permission(denied) == expected
    assert told(denied)[0] == f"sqs:ReceiveMessage: the permission {expected} is missing"


def test_the_same_trouble_is_told_in_the_same_words() -> None:
    once, again = (answer("InternalFailure", 500, f"request {number} failed") for number in (1, 2))
    assert (
        told(once)
        == told(again)
        == ("sqs:ReceiveMessage: the service failed (500 InternalFailure)", "It is tried again.")
    )
