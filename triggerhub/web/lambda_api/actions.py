"""Know the actions of Lambda that a policy or an access key may name: IAM's names of the operations."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache

from triggerhub.web.lambda_api.beside import ACTIONS
from triggerhub.web.lambda_api.description import service

_OTHERS = {
    "GetLayerVersionByArn": "GetLayerVersion", "Invoke": "InvokeFunction", "InvokeWithResponseStream": "InvokeFunction",
}  # fmt: skip
"""Operations whose action has another name."""
BY_URL = "InvokeFunctionUrl", "InvokeFunction"
"""What calling a function by its URL takes: the first is no operation."""


def action(operation: str) -> str:
    """Return the action that an operation is."""
    return _OTHERS.get(operation, operation)


def meant(pattern: str) -> bool:
    """Whether a pattern such as ``lambda:Get*`` is of any action. As in IAM, capitals are as small letters."""
    return any(fnmatchcase(one, pattern.lower()) for one in _every())


def meant_of_keys(pattern: str) -> bool:
    """Whether a pattern is of any action that a key may need: of Lambda, or of what operations name beside it."""
    return meant(pattern) or any(fnmatchcase(one.lower(), pattern.lower()) for one in ACTIONS)


@cache
def _every() -> frozenset[str]:
    return frozenset(f"lambda:{name}".lower() for name in (*BY_URL, *map(action, service().operations)))
