"""Say what a request of the Lambda API wants in the words of IAM: an action, a resource, and what is known of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from triggerhub.aws import arn, reference
from triggerhub.aws.reference import LATEST
from triggerhub.aws.restjson import ApiError
from triggerhub.deploy.layers import layer_arn
from triggerhub.deploy.record import Deployed
from triggerhub.deploy.registry import Registry
from triggerhub.model import Json
from triggerhub.policy.iam.pattern import Known
from triggerhub.web.lambda_api import beside
from triggerhub.web.lambda_api.actions import action
from triggerhub.web.lambda_api.layers import layer_name, layer_version
from triggerhub.web.lambda_api.permissions import place_of
from triggerhub.web.lambda_api.whole import of_whole

_MAPPING = re.compile(r"arn:[^:]*:lambda:[^:]*:\d{12}:event-source-mapping:(?P<id>[A-Za-z0-9-_]+)")
_BY_MAPPING = "CreateEventSourceMapping", "UpdateEventSourceMapping", "ListEventSourceMappings"
"""Operations that name a function and are about a mapping."""
_URLS = "FunctionUrlConfig"
Find: TypeAlias = Callable[[str], Deployed | None]
"""Returns what is known of a function; None where the handlers folder has its name, or there is none."""


@dataclass(slots=True, kw_only=True)
class Wanted:
    """One thing that somebody must be allowed."""

    action: str
    """Without ``lambda:``; one of another service is whole."""
    resource: str = "*"
    function: str | None = None
    """The name of the function that it is about, with the qualifier by which it was named."""
    qualifier: str = ""
    known: Known = field(default_factory=dict)
    unless_denied: bool = False
    """Whether it need not be allowed, and must not be denied."""


def call(name: str, qualifier: str | None, wanted: str = "InvokeFunction") -> Wanted:
    """Return what a call of a function wants, which is named as callers name it."""
    found = reference.parse(name)
    if found is None:
        return Wanted(action=wanted)
    return _of_function(wanted, found.name, found.qualifier or qualifier or "")


def is_whole(deployed: Deployed | None, qualifier: str | None) -> bool:
    """Whether a name with this qualifier, or without one, means what the name alone does.

    What the handlers folder has is one thing, however it is named: it has no versions and aliases, and answers to its
    hash, whatever that is at the time.
    """
    return not qualifier or qualifier == LATEST or deployed is None


def invoking(one: Wanted) -> Wanted:
    """Return what must not be denied to whoever calls a function in another way than by Invoke."""
    return replace(one, action="InvokeFunction", unless_denied=True)


def wanted(registry: Registry, find: Find, operation: str, given: Mapping[str, Json]) -> Sequence[Wanted]:
    """Return what must be allowed for an operation with the members *given* of its input.

    Of what names nothing, which is refused anyway, the resource is ``*``.
    """
    itself = _itself(registry, find, operation, given)
    others = [_beside(does, resource) for does, resource in beside.named(operation, given)]
    if operation.startswith("Create") and given.get("Tags"):
        others += [replace(one, action="TagResource") for one in itself]
    if operation in ("CreateEventSourceMapping", "UpdateEventSourceMapping") and "FunctionName" in given:
        # As at AWS who may map need not be allowed to call; who is denied it does not get round that.
        others.append(invoking(call(given["FunctionName"], None)))
    return [*itself, *others]


def _beside(does: str, resource: str) -> Wanted:
    if does == "lambda:InvokeFunction":
        return call(resource, None)
    return Wanted(action=does.removeprefix("lambda:"), resource=resource)


def _itself(registry: Registry, find: Find, operation: str, given: Mapping[str, Json]) -> Sequence[Wanted]:
    does = action(operation)
    if operation in _BY_MAPPING or "UUID" in given:
        return _of_mapping(registry, find, does, given)
    if "LayerName" in given or operation == "GetLayerVersionByArn":
        return [Wanted(action=does, resource=_layer(given))]
    named = given.get("FunctionName")
    if named is not None:
        found = reference.parse(named)
        if found is not None and of_whole(operation):
            one = _of_function(does, found.name, "")  # whatever qualifier its name has: that is refused
        else:
            one = call(named, given.get("Qualifier"), does)
        first = replace(one, known=_told(find, operation, one, given))
        return [first, invoking(one)] if operation == "InvokeAsync" else [first]
    resource = given.get("Resource", given.get("ResourceArn", ""))
    tags = _tags(given)
    if mapping := _MAPPING.fullmatch(resource):
        key = mapping["id"].lower()
        return [Wanted(action=does, resource=_mapping_arn(key), known={**tags, **_mapping_tags(registry, key)})]
    place = place_of(resource)
    if place is not None:
        return [_of_function(does, *place, tags)]
    parsed = reference.parse(resource)
    if parsed is not None and resource:
        return [_of_function(does, parsed.name, parsed.qualifier or "", tags)]
    return [Wanted(action=does, resource=given.get("DurableExecutionArn", "*"), known=tags)]


def _of_function(does: str, name: str, qualifier: str, known: Known | None = None) -> Wanted:
    return Wanted(
        action=does,
        resource=arn.function(name, qualifier or None),
        function=name,
        qualifier=qualifier,
        known=known or {},
    )


def _told(find: Find, operation: str, one: Wanted, given: Mapping[str, Json]) -> Known:
    """Return what is known beside the tags that the function has: by the keys that AWS tells of each operation."""
    found = dict(_tags(given))
    deployed = find(one.function or "")
    if isinstance(layers := given.get("Layers"), list) and layers:
        found["lambda:layer"] = tuple(layer_arn(*named) if (named := layer_version(one)) else one for one in layers)
    if _URLS in operation and one.function is not None:
        found["lambda:functionarn"] = (arn.function(one.function),)
        auths = (given["AuthType"],) if "AuthType" in given else _auths(deployed, operation, one.qualifier)
        if auths:
            found["lambda:functionurlauthtype"] = auths
    if operation == "AddPermission":
        found["lambda:principal"] = (given["Principal"],)
        if "FunctionUrlAuthType" in given:
            found["lambda:functionurlauthtype"] = (given["FunctionUrlAuthType"],)
    if operation == "RemovePermission" and deployed is not None:
        held = deployed.policies.get(one.qualifier, ())
        for statement in (each for each in held if each.get("Sid") == given.get("StatementId")):
            found |= _of_statement(statement)
    return found


def _auths(deployed: Deployed | None, operation: str, qualifier: str) -> tuple[str, ...]:
    if deployed is None:
        return ()
    if operation.startswith("List"):
        return tuple(sorted({url.auth for url in deployed.urls.values()}))
    url = deployed.urls.get(qualifier)
    return () if url is None else (url.auth,)


def _of_statement(statement: Mapping[str, Json]) -> Known:
    principal = statement["Principal"]
    texts = [principal] if isinstance(principal, str) else list(principal.values())
    named = tuple(text for one in texts for text in (one if isinstance(one, list) else [one]))
    auth = statement.get("Condition", {}).get("StringEquals", {}).get("lambda:FunctionUrlAuthType")
    return {"lambda:principal": named, **({"lambda:functionurlauthtype": (auth,)} if isinstance(auth, str) else {})}


def _of_mapping(registry: Registry, find: Find, does: str, given: Mapping[str, Json]) -> Sequence[Wanted]:
    """Return what is wanted of a mapping: of the function that it has, and of the one that it shall have."""
    if does.startswith("List"):
        return [Wanted(action=does)]
    key = given["UUID"].lower() if "UUID" in given else "*"
    mapping = registry.mappings.mappings.get(key)
    parsed = reference.parse(given.get("FunctionName", ""))
    functions = [] if mapping is None else [arn.function(mapping.function)]
    if parsed is not None:
        whole = is_whole(find(parsed.name), parsed.qualifier)
        functions.append(arn.function(parsed.name, None if whole else parsed.qualifier))
    known = {**_tags(given), **_mapping_tags(registry, key)}
    return [
        Wanted(action=does, resource=_mapping_arn(key), known={**known, "lambda:functionarn": (one,)})
        for one in dict.fromkeys(functions)
    ] or [Wanted(action=does, resource=_mapping_arn(key), known=known)]


def _mapping_arn(key: str) -> str:
    return f"arn:aws:lambda:{arn.REGION}:{arn.ACCOUNT}:event-source-mapping:{key}"


def _mapping_tags(registry: Registry, key: str) -> Known:
    mapping = registry.mappings.mappings.get(key)
    return {} if mapping is None else resource_tags(mapping.tags)


def _layer(given: Mapping[str, Json]) -> str:
    if "LayerName" not in given:
        found = layer_version(given["Arn"])
        return "*" if found is None else layer_arn(*found)
    try:
        return layer_arn(layer_name(given["LayerName"]), given.get("VersionNumber"))
    except ApiError:
        return "*"


def resource_tags(tags: Mapping[str, str]) -> Known:
    """Return what is known of a thing that has *tags*."""
    return _by_key("resourcetag", tags)


def _tags(given: Mapping[str, Json]) -> Known:
    tags = given.get("Tags")
    if isinstance(tags, Mapping) and tags:
        return {
            "aws:tagkeys": tuple(tags),
            **_by_key("requesttag", tags),
        }
    keys = given.get("TagKeys")
    return {"aws:tagkeys": tuple(keys)} if keys else {}


def _by_key(whose: str, tags: Mapping[str, str]) -> Known:
    """Return tags by their condition keys, which know no capitals: of two that differ by these, both values."""
    found: dict[str, tuple[str, ...]] = {}
    for key, value in tags.items():
        name = f"aws:{whose}/{key.lower()}"
        found[name] = (*found.get(name, ()), value)
    return found
