"""Set what goes with a function beside its code: concurrency, loops, and what has one value here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from triggerhub.aws import arn
from triggerhub.aws.reference import LATEST
from triggerhub.aws.restjson import ApiError
from triggerhub.deploy.record import Deployed
from triggerhub.deploy.registry import Registry
from triggerhub.model import Json
from triggerhub.web.lambda_api.account import CONCURRENCY, UNRESERVED
from triggerhub.web.lambda_api.asked import Asked, Perform
from triggerhub.web.lambda_api.functions import Functions, there
from triggerhub.web.lambda_api.target import missing, named

_TOO_MUCH = (
    "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its "
    f"minimum value of [{UNRESERVED}]."
)


class Options:
    """The operations on a function's settings."""

    def __init__(self, functions: Functions, registry: Registry) -> None:
        self._functions = functions
        self._registry = registry

    def operations(self) -> Mapping[str, Perform]:
        return {
            "PutFunctionConcurrency": self._put_concurrency,
            "GetFunctionConcurrency": self._get_concurrency,
            "DeleteFunctionConcurrency": self._delete_concurrency,
            "GetFunctionRecursionConfig": self._get_recursion,
            "PutFunctionRecursionConfig": self._put_recursion,
            "GetRuntimeManagementConfig": self._get_management,
            "PutRuntimeManagementConfig": self._put_management,
        }

    # concurrency

    async def _put_concurrency(self, asked: Asked) -> Mapping[str, Json]:
        name, wanted = named(asked.given["FunctionName"]).name, asked.given["ReservedConcurrentExecutions"]
        if not self._functions.has(name):
            raise missing(name, LATEST)
        self._functions.changeable(name)
        await self._reserve(name, wanted)
        return {"ReservedConcurrentExecutions": wanted}

    async def _reserve(self, name: str, wanted: int | None) -> None:
        """Set a reservation. One of none holds back what is queued, too: a delivery waits, and is not lost."""

        def reserve(before: Deployed | None) -> Deployed:
            current = there(before, name)
            if wanted is not None and wanted < current.provisioned_in_all:
                text = f" ReservedConcurrentExecutions  {wanted} should not be lower than function's total provisioned "
                raise ApiError("InvalidParameterValueException", f"{text}concurrency [{current.provisioned_in_all}].")
            others = sum(one.reserved or 0 for one in self._registry.functions.values() if one.name != name)
            if (wanted or 0) > (current.reserved or 0) and CONCURRENCY - others - (wanted or 0) < UNRESERVED:
                raise ApiError("InvalidParameterValueException", _TOO_MUCH)
            return replace(current, reserved=wanted)

        await self._registry.change(name, reserve)

    async def _get_concurrency(self, asked: Asked) -> Mapping[str, Json]:
        deployed = self._looked_at(asked)
        if deployed is None or deployed.reserved is None:
            return {}
        return {"ReservedConcurrentExecutions": deployed.reserved}

    async def _delete_concurrency(self, asked: Asked) -> Mapping[str, Json]:
        await self._reserve(self._name(asked), None)
        return {}

    # loops

    async def _get_recursion(self, asked: Asked) -> Mapping[str, Json]:
        deployed = self._looked_at(asked)
        return {"RecursiveLoop": "Allow" if deployed is not None and deployed.recursive else "Terminate"}

    async def _put_recursion(self, asked: Asked) -> Mapping[str, Json]:
        wanted = asked.given["RecursiveLoop"]
        if self._looked_at(asked) is None and wanted == "Terminate":
            return {"RecursiveLoop": wanted}  # as it is for functions of the folder
        name = self._name(asked)
        await self._registry.change(name, lambda before: replace(there(before, name), recursive=wanted == "Allow"))
        return {"RecursiveLoop": wanted}

    # what has one value here

    async def _get_management(self, asked: Asked) -> Mapping[str, Json]:
        name, qualifier = self._looked_at_name(asked)
        return {"UpdateRuntimeOn": "Auto", "FunctionArn": arn.function(name, qualifier)}

    async def _put_management(self, asked: Asked) -> Mapping[str, Json]:
        name, qualifier = self._looked_at_name(asked)
        if asked.given["UpdateRuntimeOn"] != "Auto":
            text = "UpdateRuntimeOn: runtimes are those of this machine, and change as they do; only Auto can be."
            raise ApiError("InvalidParameterValueException", text)
        if "RuntimeVersionArn" in asked.given:
            text = "RuntimeVersionArn: it goes with UpdateRuntimeOn Manual alone, which there is not here."
            raise ApiError("InvalidParameterValueException", text)
        return {"UpdateRuntimeOn": "Auto", "FunctionArn": arn.function(name, qualifier)}

    # small helps

    def _name(self, asked: Asked) -> str:
        name = named(asked.given["FunctionName"]).name
        self._functions.changeable(name)
        return name

    def _looked_at(self, asked: Asked) -> Deployed | None:
        name, _ = self._looked_at_name(asked)
        return self._functions.deployed(name)

    def _looked_at_name(self, asked: Asked) -> tuple[str, str | None]:
        found = named(asked.given["FunctionName"], asked.given.get("Qualifier"))
        self._functions.shown(found.name, found.qualifier)
        return found.name, found.qualifier
