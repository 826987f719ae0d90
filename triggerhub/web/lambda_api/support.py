"""Say of each operation of AWS Lambda how far this hub does it."""

from __future__ import annotations

from collections.abc import Container, Iterable

from triggerhub.web.lambda_api import mappings, members

NOT_YET = "it is not in this version"

_REFUSED: dict[str, tuple[str, ...]] = {
    "code signing is not in this version": ("CreateCodeSigningConfig",),
    "functions run on this machine, which has no capacity providers": (
        "CreateCapacityProvider", "GetFunctionScalingConfig", "PutFunctionScalingConfig",
    ),
    "durable executions are not in this version": (
        "CheckpointDurableExecution", "GetDurableExecution", "GetDurableExecutionHistory", "GetDurableExecutionState",
        "SendDurableExecutionCallbackFailure",
        "SendDurableExecutionCallbackHeartbeat", "SendDurableExecutionCallbackSuccess", "StopDurableExecution",
    ),
}  # fmt: skip

REFUSED = {operation: why for why, operations in _REFUSED.items() for operation in operations}
"""Operations that are answered by a refusal, and why; those that are nowhere else are refused as not yet there."""

_NONE: dict[str, tuple[str, ...]] = {
    "there are no code signing configurations": (
        "DeleteCodeSigningConfig", "GetCodeSigningConfig", "ListCodeSigningConfigs", "ListFunctionsByCodeSigningConfig",
        "PutFunctionCodeSigningConfig", "UpdateCodeSigningConfig",
    ),
    "there are no capacity providers": (
        "DeleteCapacityProvider", "GetCapacityProvider", "ListCapacityProviders",
        "ListFunctionVersionsByCapacityProvider", "UpdateCapacityProvider",
    ),
    "there are no durable executions": ("ListDurableExecutionsByFunction",),
}  # fmt: skip

DIFFERS: dict[str, str] = {
    **{operation: why for why, operations in _NONE.items() for operation in operations},
    "AddLayerVersionPermission": "kept and shown; keys are of the one account, whose own layers need no permission",
    "AddPermission": "principals are keys, `arn:aws:iam::000000000000:user/NAME`, and all; services call by triggers",
    "CreateEventSourceMapping": "SQS, DynamoDB and Kinesis; told are functions, SQS and SNS",
    "CreateFunction": "nothing assumes the role: credentials may be given by `Environment`; no SDK is there by itself",
    "CreateFunctionUrlConfig": "the address is one of the ingress; what is no origin is refused",
    "DeleteAlias": "not while a mapping, destination or triggerhub.toml names it; what is queued waits for its next",
    "DeleteFunction": "not while a mapping, destination or triggerhub.toml names it; what is queued waits for its next",
    "GetEventSourceMapping": "`LastProcessingResult` tells of trouble with the source alone, which may come later",
    "GetAccountSettings": "10,000 calls, of which reservations take; without one, each version has a limit of its own",
    "GetFunction": "of a function of the handlers folder there is no archive",
    "GetFunctionCodeSigningConfig": "of none both members are told, one empty, as the description requires",
    "GetFunctionRecursionConfig": "it is about loops by destinations; those by handlers' own calls go on",
    "GetRuntimeManagementConfig": "always `Auto`",
    "Invoke": "who finds no free worker waits for one, up to the function's timeout, before he is throttled",
    "InvokeWithResponseStream": "as Invoke; no bandwidth is withheld after the first 6 MB",
    "ListEventSourceMappings": "as GetEventSourceMapping",
    "ListFunctions": "refused: `MasterRegion`",
    "PublishLayerVersion": "what it is compatible with is told and looked for, and hinders nobody, as at AWS",
    "PutFunctionConcurrency": "with 0, events wait and are not given up",
    "PutFunctionEventInvokeConfig": "destinations are functions, SQS and SNS",
    "PutFunctionRecursionConfig": "as GetFunctionRecursionConfig",
    "PutResourcePolicy": "as AddPermission; what is denied, keys and function URLs are denied, not triggers or tokens",
    "PutProvisionedConcurrencyConfig": "at most 1,000; beside weights, the first version of an alias has the workers",
    "PutRuntimeManagementConfig": "only `Auto`, without `RuntimeVersionArn`",
    "TagResource": "keys that differ by capitals alone are refused",
    "UpdateEventSourceMapping": "as CreateEventSourceMapping",
    "UpdateFunctionConfiguration": "no `LogGroup` but its own; `TracingConfig` `Active` where traces are sent",
    "UpdateFunctionEventInvokeConfig": "as PutFunctionEventInvokeConfig",
    "UpdateFunctionUrlConfig": "as CreateFunctionUrlConfig",
}
"""Operations that work, and in what they are unlike AWS's."""


def table(every: Iterable[str], built: Container[str]) -> list[tuple[str, str, str]]:
    """Return name, word and remark of each operation: works, differs or refused."""
    rows = []
    for name in sorted(every):
        if name not in built:
            rows.append((name, "refused", REFUSED.get(name, NOT_YET)))
            continue
        lacks = [*members.refused(name), *mappings.refused(name)]
        remarks = [DIFFERS.get(name, ""), f"refused: {', '.join(lacks)}" if lacks else ""]
        remark = "; ".join(one for one in remarks if one)
        rows.append((name, "differs" if remark else "works", remark))
    return rows
