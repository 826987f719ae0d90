"""Join queues, streams and functions: event source mappings."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import replace

from triggerhub.aws import arn
from triggerhub.aws.constraints import message, violation
from triggerhub.aws.restjson import ApiError
from triggerhub.deploy.mappings import PREFIX, SourceMapping, pattern_of
from triggerhub.deploy.mappings import Mappings as Kept
from triggerhub.deploy.registry import Registry
from triggerhub.hub.hub import Hub
from triggerhub.model import Json
from triggerhub.policy import filtering
from triggerhub.web.lambda_api import members, shape
from triggerhub.web.lambda_api.asked import Asked, Perform
from triggerhub.web.lambda_api.description import service
from triggerhub.web.lambda_api.stamp import now
from triggerhub.web.lambda_api.target import Targets

WINDOW = "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10"
NO_FUNCTION = "Function does not exist"
_STREAM = re.compile(
    r"arn:aws[a-z-]*:(dynamodb:[a-z0-9-]+:\d{12}:table/[A-Za-z0-9_.-]+/stream/\S+|kinesis:[a-z0-9-]+:\d{12}:stream/[a-zA-Z0-9_.-]+)"
)
_QUEUE = re.compile(r"arn:aws[a-z-]*:sqs:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,75}(\.fifo)?")
_KNOWN = frozenset((
    "UUID", "EventSourceArn", "FunctionName", "Enabled", "BatchSize", "MaximumBatchingWindowInSeconds",
    "FilterCriteria", "FunctionResponseTypes", "Tags",
))  # fmt: skip
_OF_STREAMS = (
    "StartingPosition", "StartingPositionTimestamp", "ParallelizationFactor", "BisectBatchOnFunctionError",
    "MaximumRetryAttempts", "MaximumRecordAgeInSeconds", "TumblingWindowInSeconds",
)  # fmt: skip
_STANDING = {
    "ParallelizationFactor": 1, "BisectBatchOnFunctionError": False, "MaximumRetryAttempts": -1,
    "MaximumRecordAgeInSeconds": -1, "TumblingWindowInSeconds": 0,
}  # fmt: skip
"""What of a stream holds where nothing was said."""
ENDS = 253_402_300_800
"""The year 10000, in seconds since 1970: no moment is as late."""
FILTERS = 10
"""The most of one mapping, which AWS allows who asks for more than 5."""
REQUEST, OF_A_STREAM = 10, 100
"""Batches of a queue and of a stream, where nothing was said."""


class Mappings:
    """The operations on event source mappings."""

    def __init__(self, hub: Hub, targets: Targets, registry: Registry) -> None:
        self._hub = hub
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
        given, source = asked.given, asked.given.get("EventSourceArn", "")
        streams = _STREAM.fullmatch(source) is not None
        if not source:
            _refuse(given, streams=False)
            raise ApiError("InvalidParameterValueException", "Unrecognized event source.")
        if not streams and not _QUEUE.fullmatch(source):
            text = "EventSourceArn: queues of SQS and streams of DynamoDB and Kinesis can be mapped here"
            text = f"{text}; of a consumer, give its stream." if "/consumer/" in source else f"{text}."
            raise ApiError("InvalidParameterValueException", text)
        if streams:
            _check_start(given, source)
        size = OF_A_STREAM if streams else REQUEST
        new = SourceMapping(uuid=str(uuid.uuid4()), source=source, function="", batch=size, modified=now())
        new = replace(new, tags=members.tags(given.get("Tags", {})))
        made = await self._kept.change(new.uuid, lambda _: self._changed(new, given))
        assert made is not None
        return {**self._shown(made), "State": "Creating"}

    async def _update(self, asked: Asked) -> Mapping[str, Json]:
        key = asked.given["UUID"]
        states: list[str] = []

        def update(before: SourceMapping | None) -> SourceMapping:
            was = _there(before, key)
            changed = self._changed(was, asked.given)
            turned = "Enabling" if changed.enabled else "Disabling"
            states.append("Updating" if changed.enabled == was.enabled else turned)
            return changed

        changed = await self._kept.change(key, update)
        assert changed is not None
        return {**self._shown(changed), "State": states[-1]}

    async def _delete(self, asked: Asked) -> Mapping[str, Json]:
        key = asked.given["UUID"]
        shown = self._shown(_there(self._kept.mappings.get(key), key))
        await self._kept.change(key, lambda before: _there(before, key) and None)
        return {**shown, "State": "Deleting"}

    async def _get(self, asked: Asked) -> Mapping[str, Json]:
        return self._shown(_there(self._kept.mappings.get(asked.given["UUID"]), asked.given["UUID"]))

    async def _list(self, asked: Asked) -> Mapping[str, Json]:
        source, function = asked.given.get("EventSourceArn"), asked.given.get("FunctionName")
        name = self._targets.find(function, None).events if function else None
        rows = [
            (key, one)
            for key, one in sorted(self._kept.mappings.items())
            if source in (None, one.source) and name in (None, one.function)
        ]
        return shape.page(asked.given, rows, "EventSourceMappings", self._shown)

    def _changed(self, mapping: SourceMapping, given: Mapping[str, Json]) -> SourceMapping:
        """Return *mapping* with what was given, of which there is no other. Raises ApiError."""
        streams = mapping.type != "sqs"
        _refuse(given, streams=streams)
        if "FunctionName" in given:
            mapping = replace(mapping, function=self._function(given["FunctionName"]))
            for other in self._kept.mappings.values():
                same = (other.source, other.function) == (mapping.source, mapping.function)
                if same and other.uuid != mapping.uuid:
                    raise _taken(other)
        fifo = mapping.source.endswith(".fifo")
        batch = given.get("BatchSize", mapping.batch)
        window = given.get("MaximumBatchingWindowInSeconds", mapping.window)
        if batch > REQUEST and not window and not fifo and not streams:
            raise ApiError("InvalidParameterValueException", WINDOW)
        if fifo and (batch > REQUEST or window):
            text = "A FIFO queue has batches of at most 10 and no batching window."
            raise ApiError("InvalidParameterValueException", text)
        stream = {**mapping.stream, **{name: given[name] for name in _OF_STREAMS if name in given}}
        if stream.get("TumblingWindowInSeconds") and stream.get("ParallelizationFactor", 1) > 1:
            text = "TumblingWindowInSeconds: it goes with a ParallelizationFactor of 1 only."
            raise ApiError("InvalidParameterValueException", text)
        scaling, on_failure = given.get("ScalingConfig"), mapping.on_failure
        if "DestinationConfig" in given:
            on_failure = self._destination(given["DestinationConfig"])
        return replace(
            mapping,
            on_failure=on_failure,
            stream=stream,
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

    def _function(self, text: str) -> str:
        """Return what the hub calls a function that is to be joined. Raises ApiError."""
        try:
            return self._targets.find(text, None).events
        except ApiError as error:
            if error.kind != "ResourceNotFoundException":
                raise
            raise ApiError("InvalidParameterValueException", NO_FUNCTION) from error

    def _destination(self, config: Mapping[str, Json]) -> str | None:
        if config.get("OnSuccess", {}).get("Destination"):
            text = "Unsupported DestinationConfig parameter for given event source mapping type."
            raise ApiError("InvalidParameterValueException", text)
        told = config.get("OnFailure", {}).get("Destination")
        if told and ":function:" not in told:
            return members.outside(told)
        return self._targets.find(told, None).events if told else None

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
        if mapping.type != "sqs":
            told = mapping.on_failure
            shown = told if told is None or told.startswith("arn:") else arn.function(told)
            destination = {"Destination": shown} if shown else {}
            found |= {**_STANDING, **mapping.stream, "DestinationConfig": {"OnFailure": destination}}
            found["LastProcessingResult"] = "No records processed"
            found["StateTransitionReason"] = "User action"
        if why := self._hub.trouble(f"{PREFIX}{mapping.uuid}"):
            found["LastProcessingResult"] = f"PROBLEM: {why}"
        if mapping.filters:
            found["FilterCriteria"] = {"Filters": [{"Pattern": text} for text in mapping.filters]}
        if mapping.maximum is not None:
            found["ScalingConfig"] = {"MaximumConcurrency": mapping.maximum}
        return found


def _check_start(given: Mapping[str, Json], source: str) -> None:
    """Raise ApiError where a stream has no beginning, or one that it cannot have."""
    position = given.get("StartingPosition")
    if position is None:
        broken = violation(None, "startingPosition", "Member must not be null.")
        raise ApiError("ValidationException", message([broken]))
    moment = given.get("StartingPositionTimestamp")
    if position == "AT_TIMESTAMP" and ":dynamodb:" in source:
        raise ApiError("InvalidParameterValueException", f"Unsupported starting position for arn type: {source}")
    if moment is not None and position != "AT_TIMESTAMP":
        raise ApiError("InvalidParameterValueException", "Timestamp only valid with StartingPosition AT_TIMESTAMP")
    known = isinstance(moment, int | float) and 0 <= moment < ENDS
    if position == "AT_TIMESTAMP" and not known:
        text = "StartingPositionTimestamp: AT_TIMESTAMP goes with seconds since 1970."
        raise ApiError("InvalidParameterValueException", text)


def refused(operation: str) -> list[str]:
    """Return the members of an operation that no kind of source has here, as the table of operations names them."""
    if operation not in ("CreateEventSourceMapping", "UpdateEventSourceMapping"):
        return []
    shape = service().operations[operation].input
    names = {name for name, _, _ in service().members(shape)} if shape is not None else set()
    return [f"`{name}`" for name in sorted(names - _KNOWN - {*_OF_STREAMS, "DestinationConfig", "ScalingConfig"})]


def _refuse(given: Mapping[str, Json], *, streams: bool) -> None:
    """Raise ApiError for what is of another kind of source, or is not built."""
    if "StartingPosition" in given and not streams:
        text = "StartingPosition is not valid for SQS event sources."
        raise ApiError("InvalidParameterValueException", text)
    known = _KNOWN | ({*_OF_STREAMS, "DestinationConfig"} if streams else {"ScalingConfig"})
    if unknown := sorted(name for name, value in given.items() if name not in known and value not in ({}, [])):
        text = f"{unknown[0]}: it is not in this version for an event source mapping of this kind."
        raise ApiError("InvalidParameterValueException", text)
    if 0 <= given.get("MaximumRecordAgeInSeconds", -1) < 60:
        text = "MaximumRecordAgeInSeconds: -1 for no limit, or 60 to 604800."
        raise ApiError("InvalidParameterValueException", text)
    window = given.get("MaximumBatchingWindowInSeconds", 0)
    if window > 300:
        most = "Member must have value less than or equal to 300"
        raise ApiError("ValidationException", message([violation(window, "maximumBatchingWindowInSeconds", most)]))


def _filters(criteria: Mapping[str, Json]) -> tuple[str, ...]:
    texts = tuple(one.get("Pattern", "{}") for one in criteria.get("Filters", ()))
    if len(texts) > FILTERS:
        raise ApiError("InvalidParameterValueException", f"FilterCriteria: a mapping has at most {FILTERS} filters.")
    try:
        if (pattern := pattern_of([json.loads(text) for text in texts])) is not None:
            filtering.compile(pattern)
    except (ValueError, RecursionError, filtering.PatternError) as error:
        raise ApiError("InvalidParameterValueException", f"Invalid filter pattern definition. {error}") from error
    return texts


def _taken(other: SourceMapping) -> ApiError:
    """Return the error for a source and a function that are joined already."""
    both = f'(" {other.source} ") and function (" {other.function} ")'
    if other.type == "sqs":
        text = f"An event source mapping with SQS arn {both} already exists."
    else:
        text = f"The event source arn {both} provided mapping already exists."
    advice = f"Please update or delete the existing mapping with UUID {other.uuid}"
    return ApiError("ResourceConflictException", f"{text} {advice}")


def _there(mapping: SourceMapping | None, key: str) -> SourceMapping:
    if mapping is None:
        raise ApiError("ResourceNotFoundException", "The resource you requested does not exist.")
    return mapping
