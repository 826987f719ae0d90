"""Set what becomes of asynchronous invocations: retries, age and destinations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from triggerhub.aws import arn
from triggerhub.aws.reference import LATEST
from triggerhub.aws.restjson import ApiError
from triggerhub.deploy.record import Deployed, EventConfig
from triggerhub.deploy.registry import Registry
from triggerhub.model import Json
from triggerhub.web.lambda_api import members, shape
from triggerhub.web.lambda_api.asked import Asked, Perform
from triggerhub.web.lambda_api.functions import Functions
from triggerhub.web.lambda_api.qualified import Qualified
from triggerhub.web.lambda_api.stamp import now
from triggerhub.web.lambda_api.target import Targets, named

NOTHING = "You must specify at least one of error handling or destination setting."
NO_FUNCTION = "The function doesn't exist."
ITSELF = "You can't specify the function as a destination for itself."
_NUMBERS = {"MaximumRetryAttempts": "retries", "MaximumEventAgeInSeconds": "age"}
_DESTINATIONS = {"OnSuccess": "on_success", "OnFailure": "on_failure"}


class Events:
    """The operations on event invoke configurations."""

    def __init__(self, functions: Functions, targets: Targets, registry: Registry) -> None:
        self._functions = functions
        self._targets = targets
        self._configs: Qualified[EventConfig] = Qualified(functions, registry, "events", _none)

    def operations(self) -> Mapping[str, Perform]:
        return {
            "PutFunctionEventInvokeConfig": self._put,
            "UpdateFunctionEventInvokeConfig": self._update,
            "GetFunctionEventInvokeConfig": self._get,
            "DeleteFunctionEventInvokeConfig": self._delete,
            "ListFunctionEventInvokeConfigs": self._list,
        }

    async def _put(self, asked: Asked) -> Mapping[str, Json]:
        name, qualifier = _place(asked)
        self._require(name, qualifier)

        def put(_: Deployed, __: EventConfig | None) -> EventConfig:
            return EventConfig(**self._said(name, asked.given), modified=now())

        return _shown(name, qualifier, await self._configs.put(name, qualifier, put))

    async def _update(self, asked: Asked) -> Mapping[str, Json]:
        name, qualifier = _place(asked)
        self._require(name, qualifier)

        def update(_: Deployed, was: EventConfig) -> EventConfig:
            return replace(was, **self._said(name, asked.given), modified=now())

        return _shown(name, qualifier, await self._configs.update(name, qualifier, update))

    def _said(self, name: str, given: Mapping[str, Json]) -> dict[str, Any]:
        """Return what was given of a configuration. Raises ApiError."""
        if not {"MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig"} & given.keys():
            raise ApiError("InvalidParameterValueException", NOTHING)
        said = {ours: given[theirs] for theirs, ours in _NUMBERS.items() if theirs in given}
        for theirs, ours in _DESTINATIONS.items():
            if theirs in (config := given.get("DestinationConfig", {})):
                said[ours] = self._destination(name, config[theirs].get("Destination"))
        return said

    async def _get(self, asked: Asked) -> Mapping[str, Json]:
        name, qualifier = _place(asked)
        return _shown(name, qualifier, self._configs.get(name, qualifier))

    async def _delete(self, asked: Asked) -> Mapping[str, Json]:
        name, qualifier = _place(asked)
        if not self._functions.has(name):
            raise _none(name, qualifier)
        await self._configs.delete(name, qualifier)
        return {}

    async def _list(self, asked: Asked) -> Mapping[str, Json]:
        name = named(asked.given["FunctionName"]).name
        self._require(name)
        rows = [(qualifier, (qualifier, config)) for qualifier, config in self._configs.rows(name)]
        return shape.page(asked.given, rows, "FunctionEventInvokeConfigs", lambda row: _shown(name, *row))

    def _require(self, name: str, qualifier: str = LATEST) -> None:
        """Raise ApiError where there is nothing that could have a configuration."""
        if not self._functions.has(name, None if qualifier == LATEST else qualifier):
            raise ApiError("ResourceNotFoundException", NO_FUNCTION)

    def _destination(self, name: str, text: str | None) -> str | None:
        if not text:
            return None
        if ":function:" not in text:
            return members.outside(text)
        if named(text).name == name:
            raise ApiError("InvalidParameterValueException", ITSELF)
        try:
            return arn.function(self._targets.find(text, None).events)
        except ApiError as error:
            raise ApiError("InvalidParameterValueException", f"The destination ARN {text} is invalid.") from error


def _place(asked: Asked) -> tuple[str, str]:
    """Return the function and the qualifier that are meant. Raises ApiError."""
    found = named(asked.given["FunctionName"], asked.given.get("Qualifier"))
    return found.name, found.qualifier or LATEST


def _none(name: str, qualifier: str) -> ApiError:
    text = f"The function {arn.function(name, qualifier)} doesn't have an EventInvokeConfig"
    return ApiError("ResourceNotFoundException", text)


def _shown(name: str, qualifier: str, config: EventConfig) -> dict[str, Json]:
    destinations = {"OnSuccess": config.on_success, "OnFailure": config.on_failure}
    found: dict[str, Json] = {
        "LastModified": config.modified / 1000,
        "FunctionArn": arn.function(name, qualifier),
        "DestinationConfig": {key: {"Destination": one} if one else {} for key, one in destinations.items()},
    }
    if config.retries is not None:
        found["MaximumRetryAttempts"] = config.retries
    if config.age is not None:
        found["MaximumEventAgeInSeconds"] = config.age
    return found
