"""Set what becomes of asynchronous invocations: retries, age and destinations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from triggerhub.aws import arn
from triggerhub.aws.reference import LATEST, is_version
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
        name, number = self._place(asked)
        self._functions.changeable(name)
        destinations = given.get("DestinationConfig", {})
        told = {"MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig"} & given.keys()
        if not told:
            raise ApiError("InvalidParameterValueException", NOTHING)
        on_success = self._destination(name, destinations.get("OnSuccess", {}).get("Destination"))
        on_failure = self._destination(name, destinations.get("OnFailure", {}).get("Destination"))

        def change(before: Deployed | None) -> Deployed:
            current = there(before, name)
            was = current.events.get(number)
            if keep and was is None:
                raise _none(name, number)
            config = was if keep and was is not None else EventConfig(modified=0)
            config = replace(
                config,
                retries=given.get("MaximumRetryAttempts", config.retries),
                age=given.get("MaximumEventAgeInSeconds", config.age),
                on_success=on_success if "OnSuccess" in destinations else config.on_success,
                on_failure=on_failure if "OnFailure" in destinations else config.on_failure,
                modified=now(),
            )
            return replace(current, events={**current.events, number: config})

        changed = await self._registry.change(name, change)
        assert changed is not None
        return _shown(name, number, changed.events[number])

    async def _get(self, asked: Asked) -> Mapping[str, Json]:
        name, number = self._place(asked)
        deployed = self._functions.deployed(name)
        if deployed is None or number not in deployed.events:
            raise _none(name, number)
        return _shown(name, number, deployed.events[number])

    async def _delete(self, asked: Asked) -> Mapping[str, Json]:
        name, number = self._place(asked)
        self._functions.changeable(name)

        def remove(before: Deployed | None) -> Deployed:
            current = there(before, name)
            if number not in current.events:
                raise _none(name, number)
            return replace(current, events={key: one for key, one in current.events.items() if key != number})

        await self._registry.change(name, remove)
        return {}

    async def _list(self, asked: Asked) -> Mapping[str, Json]:
        name = named(asked.given["FunctionName"]).name
        self._functions.shown(name, None)
        deployed = self._functions.deployed(name)
        events = {} if deployed is None else deployed.events
        rows = [(number, number) for number in sorted(events)]
        return shape.page(
            asked.given, rows, "FunctionEventInvokeConfigs", lambda number: _shown(name, number, events[number])
        )

    def _place(self, asked: Asked) -> tuple[str, str]:
        """Return the function and the number of the version that are meant. Raises ApiError."""
        found = named(asked.given["FunctionName"], asked.given.get("Qualifier"))
        number = found.qualifier or LATEST
        if number != LATEST and not is_version(number):
            text = f"Qualifier: an alias has no such configuration of its own here; give {found.name}'s version."
            raise ApiError("InvalidParameterValueException", text)
        self._functions.shown(found.name, None if number == LATEST else number)
        return found.name, number

    def _destination(self, name: str, text: str | None) -> str | None:
        if not text:
            return None
        if ":function:" not in text:
            return members.outside(text)
        if named(text).name == name:
            raise ApiError("InvalidParameterValueException", ITSELF)
        target = self._targets.find(text, None)
        if named(target.arn).qualifier not in (None, LATEST) and not target.arn.endswith(target.function):
            why = f"The destination ARN {text} is invalid: an alias cannot be a destination here; give its version."
            raise ApiError("InvalidParameterValueException", why)
        return arn.function(target.function)


def _none(name: str, number: str) -> ApiError:
    text = f"The function {arn.function(name, number)} doesn't have an EventInvokeConfig"
    return ApiError("ResourceNotFoundException", text)


def _shown(name: str, number: str, config: EventConfig) -> dict[str, Json]:
    destinations = {"OnSuccess": config.on_success, "OnFailure": config.on_failure}
    found: dict[str, Json] = {
        "LastModified": config.modified / 1000,
        "FunctionArn": arn.function(name, number),
        "DestinationConfig": {key: {"Destination": one} if one else {} for key, one in destinations.items()},
    }
    if config.retries is not None:
        found["MaximumRetryAttempts"] = config.retries
    if config.age is not None:
        found["MaximumEventAgeInSeconds"] = config.age
    return found
