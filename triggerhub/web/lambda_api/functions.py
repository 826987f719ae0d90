"""Make, look at, change and remove functions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import anyio.to_thread

from triggerhub.aws import arn
from triggerhub.aws.reference import LATEST, is_version
from triggerhub.aws.restjson import ApiError
from triggerhub.deploy.record import Deployed, Version
from triggerhub.deploy.registry import Registry, destination
from triggerhub.hub.hub import Hub
from triggerhub.hub.whole import naming
from triggerhub.model import Json
from triggerhub.settings import DEPLOYED, Project
from triggerhub.web.lambda_api import folder, layers, members, shape
from triggerhub.web.lambda_api.asked import Asked, Perform
from triggerhub.web.lambda_api.code import Codes
from triggerhub.web.lambda_api.stamp import now, revision
from triggerhub.web.lambda_api.target import missing, named

MANDATORY = "Runtime and handler are mandatory parameters for functions created with deployment packages."
REVISION = (
    "The Revision Id provided does not match the latest Revision Id. "
    "Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
)
_SETTINGS = {
    "Description": "description", "Handler": "handler", "MemorySize": "memory", "Role": "role", "Runtime": "runtime",
    "Timeout": "timeout",
}  # fmt: skip


class Functions:
    """The operations on functions as a whole and on their ``$LATEST``."""

    def __init__(self, hub: Hub, registry: Registry, codes: Codes) -> None:
        self._hub = hub
        self._registry = registry
        self._codes = codes
        self._names: tuple[Project, int, list[str]] | None = None

    def operations(self) -> Mapping[str, Perform]:
        return {
            "CreateFunction": self._create,
            "DeleteFunction": self._delete,
            "GetFunction": self._get,
            "GetFunctionConfiguration": self._get_configuration,
            "ListFunctions": self._list,
            "UpdateFunctionCode": self._update_code,
            "UpdateFunctionConfiguration": self._update_configuration,
        }

    # looking

    async def _list(self, asked: Asked) -> Mapping[str, Json]:
        if asked.given.get("MasterRegion") is not None:
            raise ApiError("InvalidParameterValueException", "MasterRegion: Lambda@Edge is not in this version.")
        everything = asked.given.get("FunctionVersion") == "ALL"
        names = self._sorted()
        if not everything:  # a page costs what is on it, however many functions there are
            first = bisect_left(names, asked.given.get("Marker", ""))
            names = names[first : first + asked.given.get("MaxItems", shape.DEFAULT_PAGE) + 1]
        rows: list[tuple[str, tuple[str, str | None]]] = []
        for name in names:
            deployed = self.deployed(name) if everything else None
            numbers = [None] if deployed is None else [LATEST, *deployed.versions]
            rows += [(f"{name}:{number}" if number else name, (name, number)) for number in numbers]
        return shape.page(asked.given, rows, "Functions", lambda row: self.shown(*row), _in_order)

    def _sorted(self) -> list[str]:
        """Return the names of all functions, sorted anew only when there are others."""
        known = (self._hub.project, self._registry.generation)
        if self._names is None or self._names[0] is not known[0] or self._names[1] != known[1]:
            serving = {name.partition(":")[0] for name in self._hub.project.functions}
            self._names = (*known, sorted(serving | self._registry.functions.keys()))
        return self._names[2]

    async def _get(self, asked: Asked) -> Mapping[str, Json]:
        found = named(asked.given["FunctionName"], asked.given.get("Qualifier"))
        configured, version = self._shown_of(found.name, found.qualifier)
        deployed = self.deployed(found.name)
        if deployed is None or version is None:
            return {"Configuration": configured, "Code": {"RepositoryType": "handlers folder"}}
        answer: dict[str, Json] = {
            "Configuration": configured,
            "Code": {"RepositoryType": "S3", "Location": asked.link(version.code)},
        }
        if deployed.tags:
            answer["Tags"] = dict(deployed.tags)
        if deployed.reserved is not None:
            answer["Concurrency"] = {"ReservedConcurrentExecutions": deployed.reserved}
        return answer

    async def _get_configuration(self, asked: Asked) -> Mapping[str, Json]:
        found = named(asked.given["FunctionName"], asked.given.get("Qualifier"))
        return self.shown(found.name, found.qualifier)

    def shown(self, name: str, qualifier: str | None) -> dict[str, Json]:
        """Return the configuration of a function, version or alias. Raises ApiError."""
        return self._shown_of(name, qualifier)[0]

    def has(self, name: str, qualifier: str | None = None) -> bool:
        """Whether there is such a function, version or alias."""
        try:
            self.shown(name, qualifier)
        except ApiError:
            return False
        return True

    def _shown_of(self, name: str, qualifier: str | None) -> tuple[dict[str, Json], Version | None]:
        """Return a configuration, and the version that it is of where that was deployed. Raises ApiError."""
        deployed = self.deployed(name)
        if deployed is None:
            function = self._hub.project.functions.get(name)
            if function is None or qualifier not in (None, LATEST, function.version):
                raise missing(name, qualifier)
            return folder.configuration(function, qualifier), None
        number = qualifier or LATEST
        if alias := deployed.aliases.get(number):
            number = alias.version
        version = deployed.version(number)
        if version is None:
            raise missing(name, qualifier)
        configured = shape.configuration(deployed, version, qualifier)
        if (name if number == LATEST else f"{name}:{number}") not in self._registry.served:
            configured |= shape.FAILED
        if version.traced and not self._exports:
            configured |= shape.UNTRACED
        return configured, version

    @property
    def _exports(self) -> bool:
        """Whether calls are traced, all of them."""
        return self._hub.tracing is not None

    def deployed(self, name: str) -> Deployed | None:
        """Return the function that was made by the API; None where there is none, or the folder has it."""
        function = self._hub.project.functions.get(name)
        return self._registry.functions.get(name) if function is None or function.source == DEPLOYED else None

    def changeable(self, name: str) -> Deployed:
        """Return a function that may be changed here. Raises ApiError."""
        deployed = self.deployed(name)
        if deployed is None:
            function = self._hub.project.functions.get(name)
            if function is None:
                raise missing(name)
            text = f"{name} is a function of this project's own ({function.source}): change it there; the API may not."
            raise ApiError("InvalidParameterValueException", text)
        return deployed

    # changing

    async def _create(self, asked: Asked) -> Mapping[str, Json]:
        given = asked.given
        name = named(given["FunctionName"]).name
        members.refuse(given, name)
        members.refuse(given["Code"])
        if not given.get("Runtime") or not given.get("Handler"):
            raise ApiError("InvalidParameterValueException", MANDATORY)
        env, tags = members.environment(given), members.tags(given.get("Tags", {}))
        logs = members.logs(given)
        dead_letters = members.dead_letters(given)
        await anyio.to_thread.run_sync(members.runtime, given["Runtime"])
        snap = members.snap(given, given["Runtime"])
        self._refuse_taken(name)
        uses = layers.uses(self._registry, given.get("Layers", ()))
        async with self._codes.taken(given["Code"]) as taken:
            kept = await self._codes.kept(taken)
        latest = Version(
            runtime=given["Runtime"],
            handler=given["Handler"],
            role=given["Role"],
            description=given.get("Description", ""),
            timeout=given.get("Timeout", 3),
            memory=given.get("MemorySize", 128),
            storage=given.get("EphemeralStorage", {}).get("Size", 512),
            env=env,
            env_given="Environment" in given,
            **logs,
            layers=uses,
            snap=snap,
            traced=members.traced(given, exported=self._exports),
            dead_letters=dead_letters,
            code=kept,
            code_size=taken.size,
            modified=now(),
            revision=revision(),
        )

        def create(before: Deployed | None) -> Deployed:
            self._refuse_taken(name)
            made = Deployed(name=name, latest=latest, tags=tags)
            return published(made)[0] if given.get("Publish") else made

        made = await self._registry.change(name, create)
        assert made is not None
        version = made.versions[str(made.published)] if given.get("Publish") else made.latest
        # The ARN has no qualifier, whichever version it is, as at AWS.
        return shape.creating(shape.configuration(made, version, None))

    def _refuse_taken(self, name: str) -> None:
        if name in self._hub.project.functions or name in self._registry.functions:
            raise ApiError("ResourceConflictException", f"Function already exist: {name}")

    async def _update_code(self, asked: Asked) -> Mapping[str, Json]:
        given = asked.given
        name = named(given["FunctionName"]).name
        deployed = self.changeable(name)
        members.refuse(given, name)
        _at(deployed, given)
        async with self._codes.taken(given) as taken:
            if given.get("DryRun"):
                await anyio.to_thread.run_sync(self._registry.check_size, taken.unpacked, deployed.latest.layers)
                planned = replace(deployed.latest, code=await taken.name(), code_size=taken.size)
                return shape.configuration(deployed, planned, None)
            kept = await self._codes.kept(taken)

        def update(before: Deployed | None) -> Deployed:
            current = there(before, name)
            _at(current, given)
            latest = replace(current.latest, code=kept, code_size=taken.size, modified=now(), revision=revision())
            changed = replace(current, latest=latest)
            return published(changed)[0] if given.get("Publish") else changed

        return await self._updated(name, update, publish=given.get("Publish", False))

    async def _update_configuration(self, asked: Asked) -> Mapping[str, Json]:
        given = asked.given
        name = named(given["FunctionName"]).name
        deployed = self.changeable(name)
        members.refuse(given, name)
        changes: dict[str, Any] = {ours: given[theirs] for theirs, ours in _SETTINGS.items() if theirs in given}
        if "Environment" in given:
            changes |= {"env": members.environment(given), "env_given": True}
        if "DeadLetterConfig" in given:
            changes["dead_letters"] = members.dead_letters(given)
        if "Mode" in given.get("TracingConfig", {}):
            changes["traced"] = members.traced(given, exported=self._exports)
        if "EphemeralStorage" in given:
            changes["storage"] = given["EphemeralStorage"]["Size"]
        if "Layers" in given:
            changes["layers"] = layers.uses(self._registry, given["Layers"])
        if "Runtime" in given:
            await anyio.to_thread.run_sync(members.runtime, given["Runtime"])
        if not changes.get("handler", deployed.latest.handler):
            raise ApiError("InvalidParameterValueException", MANDATORY)

        def update(before: Deployed | None) -> Deployed:
            current = there(before, name)
            _at(current, given)
            snap = members.snap(given, changes.get("runtime", current.latest.runtime), current.latest.snap)
            logs = members.logs(given, current.latest)
            latest = replace(current.latest, **changes, **logs, snap=snap, modified=now(), revision=revision())
            return replace(current, latest=latest)

        return await self._updated(name, update, publish=False)

    async def _updated(
        self, name: str, update: Callable[[Deployed | None], Deployed], *, publish: bool
    ) -> Mapping[str, Json]:
        changed = await self._registry.change(name, update)
        assert changed is not None
        if publish:
            number = str(changed.published)
            return shape.creating(shape.configuration(changed, changed.versions[number], number))
        return shape.updating(shape.configuration(changed, changed.latest, None))

    async def _delete(self, asked: Asked) -> Mapping[str, Json]:
        found = named(asked.given["FunctionName"], asked.given.get("Qualifier"))
        self.changeable(found.name)
        served = found.name if found.qualifier is None else f"{found.name}:{found.qualifier}"

        def remove(before: Deployed | None) -> Deployed | None:
            current = there(before, found.name)
            self.refuse_used(served)
            if found.qualifier is None:
                return None
            if found.qualifier == LATEST:
                text = "$LATEST version cannot be deleted without deleting the function."
                raise ApiError("InvalidParameterValueException", text)
            if not is_version(found.qualifier):
                text = "Deletion of aliases is not currently supported."
                raise ApiError("InvalidParameterValueException", text)
            if users := sorted(
                name for name, one in current.aliases.items() if found.qualifier in (one.version, *one.weights)
            ):
                text = f"Unable to delete version because the following aliases reference it: [{', '.join(users)}]"
                raise ApiError("ResourceConflictException", text)
            versions = {number: one for number, one in current.versions.items() if number != found.qualifier}
            return replace(current.without(found.qualifier), versions=versions)

        await self._registry.change(found.name, remove)
        return {}

    def refuse_used(self, served: str) -> None:
        """Raise ApiError where a mapping, a destination or triggerhub.toml leads to *served*.

        Without a qualifier, to any of its versions and aliases. Only of use while nothing else is changed.
        """

        def means(name: str) -> bool:
            return name == served or name.startswith(f"{served}:")

        def leads(told: str | None) -> bool:
            return told is not None and (to := destination(told)).kind == "function" and means(to.target)

        for mapping in self._registry.mappings.mappings.values():
            if means(mapping.function):
                text = f"{served} has the event source mapping {mapping.uuid}; delete that first."
                raise ApiError("ResourceConflictException", text)
            told = mapping.on_failure
            if told is not None and not told.startswith("arn:") and means(told):
                text = f"{served} is the OnFailure of the event source mapping {mapping.uuid}; update that first."
                raise ApiError("ResourceConflictException", text)
        for deployed in self._registry.functions.values():
            for qualifier, events in deployed.events.items():
                for kind, to in (("OnSuccess", events.on_success), ("OnFailure", events.on_failure)):
                    if leads(to):
                        text = f"{served} is the {kind} of {deployed.name}:{qualifier}; change its EventInvokeConfig"
                        raise ApiError("ResourceConflictException", f"{text} first.")
        if places := list(naming(self._hub.project, served)):
            text = f"{served} is named by {', '.join(places[:5])} in triggerhub.toml; take it out there first."
            raise ApiError("ResourceConflictException", text)


def _in_order(key: str) -> tuple[str, int]:
    name, _, number = key.partition(":")
    return name, shape.numbered(number or LATEST)


def published(deployed: Deployed, description: str | None = None) -> tuple[Deployed, Version]:
    """Return the function with its ``$LATEST`` published, and that version; the last one where nothing was updated."""
    last = deployed.versions.get(str(deployed.published))
    if last is not None and not deployed.latest.updated_since(last):
        return deployed, last
    number = str(deployed.published + 1)
    text = deployed.latest.description if description is None else description
    version = replace(deployed.latest, number=number, description=text, revision=revision())
    versions = {**deployed.versions, number: version}
    return replace(deployed, versions=versions, published=deployed.published + 1), version


def there(before: Deployed | None, name: str) -> Deployed:
    """Return a function that is to be changed; raises ApiError where it was removed meanwhile."""
    if before is None:
        raise ApiError("ResourceNotFoundException", f"Function not found: {arn.function(name)}")
    return before


def _at(deployed: Deployed, given: Mapping[str, Json]) -> None:
    """Raise ApiError where the caller changes another revision than the one that is there."""
    if given.get("RevisionId") not in (None, deployed.latest.revision):
        raise ApiError("PreconditionFailedException", REVISION)
