"""Tell what this hub allows, as an account's settings tell it."""

from __future__ import annotations

from collections.abc import Mapping

from triggerhub.archive import UNZIPPED
from triggerhub.deploy.registry import Registry
from triggerhub.deploy.shelf import TOTAL
from triggerhub.hub.hub import Hub
from triggerhub.model import Json
from triggerhub.settings import MB
from triggerhub.web.lambda_api.asked import Asked, Perform

ZIPPED = 50 * MB
"""The largest archive that a request may carry."""
CONCURRENCY = 10_000
"""What all reservations are taken from: the most that ``concurrency`` of a function of the folder may say."""
UNRESERVED = 100
"""How much of it none takes, as at AWS."""


class Account:
    """GetAccountSettings."""

    def __init__(self, hub: Hub, registry: Registry) -> None:
        self._hub = hub
        self._registry = registry

    def operations(self) -> Mapping[str, Perform]:
        return {"GetAccountSettings": self._settings}

    async def _settings(self, asked: Asked) -> Mapping[str, Json]:
        functions = [one for one in self._hub.project.functions.values() if one.leads is None]
        versions = [one for name in self._registry.functions.values() for one in (name.latest, *name.versions.values())]
        layers = [one for layer in self._registry.layers.layers.values() for one in layer.versions.values()]
        reserved = sum(one.reserved or 0 for one in self._registry.functions.values())
        return {
            "AccountLimit": {
                "TotalCodeSize": TOTAL,
                "CodeSizeUnzipped": UNZIPPED,
                "CodeSizeZipped": ZIPPED,
                "ConcurrentExecutions": CONCURRENCY,
                "UnreservedConcurrentExecutions": CONCURRENCY - reserved,
            },
            "AccountUsage": {
                "TotalCodeSize": sum(one.code_size for one in versions) + sum(one.code_size for one in layers),
                "FunctionCount": len({function.name.partition(":")[0] for function in functions}),
            },
        }
