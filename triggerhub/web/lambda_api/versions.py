"""Publish versions, and lead aliases to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from triggerhub.aws import arn
from triggerhub.aws.reference import LATEST
from triggerhub.aws.restjson import ApiError
from triggerhub.deploy.record import Alias, Deployed, Version
from triggerhub.deploy.registry import Change, Registry
from triggerhub.model import Json
from triggerhub.web.lambda_api import shape
from triggerhub.web.lambda_api.asked import Asked, Perform
from triggerhub.web.lambda_api.functions import REVISION, Functions, published, there
from triggerhub.web.lambda_api.provisioned import OF_VERSION
from triggerhub.web.lambda_api.stamp import revision
from triggerhub.web.lambda_api.target import absent, missing, named


class Versions:
    """The operations on versions and aliases."""

    def __init__(self, functions: Functions, registry: Registry) -> None:
        self._functions = functions
        self._registry = registry

    def operations(self) -> Mapping[str, Perform]:
        return {
            "PublishVersion": self._publish,
            "ListVersionsByFunction": self._list_versions,
            "CreateAlias": self._create_alias,
            "DeleteAlias": self._delete_alias,
            "GetAlias": self._get_alias,
            "ListAliases": self._list_aliases,
            "UpdateAlias": self._update_alias,
        }

    async def _publish(self, asked: Asked) -> Mapping[str, Json]:
        given, name = asked.given, named(asked.given["FunctionName"]).name
        self._functions.changeable(name)
        if "PublishTo" in given:
            raise ApiError("InvalidParameterValueException", "PublishTo: $LATEST.PUBLISHED is not in this version.")
        found: list[Version] = []

        def publish(before: Deployed | None) -> Deployed:
            current = there(before, name)
            if given.get("RevisionId") not in (None, current.latest.revision):
                raise ApiError("PreconditionFailedException", REVISION)
            told, right = given.get("CodeSha256"), shape.sha256(current.latest.code)
            if told not in (None, "", right):
                text = f"CodeSHA256 ({told}) is different from current CodeSHA256 in $LATEST ({right}). "
                raise ApiError(
                    "InvalidParameterValueException", f"{text}Please try again with the CodeSHA256 in $LATEST."
                )
            changed, version = published(current, given.get("Description"))
            found.append(version)
            return changed

        changed = await self._registry.change(name, publish)
        assert changed is not None
        return shape.configuration(changed, found[-1], found[-1].number)

    async def _list_versions(self, asked: Asked) -> Mapping[str, Json]:
        name = named(asked.given["FunctionName"]).name
        deployed = self._functions.deployed(name)
        if deployed is None:
            return {"Versions": [self._functions.shown(name, None)]}
        numbers = [LATEST, *sorted(deployed.versions, key=int)]
        rows = [(number, number) for number in numbers]
        return shape.page(
            asked.given, rows, "Versions", lambda number: self._functions.shown(name, number), shape.numbered
        )

    # aliases

    async def _create_alias(self, asked: Asked) -> Mapping[str, Json]:
        given, function, name = asked.given, named(asked.given["FunctionName"]).name, asked.given["Name"]
        if not self._functions.has(function):
            raise missing(function, given["FunctionVersion"])
        self._functions.changeable(function)

        def create(before: Deployed | None) -> Deployed:
            current = there(before, function)
            if name in current.aliases:
                text = f"Alias already exists: {arn.function(function, name)}"
                raise ApiError("ResourceConflictException", text)
            made = Alias(
                version=given["FunctionVersion"],
                description=given.get("Description", ""),
                weights=_weights(given),
                revision=revision(),
            )
            _check(current, made)
            return replace(current, aliases={**current.aliases, name: made})

        return await self._changed(function, name, create)

    async def _update_alias(self, asked: Asked) -> Mapping[str, Json]:
        given, function, name = asked.given, named(asked.given["FunctionName"]).name, asked.given["Name"]
        self._functions.changeable(function)

        def update(before: Deployed | None) -> Deployed:
            current = there(before, function)
            alias = _alias(current, name)
            if given.get("RevisionId") not in (None, alias.revision):
                raise ApiError("PreconditionFailedException", REVISION)
            led = "FunctionVersion" in given or "RoutingConfig" in given
            version = given.get("FunctionVersion", alias.version)
            if version == LATEST != alias.version and name in current.provisioned:
                text = f"Alias {name} has provisioned concurrency, which $LATEST cannot have: delete its configuration "
                raise ApiError("InvalidParameterValueException", f"{text}(DeleteProvisionedConcurrencyConfig) first.")
            if version != alias.version and name in current.provisioned and version in current.provisioned:
                raise ApiError("ResourceConflictException", OF_VERSION)
            made = Alias(
                # Who leads it elsewhere by hand decides, and no canary any more.
                canary=None if led else alias.canary,
                version=version,
                before=alias.at(version),
                description=given.get("Description", alias.description),
                weights=_weights(given) if "RoutingConfig" in given else alias.weights,
                revision=revision(),
            )
            _check(current, made)
            return replace(current, aliases={**current.aliases, name: made})

        return await self._changed(function, name, update)

    async def _changed(self, function: str, name: str, change: Change) -> Mapping[str, Json]:
        changed = await self._registry.change(function, change)
        assert changed is not None
        return shape.alias(changed, name, changed.aliases[name])

    async def _delete_alias(self, asked: Asked) -> Mapping[str, Json]:
        function, name = named(asked.given["FunctionName"]).name, asked.given["Name"]
        self._functions.changeable(function)

        def remove(before: Deployed | None) -> Deployed:
            current = there(before, function)
            self._functions.refuse_used(f"{function}:{name}")
            aliases = {key: one for key, one in current.aliases.items() if key != name}
            return replace(current.without(name), aliases=aliases)

        await self._registry.change(function, remove)
        return {}

    async def _get_alias(self, asked: Asked) -> Mapping[str, Json]:
        deployed = self._there(asked)
        return shape.alias(deployed, asked.given["Name"], _alias(deployed, asked.given["Name"]))

    async def _list_aliases(self, asked: Asked) -> Mapping[str, Json]:
        deployed = self._functions.deployed(named(asked.given["FunctionName"]).name)
        wanted = asked.given.get("FunctionVersion")
        aliases = {} if deployed is None else deployed.aliases
        if deployed is None:
            self._functions.shown(named(asked.given["FunctionName"]).name, None)
        names = sorted(name for name, one in aliases.items() if wanted in (None, one.version, *one.weights))
        rows = [(name, name) for name in names]
        return shape.page(
            asked.given, rows, "Aliases", lambda name: deployed and shape.alias(deployed, name, aliases[name])
        )

    def _there(self, asked: Asked) -> Deployed:
        name = named(asked.given["FunctionName"]).name
        deployed = self._functions.deployed(name)
        if deployed is None:
            self._functions.shown(name, None)
            raise absent(name, asked.given["Name"])
        return deployed


def _alias(deployed: Deployed, name: str) -> Alias:
    if name not in deployed.aliases:
        raise absent(deployed.name, name)
    return deployed.aliases[name]


def _weights(given: Mapping[str, Json]) -> dict[str, float]:
    weights: dict[str, float] = given.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
    return dict(weights)


def _check(deployed: Deployed, alias: Alias) -> None:
    """Raise ApiError for an alias that cannot lead where it shall."""
    if len(alias.weights) > 1:
        text = "Number of items in AdditionalVersionWeights cannot be greater than 1"
        raise ApiError("InvalidParameterValueException", text)
    if alias.weights and LATEST in (alias.version, *alias.weights):
        text = "$LATEST is not supported for an alias pointing to more than 1 version"
        raise ApiError("InvalidParameterValueException", text)
    if alias.version in alias.weights:
        text = f"Invalid function version {alias.version}. Function version {alias.version} is already included in "
        raise ApiError("InvalidParameterValueException", f"{text}routing configuration.")
    for number in (alias.version, *alias.weights):
        if deployed.version(number) is None:
            raise missing(deployed.name, number)
