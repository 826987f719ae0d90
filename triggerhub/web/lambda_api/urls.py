"""Give functions addresses of their own at the ingress."""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urlsplit

from triggerhub.aws import arn
from triggerhub.aws.reference import LATEST, is_version
from triggerhub.aws.restjson import ApiError
from triggerhub.deploy.record import BUFFERED, Deployed, Url
from triggerhub.deploy.registry import Registry
from triggerhub.hub.hub import Hub
from triggerhub.model import Json
from triggerhub.policy import cors
from triggerhub.web.lambda_api import shape
from triggerhub.web.lambda_api.asked import Asked, Perform
from triggerhub.web.lambda_api.functions import Functions
from triggerhub.web.lambda_api.qualified import Qualified
from triggerhub.web.lambda_api.stamp import now
from triggerhub.web.lambda_api.target import named

PREFIX = "/_url/"
NONE_THERE = "The resource you requested does not exist."
NO_FUNCTION = "Function does not exist"
_LETTERS = string.ascii_lowercase + string.digits


class Urls:
    """The operations on function URLs."""

    def __init__(self, hub: Hub, functions: Functions, registry: Registry) -> None:
        self._hub = hub
        self._functions = functions
        self._urls: Qualified[Url] = Qualified(functions, registry, "urls", _none)

    def operations(self) -> Mapping[str, Perform]:
        return {
            "CreateFunctionUrlConfig": self._create,
            "UpdateFunctionUrlConfig": self._update,
            "GetFunctionUrlConfig": self._get,
            "DeleteFunctionUrlConfig": self._delete,
            "ListFunctionUrlConfigs": self._list,
        }

    async def _create(self, asked: Asked) -> Mapping[str, Json]:
        name, alias = _place(asked)
        self._require(name)
        _check_cors(asked)
        moment = now()

        def create(current: Deployed, before: Url | None) -> Url:
            _check(current, alias)
            if before is not None:
                text = f"Failed to create function url config for [functionArn = {arn.function(name, alias or None)}]. "
                raise ApiError(
                    "ResourceConflictException",
                    f"{text}Error message:  FunctionUrlConfig exists for this Lambda function",
                )
            return Url(
                id="".join(secrets.choice(_LETTERS) for _ in range(32)),
                auth=asked.given["AuthType"],
                mode=asked.given.get("InvokeMode", BUFFERED),
                cors=asked.given.get("Cors"),
                created=moment,
                modified=moment,
            )

        return self._shown(asked, name, alias, await self._urls.put(name, alias, create))

    async def _update(self, asked: Asked) -> Mapping[str, Json]:
        name, alias = _place(asked)
        self._require(name)
        _check_cors(asked)

        def update(current: Deployed, was: Url) -> Url:
            return replace(
                was,
                auth=asked.given.get("AuthType", was.auth),
                mode=asked.given.get("InvokeMode", was.mode),
                cors=asked.given.get("Cors", was.cors),
                modified=now(),
            )

        return self._shown(asked, name, alias, await self._urls.update(name, alias, update))

    async def _get(self, asked: Asked) -> Mapping[str, Json]:
        found = named(asked.given["FunctionName"], asked.given.get("Qualifier"))
        alias = found.qualifier or ""
        return self._shown(asked, found.name, alias, self._urls.get(found.name, alias))

    async def _delete(self, asked: Asked) -> Mapping[str, Json]:
        name, alias = _place(asked)
        if not self._functions.has(name):
            raise _none(name, alias)
        await self._urls.delete(name, alias)
        return {}

    async def _list(self, asked: Asked) -> Mapping[str, Json]:
        name = named(asked.given["FunctionName"]).name
        self._require(name)
        rows = [(alias or LATEST, (alias, url)) for alias, url in self._urls.rows(name)]
        return shape.page(asked.given, rows, "FunctionUrlConfigs", lambda row: self._shown(asked, name, *row))

    def _require(self, name: str) -> None:
        """Raise ApiError where there is no such function."""
        if not self._functions.has(name):
            raise ApiError("ResourceNotFoundException", NO_FUNCTION)

    def _shown(self, asked: Asked, name: str, alias: str, url: Url) -> dict[str, Json]:
        scheme = "https" if self._hub.project.hub.tls else "http"
        ingress = reached(self._hub.addresses.get("listen", ""), asked.host)
        found: dict[str, Json] = {
            "FunctionUrl": f"{scheme}://{ingress}{PREFIX}{url.id}/",
            "FunctionArn": arn.function(name, alias or None),
            "AuthType": url.auth,
            "CreationTime": shape.when(url.created),
            "LastModifiedTime": shape.when(url.modified),
            "InvokeMode": url.mode,
        }
        if url.cors:
            found["Cors"] = url.cors
        return found


def reached(listen: str, host: str) -> str:
    """Return how a client who calls the hub *host* reaches what listens at *listen*, maybe at all addresses."""
    address, _, port = listen.rpartition(":")
    address = address.strip("[]")
    if address in ("0.0.0.0", "::"):
        with suppress(ValueError):
            address = urlsplit(f"//{host}").hostname or address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _place(asked: Asked) -> tuple[str, str]:
    """Return the function and the alias that are meant. Raises ApiError where that is a version."""
    found = named(asked.given["FunctionName"], asked.given.get("Qualifier"))
    if found.qualifier is not None and (found.qualifier == LATEST or is_version(found.qualifier)):
        text = "A function URL is of a function or an alias, not of a version."
        raise ApiError("InvalidParameterValueException", text)
    return found.name, found.qualifier or ""


def _check_cors(asked: Asked) -> None:
    """Raise ApiError for an origin that no page has."""
    odd = cors.unmatched(asked.given.get("Cors", {}).get("AllowOrigins", ()))
    if odd is not None:
        text = f"Cors: {odd!r} is no origin, so no page would ever be let in by it. Write it as browsers send it, as "
        raise ApiError("InvalidParameterValueException", f"{text}https://app.example; * alone is all.")


def _check(deployed: Deployed, alias: str) -> None:
    if alias and alias not in deployed.aliases:
        raise ApiError("ResourceNotFoundException", NO_FUNCTION)


def _none(name: str, alias: str) -> ApiError:
    return ApiError("ResourceNotFoundException", NONE_THERE)
