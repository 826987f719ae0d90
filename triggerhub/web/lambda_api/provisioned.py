"""Keep workers of versions ready: provisioned concurrency."""

from __future__ import annotations

from collections.abc import Mapping

from triggerhub.aws import arn
from triggerhub.aws.reference import LATEST
from triggerhub.aws.restjson import ApiError
from triggerhub.deploy.record import Deployed, Provisioned
from triggerhub.deploy.registry import Registry
from triggerhub.hub.hub import Hub
from triggerhub.model import Json
from triggerhub.web.lambda_api import shape
from triggerhub.web.lambda_api.asked import Asked, Perform
from triggerhub.web.lambda_api.functions import Functions
from triggerhub.web.lambda_api.qualified import Qualified
from triggerhub.web.lambda_api.stamp import now
from triggerhub.web.lambda_api.target import absent, named

MOST = 1000
"""The most of one configuration: AWS's limit of an account."""
UNPUBLISHED = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
NOT_LATEST = "The function resource provided must be an alias or a published version."
NONE = "No Provisioned Concurrency Config found for this function"
WEIGHTED = "Alias with weights can not be used with Provisioned Concurrency"
OF_VERSION = "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
OF_ALIAS = "Version is pointed by a Provisioned Concurrency alias"
OVER_RESERVED = (
    "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
)


class ProvisionedConcurrency:
    """The operations on provisioned concurrency. Its workers are the ``warm`` ones of the version's function."""

    def __init__(self, hub: Hub, functions: Functions, registry: Registry) -> None:
        self._hub = hub
        self._functions = functions
        self._configs: Qualified[Provisioned] = Qualified(functions, registry, "provisioned", _none)

    def operations(self) -> Mapping[str, Perform]:
        return {
            "PutProvisionedConcurrencyConfig": self._put,
            "GetProvisionedConcurrencyConfig": self._get,
            "DeleteProvisionedConcurrencyConfig": self._delete,
            "ListProvisionedConcurrencyConfigs": self._list,
        }

    async def _put(self, asked: Asked) -> Mapping[str, Json]:
        name, qualifier = self._place(asked, UNPUBLISHED)
        wanted = Provisioned(count=asked.given["ProvisionedConcurrentExecutions"], modified=now())
        if wanted.count > MOST:
            text = "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency"
            raise ApiError("InvalidParameterValueException", f"{text} [{MOST}].")

        def put(current: Deployed, before: Provisioned | None) -> Provisioned:
            _check(current, qualifier)
            in_all = current.provisioned_in_all + wanted.count - (before.count if before else 0)
            if current.reserved is not None and in_all > current.reserved:
                raise ApiError("InvalidParameterValueException", OVER_RESERVED)
            return wanted

        await self._configs.put(name, qualifier, put)
        return {
            "RequestedProvisionedConcurrentExecutions": wanted.count,
            "AllocatedProvisionedConcurrentExecutions": 0,
            "AvailableProvisionedConcurrentExecutions": 0,
            "Status": "IN_PROGRESS",
            "LastModified": shape.when(wanted.modified),
        }

    async def _get(self, asked: Asked) -> Mapping[str, Json]:
        name, qualifier = self._place(asked, NOT_LATEST)
        if not self._functions.has(name, qualifier):
            raise absent(name, qualifier)
        return self._shown(name, qualifier, self._configs.get(name, qualifier))

    async def _delete(self, asked: Asked) -> Mapping[str, Json]:
        name, qualifier = self._place(asked, NOT_LATEST)
        await self._configs.delete(name, qualifier, lambda current: _exists(current, qualifier))
        return {}

    def _place(self, asked: Asked, why: str) -> tuple[str, str]:
        """Return function and qualifier; raises ApiError, for *why*, where that is no version or alias."""
        found = named(asked.given["FunctionName"], asked.given["Qualifier"])
        if found.qualifier in (None, LATEST):
            raise ApiError("InvalidParameterValueException", why)
        if not self._functions.has(found.name):
            raise absent(found.name, found.qualifier)
        return found.name, found.qualifier

    async def _list(self, asked: Asked) -> Mapping[str, Json]:
        name = named(asked.given["FunctionName"]).name
        rows = [(qualifier, (qualifier, config)) for qualifier, config in self._configs.rows(name)]
        return shape.page(asked.given, rows, "ProvisionedConcurrencyConfigs", lambda row: {
            "FunctionArn": arn.function(name, row[0]), **self._shown(name, *row),
        })  # fmt: skip

    def _shown(self, name: str, qualifier: str, wanted: Provisioned) -> dict[str, Json]:
        """Return a configuration with how many workers there are, and how many of them have started."""
        deployed = self._functions.changeable(name)
        alias = deployed.aliases.get(qualifier)
        served = deployed.serving(alias.version if alias else qualifier)
        live, ready, trouble = self._hub.warmth(served)
        shown: dict[str, Json] = {
            "RequestedProvisionedConcurrentExecutions": wanted.count,
            "AllocatedProvisionedConcurrentExecutions": min(live, wanted.count),
            "AvailableProvisionedConcurrentExecutions": min(ready, wanted.count),
            "Status": "READY" if ready >= wanted.count else "FAILED" if trouble else "IN_PROGRESS",
            "LastModified": shape.when(wanted.modified),
        }
        return shown if shown["Status"] != "FAILED" else {**shown, "StatusReason": trouble}


def _none(name: str, qualifier: str) -> ApiError:
    return ApiError("ProvisionedConcurrencyConfigNotFoundException", NONE)


def _exists(deployed: Deployed, qualifier: str) -> None:
    if qualifier not in deployed.versions and qualifier not in deployed.aliases:
        raise absent(deployed.name, qualifier)


def _check(deployed: Deployed, qualifier: str) -> None:
    """Raise ApiError for what has no workers that could be kept, or has them kept otherwise."""
    _exists(deployed, qualifier)
    alias = deployed.aliases.get(qualifier)
    if alias is None:
        if any(one.version == qualifier and name in deployed.provisioned for name, one in deployed.aliases.items()):
            raise ApiError("ResourceConflictException", OF_ALIAS)
        return
    if alias.weights:
        raise ApiError("InvalidParameterValueException", WEIGHTED)
    if alias.version == LATEST:
        raise ApiError("InvalidParameterValueException", UNPUBLISHED)
    if alias.version in deployed.provisioned:
        raise ApiError("ResourceConflictException", OF_VERSION)
