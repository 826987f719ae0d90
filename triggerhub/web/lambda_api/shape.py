"""Shape functions, versions and aliases as the Lambda API shows them."""

from __future__ import annotations

import base64
import platform
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from triggerhub.aws import arn
from triggerhub.aws.reference import LATEST
from triggerhub.aws.restjson import ApiError
from triggerhub.deploy.record import Alias, Deployed, Version
from triggerhub.deploy.registry import LEVEL
from triggerhub.model import Json, Millis

MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
ARCHITECTURE = MACHINES.get(platform.machine().lower(), "x86_64")
DEFAULT_PAGE = 50
_HIDDEN = "Variables are for admins, and for keys whose actions are named."
UNTRACED: dict[str, Json] = {"TracingConfig": {"Mode": "PassThrough"}}
ALWAYS: dict[str, Json] = {"PackageType": "Zip", "Architectures": [ARCHITECTURE], **UNTRACED}
"""What is so of every function."""


FAILED: Json = {
    "State": "Failed",
    "StateReason": "It cannot be run on this machine any more; the hub's log says why.",
    "StateReasonCode": "InvalidRuntime",
}
"""What is shown of a version whose interpreter, say, is gone."""


def when(moment: Millis) -> str:
    """Write a moment as LastModified has it."""
    return f"{datetime.fromtimestamp(moment / 1000, UTC):%Y-%m-%dT%H:%M:%S}.{moment % 1000:03d}+0000"


def sha256(name: str) -> str:
    """Write an archive's SHA-256, given in hexadecimal, as CodeSha256 has it."""
    return base64.b64encode(bytes.fromhex(name)).decode()


def configuration(deployed: Deployed, version: Version, qualifier: str | None) -> dict[str, Json]:
    """Return a FunctionConfiguration; *qualifier* is the one that the ARN shall have."""
    found: dict[str, Json] = {
        "FunctionName": deployed.name,
        "FunctionArn": arn.function(deployed.name, qualifier),
        "Runtime": version.runtime,
        "Role": version.role,
        "Handler": version.handler,
        "CodeSize": version.code_size,
        "Description": version.description,
        "Timeout": version.timeout,
        "MemorySize": version.memory,
        "EphemeralStorage": {"Size": version.storage},
        "LastModified": when(version.modified),
        "CodeSha256": sha256(version.code),
        "Version": version.number,
        "RevisionId": version.revision,
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "LoggingConfig": _logging(deployed.name, version),
        "SnapStart": snap_start(applied=version.snap, on=version.snapped),
        **ALWAYS,
    }
    if version.traced:
        found["TracingConfig"] = {"Mode": "Active"}
    if version.dead_letters:
        found["DeadLetterConfig"] = {"TargetArn": version.dead_letters}
    if version.env or version.env_given:
        found["Environment"] = {"Variables": dict(version.env)}
    if version.layers:
        found["Layers"] = [{"Arn": layer.arn, "CodeSize": layer.code_size} for layer in version.layers]
    return found


def _logging(name: str, version: Version) -> dict[str, Json]:
    levels = {"ApplicationLogLevel": version.log_level or LEVEL, "SystemLogLevel": version.system_level or LEVEL}
    own = {"LogFormat": version.log_format, "LogGroup": f"/aws/lambda/{name}"}
    return own if version.log_format == "Text" else {**own, **levels}


def snap_start(*, applied: bool, on: bool) -> dict[str, Json]:
    """Say whether published versions begin each call with what was loaded once, and whether this one does."""
    return {"ApplyOn": "PublishedVersions" if applied else "None", "OptimizationStatus": "On" if on else "Off"}


def creating(configured: Mapping[str, Json]) -> dict[str, Json]:
    """Return a configuration as the answer to a creation shows it: the next look finds it active."""
    reason = {"StateReason": "The function is being created.", "StateReasonCode": "Creating"}
    shown = {key: value for key, value in configured.items() if key != "LastUpdateStatus"}
    return {**shown, "State": "Pending", **reason}


def updating(configured: Mapping[str, Json]) -> dict[str, Json]:
    """Return a configuration as the answer to an update shows it."""
    reason = "The function is being created."
    return {
        **configured,
        "LastUpdateStatus": "InProgress",
        "LastUpdateStatusReason": reason,
        "LastUpdateStatusReasonCode": "Creating",
    }


def alias(deployed: Deployed, name: str, one: Alias) -> dict[str, Json]:
    """Return an AliasConfiguration."""
    found: dict[str, Json] = {
        "AliasArn": arn.function(deployed.name, name),
        "Name": name,
        "FunctionVersion": one.version,
        "Description": one.description,
        "RevisionId": one.revision,
    }
    if one.weights:
        found["RoutingConfig"] = {"AdditionalVersionWeights": dict(one.weights)}
    return found


def without_variables(result: Mapping[str, Json]) -> dict[str, Json]:
    """Return an answer in which the variables of functions are not told, as AWS says it to who may not have them."""
    shown = dict(result)
    if "Variables" in shown.get("Environment", {}):
        shown["Environment"] = {"Error": {"ErrorCode": "AccessDeniedException", "Message": _HIDDEN}}
    if "Configuration" in shown:
        shown["Configuration"] = without_variables(shown["Configuration"])
    for lists in ("Functions", "Versions"):
        if lists in shown:
            shown[lists] = [without_variables(one) for one in shown[lists]]
    return shown


def numbered(number: str) -> int:
    """Return the place of a version among those of its function: ``$LATEST`` is the first. Raises ValueError."""
    return 0 if number == LATEST else int(number)


def page(
    given: Mapping[str, Json],
    rows: Sequence[tuple[str, Any]],
    member: str,
    show: Callable[[Any], Json],
    order: Callable[[str], Any] = str,
) -> dict[str, Json]:
    """Return one page of *rows*, each under a key of its own that serves as marker, sorted by *order* of the key.

    Where what a marker names is gone by now, the page begins with what comes after it.
    """
    marker, most = given.get("Marker"), given.get("MaxItems", DEFAULT_PAGE)
    start = 0
    if marker:
        try:
            start = bisect_left(rows, order(marker), key=lambda row: order(row[0]))
        except ValueError as error:
            text = "The marker is not one that this list gave."
            raise ApiError("InvalidParameterValueException", text) from error
    found = {member: [show(row) for _, row in rows[start : start + most]]}
    if start + most < len(rows):
        found["NextMarker"] = rows[start + most][0]
    return found
