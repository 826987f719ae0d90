"""Set what becomes of asynchronous invocations: retries, age and destinations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from triggerhub.aws import arn
from triggerhub.aws.reference import LATEST
from triggerhub.aws.restjson import ApiError
from triggerhub.deploy.record import Deployed, EventConfig
from triggerhub.deploy.registry import Registry
from triggerhub.model import Json
from triggerhub.web.lambda_api import members, shape
from triggerhub.web.lambda_api.asked import Asked, Perform
from triggerhub.web.lambda_api.functions import Functions, there
from triggerhub.web.lambda_api.stamp import now
from triggerhub.web.lambda_api.target import Targets, named

NOTHING = "You must specify at least one of error handling or destination setting."
ITSELF = "You can't specify the function as a destination for itself."


class Events:
    """The operations on event invoke configurations."""

    def __init__(self, functions: Functions, targets: Targets, registry: Registry) -> None:
        self._functions = functions
        self._targets = targets
        self._registry = registry

    def operations(self) -> Mapping[str, Perform]:
        return {
            "PutFunctionEventInvokeConfig": self._put,
            "UpdateFunctionEventInvokeConfig": self._update,
            "GetFunctionEventInvokeConfig": self._get,
            "DeleteFunctionEventInvokeConfig": self._delete,
            "ListFunctionEventInvokeConfigs": self._list,
        }

    async def _put(self, asked: Asked) -> Mapping[str, Json]:
        return await self._set(asked, keep=False)

    async def _update(self, asked: Asked) -> Mapping[str, Json]:
        return await self._set(asked, keep=True)

    async def _set(self, asked: Asked, *, keep: bool) -> Mapping[str, Json]:
        given = asked.given
        name, qualifier = self._place(asked)
        self._functions.changeable(name)
        destinations = given.get("DestinationConfig", {})
        told = {"MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig"} & given.keys()
        if not told:
            raise ApiError("InvalidParameterValueException", NOTHING)
        on_success = self._destination(name, destinations.get("OnSuccess", {}).get("Destination"))
        on_failure = self._destination(name, destinations.get("OnFailure", {}).get("Destination"))

        def change(before: Deployed | None) -> Deployed:
            current = there(before, name)
            was = current.events.get(qualifier)
            if keep and was is None:
                raise _none(name, qualifier)
            config = was if keep and was is not None else EventConfig(modified=0)
            config = replace(
                config,
                retries=given.get("MaximumRetryAttempts", config.retries),
                age=given.get("MaximumEventAgeInSeconds", config.age),
                on_success=on_success if "OnSuccess" in destinations else config.on_success,
                on_failure=on_failure if "OnFailure" in destinations else config.on_failure,
                modified=now(),
            )
            return replace(current, events={**current.events, qualifier: config})

        changed = await self._registry.change(name, change)
        assert changed is not None
        return _shown(name, qualifier, changed.events[qualifier])

    async def _get(self, asked: Asked) -> Mapping[str, Json]:
        name, qualifier = self._place(asked)
        deployed = self._functions.deployed(name)
        if deployed is None or qualifier not in deployed.events:
            raise _none(name, qualifier)
        return _shown(name, qualifier, deployed.events[qualifier])

    async def _delete(self, asked: Asked) -> Mapping[str, Json]:
        name, qualifier = self._place(asked)
        self._functions.changeable(name)

        def remove(before: Deployed | None) -> Deployed:
            current = there(before, name)
            if qualifier not in current.events:
                raise _none(name, qualifier)
            return replace(current, events={key: one for key, one in current.events.items() if key != qualifier})

        await self._registry.change(name, remove)
        return {}

    async def _list(self, asked: Asked) -> Mapping[str, Json]:
        name = named(asked.given["FunctionName"]).name
        self._functions.shown(name, None)
        deployed = self._functions.deployed(name)
        events = {} if deployed is None else deployed.events
        rows = [(qualifier, (qualifier, events[qualifier])) for qualifier in sorted(events)]
        return shape.page(asked.given, rows, "FunctionEventInvokeConfigs", lambda row: _shown(name, *row))

    def _place(self, asked: Asked) -> tuple[str, str]:
        """Return the function and the qualifier that are meant. Raises ApiError."""
        found = named(asked.given["FunctionName"], asked.given.get("Qualifier"))
        qualifier = found.qualifier or LATEST
        self._functions.shown(found.name, None if qualifier == LATEST else qualifier)
        return found.name, qualifier

    def _destination(self, name: str, text: str | None) -> str | None:
        if not text:
            return None
        if ":function:" not in text:
            return members.outside(text)
        if named(text).name == name:
            raise ApiError("InvalidParameterValueException", ITSELF)
        return arn.function(self._targets.find(text, None).events)


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
