"""Tell what this hub allows, as an account's settings tell it."""

from __future__ import annotations

from collections.abc import Mapping

from triggerhub.archive import UNZIPPED
from triggerhub.hub.hub import Hub
from triggerhub.model import Json
from triggerhub.settings import GB, MB
from triggerhub.web.lambda_api.asked import Asked, Perform

ZIPPED = 50 * MB
"""The largest archive that a request may carry."""


class Account:
    """GetAccountSettings."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def operations(self) -> Mapping[str, Perform]:
        return {"GetAccountSettings": self._settings}

    async def _settings(self, asked: Asked) -> Mapping[str, Json]:
        functions = self._hub.project.functions.values()
        at_once = sum(function.concurrency for function in functions)
        return {
            "AccountLimit": {
                "TotalCodeSize": 75 * GB,
                "CodeSizeUnzipped": UNZIPPED,
                "CodeSizeZipped": ZIPPED,
                "ConcurrentExecutions": at_once,
                "UnreservedConcurrentExecutions": at_once,
            },
            "AccountUsage": {"TotalCodeSize": 0, "FunctionCount": len(functions)},
        }
