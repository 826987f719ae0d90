"""Know the variables that are not a function's to set: each worker is told by them who it is."""

from __future__ import annotations

from triggerhub.settings import KB

_RESERVED = frozenset((
    "_HANDLER", "_X_AMZN_TRACE_ID", "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_ACCESS_KEY",
    "AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR",
))  # fmt: skip
"""Those of AWS without a role's credentials: no role is assumed here, so that a function has those it was given."""
_OWN = "_TRIGGERHUB_"
"""What begins so is between the hub and its workers."""

LONGEST = 127 * KB
"""The most in one variable: Linux starts no program with more than 128 KB in one, its name included."""


def reserved(name: str) -> bool:
    """Whether nobody sets it but the hub."""
    return name in _RESERVED or name.startswith(_OWN)


def reserved_at_aws(name: str) -> bool:
    """Whether Lambda's API refuses it; a project may give a function another region than the hub's."""
    return reserved(name) or name in ("AWS_REGION", "AWS_DEFAULT_REGION")
