"""Find the function that a caller names."""

from __future__ import annotations

from dataclasses import dataclass

from triggerhub.aws import arn, reference
from triggerhub.aws.constraints import message, violation
from triggerhub.aws.reference import LATEST, Reference
from triggerhub.aws.restjson import ApiError
from triggerhub.hub.hub import Hub

MISMATCH = "The derived qualifier from the function name does not match the specified qualifier."


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be called."""

    function: str
    """The hub's own name of it."""
    arn: str
    """As it was named: with a qualifier where it was named with one."""


def named(text: str, qualifier: str | None = None) -> Reference:
    """Return what *text*, and the qualifier beside it, name. Raises ApiError."""
    found = reference.parse(text)
    if found is None:
        raise ApiError("ValidationException", message([violation(text, "functionName", "it names no function")]))
    if len(found.name) > reference.NAME_LENGTH:
        broken = violation(found.name, "functionName", "Member must have length less than or equal to 64")
        raise ApiError("ValidationException", message([broken]))
    if qualifier and found.qualifier and qualifier != found.qualifier:
        raise ApiError("InvalidParameterValueException", MISMATCH)
    return Reference(found.name, found.qualifier or qualifier or None, found.account)


def missing(name: str, qualifier: str | None = None) -> ApiError:
    """Return the error for a function, version or alias that is not there."""
    return ApiError("ResourceNotFoundException", f"Function not found: {arn.function(name, qualifier)}")


class Targets:
    """Looks functions up in the hub's configuration."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def find(self, text: str, qualifier: str | None) -> Target:
        """Return what a call of *text* calls. Raises ApiError."""
        found = named(text, qualifier)
        function = self._hub.project.functions.get(found.name)
        ours = found.account in (None, arn.ACCOUNT)
        if function is None or not ours or found.qualifier not in (None, LATEST, function.version):
            raise missing(found.name, found.qualifier or LATEST)
        return Target(function.name, arn.function(found.name, found.qualifier))
