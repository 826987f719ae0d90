"""Keep the policies of layers' versions: which accounts may use them. Here there is one, which may."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

from triggerhub.aws.restjson import ApiError
from triggerhub.deploy.layers import Layer, LayerVersion, layer_arn
from triggerhub.deploy.registry import Registry
from triggerhub.model import Json
from triggerhub.web.lambda_api.asked import Asked, Perform
from triggerhub.web.lambda_api.layers import layer_name
from triggerhub.web.lambda_api.permissions import check_size, principal, written
from triggerhub.web.lambda_api.stamp import revision

NO_POLICY = "No policy is associated with the given resource."
REVISION = (
    "The Revision Id provided does not match the latest Revision Id. "
    "Call the GetLayerPolicy API to retrieve the latest Revision Id"
)


class LayerPolicies:
    """The operations on policies of layers."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def operations(self) -> Mapping[str, Perform]:
        return {
            "AddLayerVersionPermission": self._add,
            "RemoveLayerVersionPermission": self._remove,
            "GetLayerVersionPolicy": self._get,
        }

    async def _add(self, asked: Asked) -> Mapping[str, Json]:
        given = asked.given
        made: dict[str, Json] = {
            "Sid": given["StatementId"],
            "Effect": "Allow",
            "Principal": principal(given["Principal"]),
            "Action": given["Action"],
            "Resource": layer_arn(layer_name(given["LayerName"]), given["VersionNumber"]),
        }
        if "OrganizationId" in given:
            made["Condition"] = {"StringEquals": {"aws:PrincipalOrgID": given["OrganizationId"]}}

        def add(version: LayerVersion) -> tuple[Json, ...]:
            if any(one["Sid"] == made["Sid"] for one in version.statements):
                text = f"The statement id ({made['Sid']}) provided already exists. Please provide a new statement id, "
                raise ApiError("ResourceConflictException", f"{text}or remove the existing statement.")
            return (*version.statements, made)

        changed = await self._change(asked, add)
        return {"Statement": json.dumps(made), "RevisionId": changed.policy_revision}

    async def _remove(self, asked: Asked) -> Mapping[str, Json]:
        wanted = asked.given["StatementId"]

        def remove(version: LayerVersion) -> tuple[Json, ...]:
            kept = tuple(one for one in version.statements if one["Sid"] != wanted)
            if len(kept) == len(version.statements):
                raise ApiError("ResourceNotFoundException", f"Statement {wanted} is not found in resource policy.")
            return kept

        await self._change(asked, remove)
        return {}

    async def _get(self, asked: Asked) -> Mapping[str, Json]:
        name, number = layer_name(asked.given["LayerName"]), asked.given["VersionNumber"]
        version = _version(self._registry.layers.layers.get(name, Layer(name=name)), number)
        if not version.statements:
            raise ApiError("ResourceNotFoundException", NO_POLICY)
        return {"Policy": written(version.statements), "RevisionId": version.policy_revision}

    async def _change(self, asked: Asked, change: Callable[[LayerVersion], tuple[Json, ...]]) -> LayerVersion:
        name, number = layer_name(asked.given["LayerName"]), asked.given["VersionNumber"]
        told = asked.given.get("RevisionId")

        def changed(layer: Layer) -> Layer:
            version = _version(layer, number)
            if told not in (None, "", version.policy_revision):
                raise ApiError("PreconditionFailedException", REVISION)
            statements = change(version)
            check_size(statements)
            made = replace(version, statements=statements, policy_revision=revision())
            return replace(layer, versions={**layer.versions, number: made})

        return (await self._registry.layers.change(name, changed)).versions[number]


def _version(layer: Layer, number: int) -> LayerVersion:
    version = layer.versions.get(number)
    if version is None:
        raise ApiError("ResourceNotFoundException", f"Layer version {layer_arn(layer.name, number)} does not exist.")
    return version
