"""Publish layers, look at them and take them away."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from triggerhub.aws.restjson import ApiError
from triggerhub.deploy import layers
from triggerhub.deploy.layers import Layer, LayerVersion, layer_arn
from triggerhub.deploy.record import LayerUse
from triggerhub.deploy.registry import Registry
from triggerhub.model import Json
from triggerhub.web.lambda_api import members, shape
from triggerhub.web.lambda_api.asked import Asked, Perform
from triggerhub.web.lambda_api.code import Codes
from triggerhub.web.lambda_api.stamp import now

MOST = 5
"""Layers of one function."""
_ARN = re.compile(r"arn:aws:lambda:us-east-1:000000000000:layer:(?P<name>[A-Za-z0-9-_]+):(?P<number>\d{1,9})")
_NAME = re.compile(r"(?:arn:aws:lambda:us-east-1:000000000000:layer:)?([A-Za-z0-9-_]{1,64})")
_GONE = "The resource you requested does not exist."


class Layers:
    """The operations on layers."""

    def __init__(self, registry: Registry, codes: Codes) -> None:
        self._registry = registry
        self._codes = codes

    def operations(self) -> Mapping[str, Perform]:
        return {
            "PublishLayerVersion": self._publish,
            "GetLayerVersion": self._get,
            "GetLayerVersionByArn": self._get_by_arn,
            "DeleteLayerVersion": self._delete,
            "ListLayers": self._list,
            "ListLayerVersions": self._list_versions,
        }

    async def _publish(self, asked: Asked) -> Mapping[str, Json]:
        given, name = asked.given, layer_name(asked.given["LayerName"])
        members.refuse(given["Content"])
        async with self._codes.taken(given["Content"]) as taken:
            kept = await self._codes.kept(taken)
        made = LayerVersion(
            number=0,
            code=kept,
            code_size=taken.size,
            description=given.get("Description", ""),
            runtimes=tuple(given.get("CompatibleRuntimes", ())),
            architectures=tuple(given.get("CompatibleArchitectures", ())),
            license=given.get("LicenseInfo"),
            created=now(),
        )
        layer = await self._registry.layers.change(name, lambda before: layers.published(before, made))
        return _whole(name, layer.versions[layer.published], asked.link)

    async def _get(self, asked: Asked) -> Mapping[str, Json]:
        name, number = layer_name(asked.given["LayerName"]), asked.given["VersionNumber"]
        version = self._registry.layers.find(name, number)
        if version is None:
            raise ApiError("ResourceNotFoundException", _GONE)
        return _whole(name, version, asked.link)

    async def _get_by_arn(self, asked: Asked) -> Mapping[str, Json]:
        found = layer_version(asked.given["Arn"])
        version = self._registry.layers.find(*found) if found else None
        if found is None or version is None:
            raise ApiError("ResourceNotFoundException", _GONE)
        return _whole(found[0], version, asked.link)

    async def _delete(self, asked: Asked) -> Mapping[str, Json]:
        name, number = layer_name(asked.given["LayerName"]), asked.given["VersionNumber"]

        def remove(before: Layer) -> Layer:
            versions = {key: one for key, one in before.versions.items() if key != number}
            return replace(before, versions=versions)

        await self._registry.layers.change(name, remove)
        return {}

    async def _list(self, asked: Asked) -> Mapping[str, Json]:
        rows: list[tuple[str, tuple[str, LayerVersion]]] = []
        for name, layer in sorted(self._registry.layers.layers.items()):
            matching = [version for version in layer.versions.values() if _fits(version, asked.given)]
            if matching:
                rows.append((name, (name, max(matching, key=lambda one: one.number))))
        return shape.page(asked.given, rows, "Layers", lambda row: {
            "LayerName": row[0], "LayerArn": layer_arn(row[0]), "LatestMatchingVersion": _shown(*row),
        })  # fmt: skip

    async def _list_versions(self, asked: Asked) -> Mapping[str, Json]:
        name = layer_name(asked.given["LayerName"])
        layer = self._registry.layers.layers.get(name, Layer(name=name))
        found = sorted((one for one in layer.versions.values() if _fits(one, asked.given)), key=lambda one: -one.number)
        rows = [(str(one.number), one) for one in found]
        return shape.page(
            asked.given, rows, "LayerVersions", lambda one: _shown(name, one), lambda number: -int(number)
        )


def uses(registry: Registry, arns: Sequence[str]) -> tuple[LayerUse, ...]:
    """Return the layers that a function refers to, in their order. Raises ApiError."""
    if len(arns) > MOST:
        raise ApiError("InvalidParameterValueException", f"Cannot reference more than {MOST} layers.")
    found: dict[str, LayerUse] = {}
    for text in arns:
        named = layer_version(text)
        version = registry.layers.find(*named) if named else None
        if named is None or version is None:
            raise ApiError("InvalidParameterValueException", f"Layer version {text} does not exist.")
        if named[0] in found:
            raise ApiError(
                "InvalidParameterValueException",
                "Two different versions of the same layer are not allowed to be referenced in the same function. "
                f"{found[named[0]].arn} and {text} are versions of the same layer.",
            )
        found[named[0]] = LayerUse(arn=text, code=version.code, code_size=version.code_size)
    return tuple(found.values())


def layer_version(text: str) -> tuple[str, int] | None:
    """Return name and number of the layer's version that an ARN names; None where it names none."""
    found = _ARN.fullmatch(text)
    return None if found is None else (found["name"], int(found["number"]))


def layer_name(text: str) -> str:
    """Return the name of the layer that a name or an ARN names. Raises ApiError."""
    found = _NAME.fullmatch(text)
    if found is None:
        raise ApiError("ResourceNotFoundException", _GONE)
    return found[1]


def _fits(version: LayerVersion, given: Mapping[str, Json]) -> bool:
    runtime, architecture = given.get("CompatibleRuntime"), given.get("CompatibleArchitecture")
    return (runtime is None or runtime in version.runtimes) and (
        architecture is None or architecture in version.architectures
    )


def _shown(name: str, version: LayerVersion) -> dict[str, Json]:
    found: dict[str, Json] = {
        "LayerVersionArn": layer_arn(name, version.number),
        "Version": version.number,
        "Description": version.description,
        "CreatedDate": shape.when(version.created),
    }
    if version.runtimes:
        found["CompatibleRuntimes"] = list(version.runtimes)
    if version.architectures:
        found["CompatibleArchitectures"] = list(version.architectures)
    if version.license is not None:
        found["LicenseInfo"] = version.license
    return found


def _whole(name: str, version: LayerVersion, link: Callable[[str], str]) -> dict[str, Json]:
    content = {
        "Location": link(version.code),
        "CodeSha256": shape.sha256(version.code),
        "CodeSize": version.code_size,
    }
    return {**_shown(name, version), "LayerArn": layer_arn(name), "Content": content}
