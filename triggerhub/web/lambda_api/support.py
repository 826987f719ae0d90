"""Say of each operation of AWS Lambda how far this hub does it."""

from __future__ import annotations

from collections.abc import Iterator

NOT_YET = "it is not in this version"

_REFUSED: dict[str, tuple[str, ...]] = {
    "code signing is not in this version": (
        "CreateCodeSigningConfig", "DeleteCodeSigningConfig", "DeleteFunctionCodeSigningConfig",
        "GetCodeSigningConfig", "ListCodeSigningConfigs", "ListFunctionsByCodeSigningConfig",
        "PutFunctionCodeSigningConfig", "UpdateCodeSigningConfig",
    ),
    "functions run on this machine, which has no capacity providers": (
        "CreateCapacityProvider", "DeleteCapacityProvider", "GetCapacityProvider", "GetFunctionScalingConfig",
        "ListCapacityProviders", "ListFunctionVersionsByCapacityProvider", "PutFunctionScalingConfig",
        "UpdateCapacityProvider",
    ),
    "durable executions are not in this version": (
        "CheckpointDurableExecution", "GetDurableExecution", "GetDurableExecutionHistory", "GetDurableExecutionState",
        "ListDurableExecutionsByFunction", "SendDurableExecutionCallbackFailure",
        "SendDurableExecutionCallbackHeartbeat", "SendDurableExecutionCallbackSuccess", "StopDurableExecution",
    ),
}  # fmt: skip

REFUSED = {operation: why for why, operations in _REFUSED.items() for operation in operations}
"""Operations that are answered by a refusal, and why; those that are nowhere else are refused as not yet there."""

DIFFERS: dict[str, str] = {
    "Invoke": "who finds no free worker waits for one, up to the function's timeout, before he is throttled",
    "InvokeWithResponseStream": "the answer is sent once the function has returned all of it",
}
"""Operations that work, and in what they are unlike AWS's."""


def table(all_operations: Iterator[str] | list[str], built: set[str]) -> list[tuple[str, str, str]]:
    """Return name, word and remark of each operation: works, differs or refused."""
    rows = []
    for name in sorted(all_operations):
        if name not in built:
            rows.append((name, "refused", REFUSED.get(name, NOT_YET)))
        elif name in DIFFERS:
            rows.append((name, "differs", DIFFERS[name]))
        else:
            rows.append((name, "works", ""))
    return rows
