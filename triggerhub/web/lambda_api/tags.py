"""Keep the tags of functions and of event source mappings."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from triggerhub.aws import arn
from triggerhub.aws.restjson import ApiError
from triggerhub.deploy.mappings import SourceMapping
from triggerhub.deploy.record import Deployed
from triggerhub.deploy.registry import Registry
from triggerhub.model import Json
from triggerhub.web.lambda_api import members
from triggerhub.web.lambda_api.asked import Asked, Perform
from triggerhub.web.lambda_api.functions import Functions, there
from triggerhub.web.lambda_api.stamp import revision
from triggerhub.web.lambda_api.target import named

ON_FUNCTIONS_ONLY = "Tags on function aliases and versions are not supported. Please specify a function ARN."
NOTHING = "An error occurred and the request cannot be processed."
_OTHER = re.compile(r"arn:[^:]*:lambda:(?P<region>[^:]*):(?P<account>\d{12}):(?P<kind>[a-z-]+):(?P<id>[A-Za-z0-9-_]+)")
_Tags = Callable[[Mapping[str, str]], dict[str, str]]


class Tags:
    """The operations on tags."""

    def __init__(self, functions: Functions, registry: Registry) -> None:
        self._functions = functions
        self._registry = registry

    def operations(self) -> Mapping[str, Perform]:
        return {"ListTags": self._list, "TagResource": self._tag, "UntagResource": self._untag}

    async def _list(self, asked: Asked) -> Mapping[str, Json]:
        if (key := self._mapping(asked)) is not None:
            return {"Tags": dict(self._registry.mappings.mappings[key].tags)}
        deployed = self._functions.deployed(self._function(asked))
        return {"Tags": {} if deployed is None else dict(deployed.tags)}

    async def _tag(self, asked: Asked) -> Mapping[str, Json]:
        if not asked.given["Tags"]:
            raise ApiError("InvalidParameterValueException", NOTHING)
        await self._change(asked, lambda before: members.tags({**before, **asked.given["Tags"]}))
        return {}

    async def _untag(self, asked: Asked) -> Mapping[str, Json]:
        gone = asked.given["TagKeys"]
        await self._change(asked, lambda before: {key: value for key, value in before.items() if key not in gone})
        return {}

    async def _change(self, asked: Asked, tags: _Tags) -> None:
        if (key := self._mapping(asked)) is not None:

            def change_mapping(before: SourceMapping | None) -> SourceMapping:
                if before is None:
                    raise _nowhere(asked)
                return replace(before, tags=tags(before.tags))

            await self._registry.mappings.change(key, change_mapping)
            return
        name = self._function(asked)
        self._functions.changeable(name)

        def change(before: Deployed | None) -> Deployed:
            current = there(before, name)
            return replace(current, tags=tags(current.tags)).revised("", revision())

        await self._registry.change(name, change)

    def _mapping(self, asked: Asked) -> str | None:
        """Return the UUID of a mapping that is meant, None where it is a function. Raises ApiError for all else."""
        found = _OTHER.fullmatch(asked.given["Resource"])
        if found is None or found["kind"] == "function":
            return None
        key = found["id"].lower()
        known = found["kind"] == "event-source-mapping" and key in self._registry.mappings.mappings
        if not known or (found["account"], found["region"]) != (arn.ACCOUNT, arn.REGION):
            raise _nowhere(asked)
        return key

    def _function(self, asked: Asked) -> str:
        found = named(asked.given["Resource"])
        if found.qualifier is not None:
            raise ApiError("InvalidParameterValueException", ON_FUNCTIONS_ONLY)
        self._functions.shown(found.name, None)
        return found.name


def _nowhere(asked: Asked) -> ApiError:
    return ApiError("ResourceNotFoundException", f"Resource not found: {asked.given['Resource'][:256]}")
