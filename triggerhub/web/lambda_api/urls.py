"""Give functions addresses of their own at the ingress."""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from dataclasses import replace

from triggerhub.aws import arn
from triggerhub.aws.reference import LATEST, is_version
from triggerhub.aws.restjson import ApiError
from triggerhub.deploy.record import BUFFERED, Deployed, Url
from triggerhub.deploy.registry import Change, Registry
from triggerhub.hub.hub import Hub
from triggerhub.model import Json
from triggerhub.web.lambda_api import shape
from triggerhub.web.lambda_api.asked import Asked, Perform
from triggerhub.web.lambda_api.functions import Functions, there
from triggerhub.web.lambda_api.stamp import now
from triggerhub.web.lambda_api.target import missing, named

PREFIX = "/_url/"
NONE_THERE = "The resource you requested does not exist."
_LETTERS = string.ascii_lowercase + string.digits


class Urls:
    """The operations on function URLs."""

    def __init__(self, hub: Hub, functions: Functions, registry: Registry) -> None:
        self._hub = hub
        self._functions = functions
        self._registry = registry

    def operations(self) -> Mapping[str, Perform]:
        return {
            "CreateFunctionUrlConfig": self._create,
            "UpdateFunctionUrlConfig": self._update,
            "GetFunctionUrlConfig": self._get,
            "DeleteFunctionUrlConfig": self._delete,
            "ListFunctionUrlConfigs": self._list,
        }

    async def _create(self, asked: Asked) -> Mapping[str, Json]:
        name, alias = self._place(asked)
        moment = now()

        def create(before: Deployed | None) -> Deployed:
            current = self._at(before, name, alias)
            if alias in current.urls:
                text = f"Failed to create function url config for [functionArn = {arn.function(name, alias or None)}]. "
                raise ApiError(
                    "ResourceConflictException",
                    f"{text}Error message:  FunctionUrlConfig exists for this Lambda function",
                )
            made = Url(
                id="".join(secrets.choice(_LETTERS) for _ in range(32)),
                auth=asked.given["AuthType"],
                mode=asked.given.get("InvokeMode", BUFFERED),
                cors=asked.given.get("Cors"),
                created=moment,
                modified=moment,
            )
            return replace(current, urls={**current.urls, alias: made})

        return await self._changed(name, alias, create)

    async def _update(self, asked: Asked) -> Mapping[str, Json]:
        name, alias = self._place(asked)

        def update(before: Deployed | None) -> Deployed:
            current = self._at(before, name, alias)
            if alias not in current.urls:
                raise ApiError("ResourceNotFoundException", NONE_THERE)
            was = current.urls[alias]
            made = replace(
                was,
                auth=asked.given.get("AuthType", was.auth),
                mode=asked.given.get("InvokeMode", was.mode),
                cors=asked.given.get("Cors", was.cors),
                modified=now(),
            )
            return replace(current, urls={**current.urls, alias: made})

        return await self._changed(name, alias, update)

    async def _changed(self, name: str, alias: str, change: Change) -> Mapping[str, Json]:
        changed = await self._registry.change(name, change)
        assert changed is not None
        return self._shown(changed, alias)

    async def _get(self, asked: Asked) -> Mapping[str, Json]:
        found = named(asked.given["FunctionName"], asked.given.get("Qualifier"))
        self._functions.shown(found.name, found.qualifier)
        deployed = self._functions.deployed(found.name)
        if deployed is None or (found.qualifier or "") not in deployed.urls:
            raise ApiError("ResourceNotFoundException", NONE_THERE)
        return self._shown(deployed, found.qualifier or "")

    async def _delete(self, asked: Asked) -> Mapping[str, Json]:
        name, alias = self._place(asked)

        def remove(before: Deployed | None) -> Deployed:
            current = there(before, name)
            if alias not in current.urls:
                raise ApiError("ResourceNotFoundException", NONE_THERE)
            return replace(current, urls={key: one for key, one in current.urls.items() if key != alias})

        await self._registry.change(name, remove)
        return {}

    async def _list(self, asked: Asked) -> Mapping[str, Json]:
        name = named(asked.given["FunctionName"]).name
        self._functions.shown(name, None)
        deployed = self._functions.deployed(name)
        rows = [] if deployed is None else [(alias or LATEST, (deployed, alias)) for alias in sorted(deployed.urls)]
        return shape.page(asked.given, rows, "FunctionUrlConfigs", lambda row: self._shown(*row))

    def _place(self, asked: Asked) -> tuple[str, str]:
        found = named(asked.given["FunctionName"], asked.given.get("Qualifier"))
        if found.qualifier is not None and (found.qualifier == LATEST or is_version(found.qualifier)):
            text = "A function URL is of a function or an alias, not of a version."
            raise ApiError("InvalidParameterValueException", text)
        self._functions.changeable(found.name)
        return found.name, found.qualifier or ""

    def _at(self, before: Deployed | None, name: str, alias: str) -> Deployed:
        current = there(before, name)
        if alias and alias not in current.aliases:
            raise missing(name, alias)
        return current

    def _shown(self, deployed: Deployed, alias: str) -> dict[str, Json]:
        url = deployed.urls[alias]
        found: dict[str, Json] = {
            "FunctionUrl": f"http://{self._hub.addresses.get('listen', '')}{PREFIX}{url.id}/",
            "FunctionArn": arn.function(deployed.name, alias or None),
            "AuthType": url.auth,
            "CreationTime": shape.when(url.created),
            "LastModifiedTime": shape.when(url.modified),
            "InvokeMode": url.mode,
        }
        if url.cors:
            found["Cors"] = url.cors
        return found
