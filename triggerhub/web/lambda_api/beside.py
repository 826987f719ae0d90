"""Say what else must be allowed for an operation: to reach what it names beside its function.

The hub reaches it with its own credentials, whoever had it named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from triggerhub.aws import reference
from triggerhub.aws.arn import bucket
from triggerhub.deploy.layers import layer_arn
from triggerhub.model import Json
from triggerhub.web.lambda_api.layers import layer_version

_SOURCES: Mapping[str, tuple[str, ...]] = {
    "sqs": ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes"),
    "dynamodb": ("DescribeStream", "GetRecords", "GetShardIterator"),
    "kinesis": ("DescribeStream", "GetRecords", "GetShardIterator", "ListShards"),
}
"""What a mapping does with its source, by the service that has it, in the words of IAM."""
_TARGETS: Mapping[str, str] = {"sqs": "SendMessage", "sns": "Publish"}
_S3 = ("GetObject", "GetObjectVersion")
ACTIONS = frozenset((
    *(f"{service}:{name}" for service, names in _SOURCES.items() for name in names),
    *(f"{service}:{name}" for service, name in _TARGETS.items()),
    *(f"s3:{name}" for name in _S3),
))  # fmt: skip
"""Actions of other services that operations need."""
SERVICES = frozenset(one.partition(":")[0] for one in ACTIONS)


def named(operation: str, given: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    """Yield an action and a resource for each thing that is named. Functions are named as they are by callers."""
    for text in given.get("Layers") or ():
        version = layer_version(text)
        yield "lambda:GetLayerVersion", layer_arn(*version) if version else "*"
    for code in (given.get("Code"), given.get("Content"), given):
        if code and code.get("S3Bucket") and code.get("S3Key"):
            action = _S3[1] if code.get("S3ObjectVersion") else _S3[0]
            yield f"s3:{action}", f"{bucket(code['S3Bucket'])}/{code['S3Key']}"
    targets = [(given.get("DeadLetterConfig") or {}).get("TargetArn")]
    destinations = given.get("DestinationConfig") or {}
    targets += [(destinations.get(which) or {}).get("Destination") for which in ("OnSuccess", "OnFailure")]
    for target in filter(None, targets):
        service = _service(target)
        if service in _TARGETS:
            yield f"{service}:{_TARGETS[service]}", target
        elif reference.parse(target) is not None:
            yield "lambda:InvokeFunction", target
    if operation == "CreateEventSourceMapping":
        source = given.get("EventSourceArn") or ""
        service = _service(source)
        for action in _SOURCES.get(service, ()):
            yield f"{service}:{action}", source


def _service(arn: str) -> str:
    return arn.split(":")[2] if arn.count(":") >= 3 else ""
