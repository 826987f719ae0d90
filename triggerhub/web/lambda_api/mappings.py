"""Join queues and functions: event source mappings."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import replace

from triggerhub.aws import arn
from triggerhub.aws.constraints import message, violation
from triggerhub.aws.restjson import ApiError
from triggerhub.deploy.mappings import Mappings as Kept
from triggerhub.deploy.mappings import SourceMapping, pattern_of
from triggerhub.deploy.registry import Registry
from triggerhub.model import Json
from triggerhub.policy import filtering
from triggerhub.web.lambda_api import shape
from triggerhub.web.lambda_api.asked import Asked, Perform
from triggerhub.web.lambda_api.stamp import now
from triggerhub.web.lambda_api.target import Targets, named

WINDOW = "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10"
_QUEUE = re.compile(r"arn:aws[a-z-]*:sqs:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,75}(\.fifo)?")
_KNOWN = frozenset((
    "UUID", "EventSourceArn", "FunctionName", "Enabled", "BatchSize", "MaximumBatchingWindowInSeconds",
    "FilterCriteria", "FunctionResponseTypes", "ScalingConfig",
))  # fmt: skip
REQUEST = 10


class Mappings:
    """The operations on event source mappings."""

    def __init__(self, targets: Targets, registry: Registry) -> None:
        self._targets = targets
        self._registry = registry

    @property
    def _kept(self) -> Kept:
        return self._registry.mappings

    def operations(self) -> Mapping[str, Perform]:
        return {
            "CreateEventSourceMapping": self._create,
            "GetEventSourceMapping": self._get,
            "ListEventSourceMappings": self._list,
            "UpdateEventSourceMapping": self._update,
            "DeleteEventSourceMapping": self._delete,
        }

    async def _create(self, asked: Asked) -> Mapping[str, Json]:
        given = asked.given
        _refuse(given)
        source = given.get("EventSourceArn", "")
        if not _QUEUE.fullmatch(source):
            text = "EventSourceArn: only queues of SQS can be mapped here; for a stream, write a trigger."
            raise ApiError("InvalidParameterValueException", text)
        made = self._changed(SourceMapping(uuid=str(uuid.uuid4()), source=source, function="", modified=now()), given)
        for other in self._kept.mappings.values():
            if (other.source, other.function) == (made.source, made.function):
                raise ApiError(
                    "ResourceConflictException",
                    f'An event source mapping with SQS arn (" {source} ") and function (" {made.function} ") already '
                    f"exists. Please update or delete the existing mapping with UUID {other.uuid}",
                )
        await self._kept.change(made.uuid, lambda _: made)
        return {**self._shown(made), "State": "Creating"}

    async def _update(self, asked: Asked) -> Mapping[str, Json]:
        _refuse(asked.given)
        key = asked.given["UUID"]

        def update(before: SourceMapping | None) -> SourceMapping:
            return self._changed(_there(before, key), asked.given)

        changed = await self._kept.change(key, update)
        assert changed is not None
        return {**self._shown(changed), "State": "Updating"}

    async def _delete(self, asked: Asked) -> Mapping[str, Json]:
        key = asked.given["UUID"]
        shown = self._shown(_there(self._kept.mappings.get(key), key))
        await self._kept.change(key, lambda before: _there(before, key) and None)
        return {**shown, "State": "Deleting"}

    async def _get(self, asked: Asked) -> Mapping[str, Json]:
        return self._shown(_there(self._kept.mappings.get(asked.given["UUID"]), asked.given["UUID"]))

    async def _list(self, asked: Asked) -> Mapping[str, Json]:
        source, function = asked.given.get("EventSourceArn"), asked.given.get("FunctionName")
        name = self._targets.find(function, None).function if function else None
        rows = [
            (key, one)
            for key, one in sorted(self._kept.mappings.items())
            if source in (None, one.source) and name in (None, one.function)
        ]
        return shape.page(asked.given, rows, "EventSourceMappings", self._shown)

    def _changed(self, mapping: SourceMapping, given: Mapping[str, Json]) -> SourceMapping:
        """Return *mapping* with what was given. Raises ApiError."""
        if "FunctionName" in given:
            target = self._targets.find(given["FunctionName"], None)
            if named(target.arn).qualifier not in (None, "$LATEST") and not target.arn.endswith(target.function):
                text = "FunctionName: an alias cannot be mapped here; give its version."
                raise ApiError("InvalidParameterValueException", text)
            mapping = replace(mapping, function=target.function)
        fifo = mapping.source.endswith(".fifo")
        batch = given.get("BatchSize", mapping.batch)
        window = given.get("MaximumBatchingWindowInSeconds", mapping.window)
        if batch > REQUEST and not window and not fifo:
            raise ApiError("InvalidParameterValueException", WINDOW)
        if fifo and (batch > REQUEST or window):
            text = "A FIFO queue has batches of at most 10 and no batching window."
            raise ApiError("InvalidParameterValueException", text)
        scaling = given.get("ScalingConfig")
        return replace(
            mapping,
            enabled=given.get("Enabled", mapping.enabled),
            batch=batch,
            window=window,
            filters=_filters(given["FilterCriteria"]) if "FilterCriteria" in given else mapping.filters,
            partial="ReportBatchItemFailures" in given["FunctionResponseTypes"]
            if "FunctionResponseTypes" in given
            else mapping.partial,
            maximum=mapping.maximum if scaling is None else scaling.get("MaximumConcurrency"),
            modified=now(),
        )

    def _shown(self, mapping: SourceMapping) -> dict[str, Json]:
        found: dict[str, Json] = {
            "UUID": mapping.uuid,
            "EventSourceArn": mapping.source,
            "EventSourceMappingArn": f"arn:aws:lambda:{arn.REGION}:{arn.ACCOUNT}:event-source-mapping:{mapping.uuid}",
            "FunctionArn": arn.function(mapping.function),
            "BatchSize": mapping.batch,
            "MaximumBatchingWindowInSeconds": mapping.window,
            "LastModified": mapping.modified / 1000,
            "State": "Enabled" if mapping.enabled else "Disabled",
            "StateTransitionReason": "USER_INITIATED",
            "FunctionResponseTypes": ["ReportBatchItemFailures"] if mapping.partial else [],
        }
        if mapping.filters:
            found["FilterCriteria"] = {"Filters": [{"Pattern": text} for text in mapping.filters]}
        if mapping.maximum is not None:
            found["ScalingConfig"] = {"MaximumConcurrency": mapping.maximum}
        return found


def _refuse(given: Mapping[str, Json]) -> None:
    """Raise ApiError for what asks for another source, or for what is not built."""
    if unknown := sorted(name for name, value in given.items() if name not in _KNOWN and value not in ({}, [])):
        text = f"{unknown[0]}: it is not in this version for an event source mapping."
        raise ApiError("InvalidParameterValueException", text)
    window = given.get("MaximumBatchingWindowInSeconds", 0)
    if window > 300:
        most = "Member must have value less than or equal to 300"
        raise ApiError("ValidationException", message([violation(window, "maximumBatchingWindowInSeconds", most)]))


def _filters(criteria: Mapping[str, Json]) -> tuple[str, ...]:
    texts = tuple(one.get("Pattern", "{}") for one in criteria.get("Filters", ()))
    try:
        if (pattern := pattern_of([json.loads(text) for text in texts])) is not None:
            filtering.compile(pattern)
    except (ValueError, RecursionError, filtering.PatternError) as error:
        raise ApiError("InvalidParameterValueException", f"Invalid filter pattern definition. {error}") from error
    return texts


def _there(mapping: SourceMapping | None, key: str) -> SourceMapping:
    if mapping is None:
        raise ApiError("ResourceNotFoundException", "The resource you requested does not exist.")
    return mapping
