"""Decide whether a request is allowed, by the policies of who asks and of what is asked for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from triggerhub.policy.iam.document import Statement
from triggerhub.policy.iam.pattern import Known, like


class Verdict(Enum):
    """What a request is told."""

    ALLOWED = auto()
    NOT_ALLOWED = auto()
    """No policy allows it."""
    DENIED_BY_IDENTITY = auto()
    """The policy of who asks says Deny."""
    DENIED_BY_RESOURCE = auto()


@dataclass(slots=True, kw_only=True)
class Request:
    """What is asked."""

    action: str
    """Such as ``lambda:InvokeFunction``."""
    resource: str
    """An ARN; ``*`` where an action is about none."""
    also: str | None = None
    """Another ARN of the same thing: what is denied by that name is denied by this, and nothing is allowed by it."""
    who: str | None
    """The ARN of a user; None is nobody who is known."""
    known: Known


def decide(identity: Sequence[Statement], resource: Sequence[Statement], request: Request) -> Verdict:
    """Return what becomes of *request*: what is denied is, wherever it is allowed; and what nobody allows is not.

    A whole account as the principal of what is allowed allows nothing by itself: as in IAM, it leaves that to
    what its users are allowed. As that of what is denied it is all of them.
    """
    own = [one.allows for one in identity if _applies(one, request)]
    if not all(own):
        return Verdict.DENIED_BY_IDENTITY
    others = [one.allows for one in resource if _names(one, request.who) and _applies(one, request)]
    if not all(others):
        return Verdict.DENIED_BY_RESOURCE
    return Verdict.ALLOWED if own or others else Verdict.NOT_ALLOWED


def allows_some(identity: Sequence[Statement], action: str) -> bool:
    """Whether an *action* may be allowed of anything, in some circumstances.

    It is not where it is denied of all, whatever the circumstances; a Deny of less is not looked at.
    """
    concerning = [one for one in identity if _does(one, action.lower())]
    return any(one.allows for one in concerning) and not any(_is_of_all(one) for one in concerning if not one.allows)


def _is_of_all(one: Statement) -> bool:
    return "*" in one.resources and not one.but_resources and not one.conditions


def _applies(one: Statement, request: Request) -> bool:
    return (
        _does(one, request.action.lower())
        and _about(one, request)
        and all(condition.holds(request.known) for condition in one.conditions)
    )


def _does(one: Statement, action: str) -> bool:
    """Whether a statement is about an action, which is in lower case."""
    # What stands there as it is takes no search of patterns, and is what nearly all policies have.
    return (
        action in one.actions or "*" in one.actions or any(like(action, text, {}) for text in one.actions)
    ) != one.but_actions


def _about(one: Statement, request: Request) -> bool:
    """Whether a statement is about what is asked for."""
    if "*" in one.resources or any(like(request.resource, text, request.known) for text in one.resources):
        return not one.but_resources
    if one.but_resources or one.allows or request.also is None:
        return one.but_resources
    return any(like(request.also, text, request.known) for text in one.resources)


def _names(one: Statement, who: str | None) -> bool:
    if "*" in one.principals or who is None:
        return "*" in one.principals
    account = who.split(":")[4]
    whole = () if one.allows else (account, f"arn:aws:iam::{account}:root")
    return who in one.principals or any(text in one.principals for text in whole)
