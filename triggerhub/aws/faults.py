"""Understand what AWS refuses: which kind of trouble it is, and which permission is missing.

Pure. The codes are those of "Common Errors" in the API references of SQS, S3, DynamoDB Streams, Kinesis and STS.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["throttled", "credentials", "denied", "missing", "unreachable", "refused"]
"""``throttled``: too much was asked. ``credentials``: there are none, or they are expired or wrong. ``denied``: they
lack a permission. ``missing``: there is no such thing. ``unreachable``: no answer, or 5xx. ``refused``: the rest."""

_CODES: dict[Kind, str] = {
    "throttled": (
        "Throttling ThrottlingException ThrottledException RequestThrottled RequestThrottledException "
        "RequestLimitExceeded ProvisionedThroughputExceededException TooManyRequestsException "
        "LimitExceededException KMSThrottlingException BandwidthLimitExceeded SlowDown PriorRequestNotComplete "
        "OverLimit AWS.SimpleQueueService.OverLimit"
    ),
    "credentials": (
        "ExpiredToken ExpiredTokenException RequestExpired UnrecognizedClientException UnrecognizedClient "
        "InvalidToken InvalidClientTokenId InvalidAccessKeyId InvalidSecurity SignatureDoesNotMatch "
        "InvalidSignatureException TokenRefreshRequired AuthFailure MissingAuthenticationToken "
        "MissingAuthenticationTokenException IncompleteSignature IncompleteSignatureException RequestTimeTooSkewed "
        "NotAuthorized"
    ),
    "denied": (
        "AccessDenied AccessDeniedException AuthorizationError UnauthorizedOperation KmsAccessDenied "
        "KMSAccessDeniedException AllAccessDisabled AccountProblem OptInRequired"
    ),
    "missing": (
        "AWS.SimpleQueueService.NonExistentQueue QueueDoesNotExist NonExistentQueue ResourceNotFoundException "
        "NoSuchBucket NoSuchKey NotFound"
    ),
    # S3 answers 400 when it gave up waiting itself.
    "unreachable": "RequestTimeout",
}
_KINDS: dict[str, Kind] = {code: kind for kind, codes in _CODES.items() for code in codes.split()}
_ACTION = re.compile(r"not authorized to perform:? ([a-z0-9-]+:[A-Za-z]+)(?: on resource:? \"?([^\s\"]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An error answer of an AWS service."""

    service: str
    """As in permissions: ``sqs``."""
    operation: str
    """As in the API: ``ReceiveMessage``."""
    code: str
    status: int
    message: str


def kind_of(answer: Answer) -> Kind:
    """Return which kind of trouble an error answer tells of."""
    if found := _KINDS.get(answer.code) or _KINDS.get(answer.code.rpartition("#")[2]):
        return found
    if answer.status >= 500:
        return "unreachable"
    if answer.status == 429:
        return "throttled"
    if answer.status in (401, 403):
        return "denied"
    return "missing" if answer.status == 404 else "refused"


def permission(answer: Answer) -> str:
    """Return the permission that was missing: the one that the message names, else the operation's own."""
    if named := _ACTION.search(answer.message):
        return f"{named[1]} on {named[2].rstrip('.')}" if named[2] else named[1]
    return f"{answer.service}:{answer.operation}"


def told(answer: Answer) -> tuple[str, str]:
    """Return a sentence for people and a hint; the same trouble is told in the same words each time."""
    where = f"{answer.service}:{answer.operation}"
    match kind_of(answer):
        case "throttled":
            return f"{where} is throttled ({answer.code})", "AWS allows fewer requests; it is tried again more slowly."
        case "credentials":
            return (
                f"{where}: the credentials are not accepted ({answer.code})",
                "Renew them; they are read anew at the next try. triggerhub doctor says where they come from.",
            )
        case "denied":
            return f"{where}: the permission {permission(answer)} is missing", "Add it to the identity's policy."
        case "missing":
            return f"{where}: there is no such resource ({answer.code})", "Mend its name, region or account."
        case "unreachable":
            return f"{where}: the service failed ({answer.status} {answer.code})", "It is tried again."
        case _:
            return f"{where}: {answer.code}: {answer.message}", "Mend what it names."
