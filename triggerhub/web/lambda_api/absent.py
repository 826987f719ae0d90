"""Answer for what this hub has none of, as AWS does in an account that has none: lists are empty, names lead nowhere.

What would make one of them is refused, and so no answer here can be untrue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from triggerhub.aws.restjson import ApiError
from triggerhub.model import Json
from triggerhub.web.lambda_api.asked import Asked, Perform
from triggerhub.web.lambda_api.functions import Functions
from triggerhub.web.lambda_api.target import named

NO_SIGNING = "The Lambda code signing configuration {arn} can not be found."
NO_SUCH_SIGNING = (
    "The code signing configuration cannot be found. Check that the provided configuration is not deleted: {arn}."
)
NO_PROVIDER = "Capacity provider not found: {name}"


class Absent:
    """The operations on code signing configurations, capacity providers and durable executions."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions

    def operations(self) -> Mapping[str, Perform]:
        return {
            "ListCodeSigningConfigs": self._no_signings,
            "GetCodeSigningConfig": self._no_signing,
            "UpdateCodeSigningConfig": self._no_signing,
            "DeleteCodeSigningConfig": self._no_signing,
            "ListFunctionsByCodeSigningConfig": self._no_signing,
            "GetFunctionCodeSigningConfig": self._unsigned,
            "PutFunctionCodeSigningConfig": self._put_signing,
            "DeleteFunctionCodeSigningConfig": self._delete_signing,
            "ListCapacityProviders": self._no_providers,
            "GetCapacityProvider": self._no_provider,
            "UpdateCapacityProvider": self._no_provider,
            "DeleteCapacityProvider": self._no_provider,
            "ListFunctionVersionsByCapacityProvider": self._no_provider,
            "ListDurableExecutionsByFunction": self._no_executions,
        }

    async def _no_signings(self, asked: Asked) -> Mapping[str, Json]:
        return {"CodeSigningConfigs": []}

    async def _no_signing(self, asked: Asked) -> NoReturn:
        raise ApiError("ResourceNotFoundException", NO_SIGNING.format(arn=asked.given["CodeSigningConfigArn"]))

    async def _unsigned(self, asked: Asked) -> Mapping[str, Json]:
        # AWS answers with neither member, though its description requires both.
        return {"CodeSigningConfigArn": "", "FunctionName": self._name(asked)}

    async def _put_signing(self, asked: Asked) -> NoReturn:
        text = NO_SUCH_SIGNING.format(arn=asked.given["CodeSigningConfigArn"])
        raise ApiError("CodeSigningConfigNotFoundException", text)

    async def _delete_signing(self, asked: Asked) -> Mapping[str, Json]:
        self._functions.changeable(self._name(asked))
        return {}

    async def _no_providers(self, asked: Asked) -> Mapping[str, Json]:
        return {"CapacityProviders": []}

    async def _no_provider(self, asked: Asked) -> NoReturn:
        raise ApiError("ResourceNotFoundException", NO_PROVIDER.format(name=asked.given["CapacityProviderName"]))

    async def _no_executions(self, asked: Asked) -> Mapping[str, Json]:
        self._name(asked)
        return {"DurableExecutions": []}

    def _name(self, asked: Asked) -> str:
        """Return the function that is meant. Raises ApiError where it is not there."""
        found = named(asked.given["FunctionName"], asked.given.get("Qualifier"))
        self._functions.shown(found.name, found.qualifier)
        return found.name
