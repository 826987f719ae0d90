"""Know which operations are about a function as a whole, and not about a version or an alias of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from triggerhub.aws import reference
from triggerhub.aws.reference import LATEST
from triggerhub.aws.restjson import ApiError
from triggerhub.model import Json
from triggerhub.web.lambda_api.description import service

_BY_NAME = frozenset((
    "CreateEventSourceMapping", "InvokeAsync", "ListEventSourceMappings", "UpdateEventSourceMapping",
))  # fmt: skip
"""Operations that have no member for a qualifier, and take one in the function's name."""
QUALIFIED = (
    "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. "
    "Please specify either a function name or an unqualified function ARN."
)


def of_whole(operation: str) -> bool:
    """Whether an operation names a function, and no version or alias of it."""
    return operation in _whole()


def check(operation: str, given: Mapping[str, Json]) -> None:
    """Raise ApiError where a qualifier stands in the name of a function that is meant as a whole."""
    if operation not in _whole():
        return
    found = reference.parse(given["FunctionName"])
    if found is not None and found.qualifier not in (None, LATEST):
        raise ApiError("InvalidParameterValueException", QUALIFIED)


@cache
def _whole() -> frozenset[str]:
    lambdas = service()
    members = {
        name: {member for member, _, _ in lambdas.members(one.input)}
        for name, one in lambdas.operations.items()
        if one.input is not None
    }
    return frozenset(
        name
        for name, has in members.items()
        if "FunctionName" in has and "Qualifier" not in has and name not in _BY_NAME
    )
