"""Find the function that a caller names."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from triggerhub.aws import arn, reference
from triggerhub.aws.constraints import message, violation
from triggerhub.aws.reference import LATEST, Reference, is_version
from triggerhub.aws.restjson import ApiError
from triggerhub.hub.hub import Hub
from triggerhub.policy.routing import chosen
from triggerhub.web.lambda_api.description import service

MISMATCH = "The derived qualifier from the function name does not match the specified qualifier."


@dataclass(slots=True)
class Target:
    """What is to be called."""

    function: str
    """The hub's own name of it."""
    arn: str
    """As it was named: with a qualifier where it was named with one."""
    events: str
    """The hub's own name of what its events are owed to: of an alias its own, which chooses when they are run."""
    stopped: bool
    """Whether no concurrency is reserved for it: nobody may call it now."""
    reserved: bool
    """Whether some is, which its versions share."""


def named(text: str, qualifier: str | None = None) -> Reference:
    """Return what *text*, and the qualifier beside it, name. Raises ApiError."""
    if len(text) > reference.LENGTH:
        broken = violation(text, "functionName", f"Member must have length less than or equal to {reference.LENGTH}")
        raise ApiError("ValidationException", message([broken]))
    found = reference.parse(text)
    if found is None:
        pattern = service().shapes["NamespacedFunctionName"]["pattern"]
        broken = violation(text, "functionName", f"Member must satisfy regular expression pattern: {pattern}")
        raise ApiError("ValidationException", message([broken]))
    if len(found.name) > reference.NAME_LENGTH:
        broken = violation(found.name, "functionName", "Member must have length less than or equal to 64")
        raise ApiError("ValidationException", message([broken]))
    if found.account not in (None, arn.ACCOUNT):
        there = arn.function(found.name, found.qualifier or qualifier, account=found.account)
        raise ApiError("ResourceNotFoundException", f"Function not found: {there}")
    if found.region not in (None, arn.REGION):
        text = f"Functions from '{found.region}' are not reachable in this region ('{arn.REGION}')"
        raise ApiError("ResourceNotFoundException", text)
    if qualifier and found.qualifier and qualifier != found.qualifier:
        raise ApiError("InvalidParameterValueException", MISMATCH)
    return Reference(found.name, found.qualifier or qualifier or None)


def missing(name: str, qualifier: str | None = None) -> ApiError:
    """Return the error for a function, version or alias that is not there."""
    return ApiError("ResourceNotFoundException", f"Function not found: {arn.function(name, qualifier)}")


def absent(name: str, qualifier: str) -> ApiError:
    """Return the error of operations that tell an alias which is not there from a version."""
    if is_version(qualifier):
        return missing(name, qualifier)
    return ApiError("ResourceNotFoundException", f"Cannot find alias arn: {arn.function(name, qualifier)}")


class Targets:
    """Looks functions, versions and aliases up in what the hub serves."""

    def __init__(self, hub: Hub, draw: Callable[[], float] = random.random) -> None:
        """*draw* returns a number in [0, 1) that chooses between the versions of an alias."""
        self._hub = hub
        self._draw = draw

    def find(self, text: str, qualifier: str | None) -> Target:
        """Return what a call of *text* calls. Raises ApiError."""
        found = named(text, qualifier)
        serving = self._hub.project.functions
        function = serving.get(found.name)
        if function is None:
            raise missing(found.name, found.qualifier or LATEST)
        resource, kept = arn.function(found.name, found.qualifier), (function.held, bool(function.reserved))
        if found.qualifier in (None, LATEST, function.version):
            return Target(found.name, resource, found.name, *kept)
        events = name = f"{found.name}:{found.qualifier}"
        if (served := serving.get(name)) is not None and (leads := served.leads) is not None:
            name = chosen(leads.to, leads.weights, self._draw())
        if name not in serving:
            raise missing(found.name, found.qualifier)
        return Target(name, resource, events, *kept)
