"""Read the members of CreateFunction and its kin: what they may say here, and what is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

from triggerhub import archive
from triggerhub.archive import UNZIPPED, BadArchive
from triggerhub.aws.constraints import message, violation
from triggerhub.aws.destination import place
from triggerhub.aws.restjson import ApiError
from triggerhub.deploy.draft import Draft
from triggerhub.deploy.record import Version
from triggerhub.deploy.registry import check_runtime
from triggerhub.errors import ConfigError
from triggerhub.model import Json
from triggerhub.policy.variables import reserved_at_aws
from triggerhub.settings import KB
from triggerhub.web.lambda_api.description import service
from triggerhub.web.lambda_api.shape import ARCHITECTURE

ENV = 4 * KB
TAGS = 50
STORAGE = 10_240
"""The most of /tmp, in MB."""
_MOST = {"Timeout": 900, "MemorySize": 10_240}
"""Where the description allows more, for machines that are not this one."""
_LEVELS = {"ApplicationLogLevel": "log_level", "SystemLogLevel": "system_level"}
_UNZIP = "Could not unzip uploaded file. Please check your file, then try to upload again."

CHECKED = ("Runtime",)
"""What is looked at here alone, as AWS has another answer to it than to what else breaks a constraint."""

_REFUSED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "VpcConfig": (lambda v: bool(v.get("SubnetIds") or v.get("SecurityGroupIds")), "functions run in no VPC"),
    "PackageType": (lambda v: v != "Zip", "container images are not in this version; send a zip archive"),
    "ImageConfig": (bool, "container images are not in this version"),
    "KMSKeyArn": (bool, "encryption by a key of KMS is not in this version"),
    "FileSystemConfigs": (bool, "file systems of EFS and S3 are not in this version"),
    "CodeSigningConfigArn": (bool, "code signing is not in this version"),
    "TenancyConfig": (bool, "tenant isolation is not in this version"),
    "CapacityProviderConfig": (bool, "functions run on this machine, which has no capacity providers"),
    "DurableConfig": (bool, "durable executions are not in this version"),
    "PublishTo": (bool, "publishing to $LATEST.PUBLISHED is not in this version"),
    "SourceKMSKeyArn": (bool, "encryption by a key of KMS is not in this version"),
    "Architectures": (lambda v: v != [ARCHITECTURE], f"this machine is {ARCHITECTURE}"),
    "ImageUri": (bool, "container images are not in this version"),
    "S3ObjectStorageMode": (bool, "an archive in S3 is copied; other modes are not in this version"),
}  # fmt: skip


_BUT = {"Architectures": " but this machine's", "PackageType": " but `Zip`"}
_LOOKED_AT = frozenset((
    "CreateFunction", "PublishLayerVersion", "PublishVersion", "UpdateFunctionCode", "UpdateFunctionConfiguration",
))  # fmt: skip


def refused(operation: str) -> list[str]:
    """Return the members of an operation that ask for what is not built, as the table of operations names them."""
    shape = service().operations[operation].input
    if operation not in _LOOKED_AT or shape is None:
        return []
    names = {name for name, _, _ in service().members(shape)}
    for inside in names & {"Code", "Content"}:
        names |= {name for name, _, _ in service().members(service().shapes[shape]["members"][inside]["shape"])}
    return [f"`{name}`{_BUT.get(name, '')}" for name in sorted(names & _REFUSED.keys())]


def refuse(given: Mapping[str, Json], function: str | None = None) -> None:
    """Raise ApiError for a member that asks for what is not built, or for more than Lambda itself gives."""
    for name, value in given.items():
        asks, why = _REFUSED.get(name, (lambda _: False, ""))
        if asks(value):
            raise ApiError("InvalidParameterValueException", f"{name}: {why}.")
        if name in _MOST and value > _MOST[name]:
            at = f"{name[:1].lower()}{name[1:]}"
            most = f"Member must have value less than or equal to {_MOST[name]}"
            raise ApiError("ValidationException", message([violation(value, at, most)]))
    storage = given.get("EphemeralStorage", {}).get("Size", 0)
    if storage > STORAGE:
        most = f"Member must have value less than or equal to {STORAGE}"
        raise ApiError("ValidationException", message([violation(storage, "ephemeralStorage.size", most)]))
    config = given.get("LoggingConfig", {})
    if config.keys() - {"ApplicationLogLevel", "LogFormat", "LogGroup", "SystemLogLevel"}:
        raise ApiError("InvalidParameterValueException", "LoggingConfig: it has a member that is not in this version.")
    group = config.get("LogGroup")
    if group is not None and group != f"/aws/lambda/{function}":
        raise ApiError("InvalidParameterValueException", "LogGroup: a function's log is named after it.")


def logs(given: Mapping[str, Json], before: Version | None = None) -> dict[str, Any]:
    """Return how handlers and the hub shall log, as a version has it. Raises ApiError.

    What is not said is as it was *before*; but levels go when the format becomes Text.
    """
    config = given.get("LoggingConfig", {})
    form = config.get("LogFormat", "Text" if before is None else before.log_format)
    said = {ours: config[theirs] for theirs, ours in _LEVELS.items() if theirs in config}
    if form == "Text" and said:
        raise ApiError("InvalidParameterValueException", "LoggingConfig: levels go with the LogFormat JSON only.")
    kept = None if form == "Text" else before
    return {"log_format": form, **{one: getattr(kept, one, None) for one in _LEVELS.values()}, **said}


def snap(given: Mapping[str, Json], runtime: str, before: bool = False) -> bool:
    """Return whether published versions begin each call with what was loaded once. Raises ApiError.

    *before* is what holds where nothing is said.
    """
    wanted = bool(given["SnapStart"].get("ApplyOn") == "PublishedVersions") if "SnapStart" in given else before
    if wanted and not runtime.startswith("python"):
        text = f"{runtime} is not supported for SnapStart enabled functions: here it is for Python."
        raise ApiError("InvalidParameterValueException", text)
    return wanted


def traced(given: Mapping[str, Json], *, exported: bool) -> bool:
    """Return whether calls are to be traced, which they are where the hub's spans are *exported*. Raises ApiError."""
    wanted = bool(given.get("TracingConfig", {}).get("Mode") == "Active")
    if wanted and not exported:
        text = "TracingConfig: the hub sends traces to no collector. Leave Mode at PassThrough, or name one in its "
        text = f"{text}environment by OTEL_EXPORTER_OTLP_ENDPOINT, with triggerhub[otel] installed."
        raise ApiError("InvalidParameterValueException", text)
    return wanted


def environment(given: Mapping[str, Json]) -> dict[str, str]:
    """Return the variables that were given. Raises ApiError."""
    variables: dict[str, str] = given.get("Environment", {}).get("Variables", {})
    if taken := sorted(filter(reserved_at_aws, variables)):
        raise ApiError(
            "InvalidParameterValueException",
            "Lambda was unable to configure your environment variables because the environment variables you have "
            "provided contains reserved keys that are currently not supported for modification. Reserved keys used in "
            f"this request: {', '.join(taken)}",
        )
    measured = json.dumps(variables, separators=(",", ":"), ensure_ascii=False)
    if len(measured.encode()) > ENV:
        raise ApiError(
            "InvalidParameterValueException",
            "Lambda was unable to configure your environment variables because the environment variables you have "
            f"provided exceeded the 4KB limit. String measured: {measured}",
        )
    if any("\0" in value for value in variables.values()):
        raise ApiError("InvalidParameterValueException", "A variable of the environment cannot have a NUL in it.")
    return variables


def dead_letters(given: Mapping[str, Json]) -> str:
    """Return the dead-letter target that was given, empty where there is to be none. Raises ApiError."""
    target: str = given.get("DeadLetterConfig", {}).get("TargetArn", "")
    if target:
        try:
            place(target)
        except ValueError as error:
            text = f"The provided target ARN is invalid: {error}."
            raise ApiError("InvalidParameterValueException", text) from error
    return target


def outside(text: str) -> str:
    """Return the ARN of a destination that is no function. Raises ApiError where nothing can be sent to it."""
    try:
        place(text)
    except ValueError as error:
        why = f"The destination ARN {text} is invalid: {error}; the ARN of a function of this hub will do, too."
        raise ApiError("InvalidParameterValueException", why) from error
    return text


def tags(given: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that were given. Raises ApiError."""
    if len(given) > TAGS:
        raise ApiError("InvalidParameterValueException", "Number of tags exceeds resource tag limit.")
    if any(key.lower().startswith("aws:") for key in given):
        text = "Tags: aws: prefixed tag key names are not allowed for external use."
        raise ApiError("InvalidParameterValueException", text)
    spelled: dict[str, str] = {}
    for key in given:
        if (other := spelled.setdefault(key.lower(), key)) != key:
            text = f"Tags: {other} and {key} differ by capitals alone, which conditions do not tell apart."
            raise ApiError("InvalidParameterValueException", text)
    return dict(given)


def runtime(name: str) -> None:
    """Raise ApiError where this host does not run *name*. Blocks."""
    known = service().shapes["Runtime"]["enum"]
    if name not in known:
        must = f"Member must satisfy enum value set: [{', '.join(known)}] or be a valid ARN"
        text = f"Value {name[:100]} at 'runtime' failed to satisfy constraint: {must}"
        raise ApiError("InvalidParameterValueException", text)
    try:
        check_runtime(name)
    except ConfigError as error:
        hint = f" ({error.hint})" if error.hint else ""
        raise ApiError("InvalidParameterValueException", f"Runtime: {error.message}{hint}.") from error


def look_at(code: bytes | Draft) -> int:
    """Return how many bytes an archive unpacks to. Raises ApiError where it cannot be a function's code. Blocks."""
    try:
        with io.BytesIO(code) if isinstance(code, bytes) else code.open() as file:
            claimed = archive.check(file)
    except BadArchive as error:
        raise bad_archive(error) from error
    if claimed == 0:
        raise ApiError("InvalidParameterValueException", "Uploaded file must be a non-empty zip")
    return claimed


def bad_archive(error: BadArchive) -> ApiError:
    """Return the answer to an archive that is refused."""
    match error.kind:
        case "large":
            text = f"Unzipped size must be smaller than {UNZIPPED} bytes"
        case "damaged":
            text = _UNZIP
        case "many":
            text = f"{_UNZIP} It has too many entries: {error.message}."
        case "unsafe":
            text = f"{_UNZIP} In it, {error.message}."
    return ApiError("InvalidParameterValueException", text)
