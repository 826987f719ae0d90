"""Serve the versions of functions, and the way back to one."""

from __future__ import annotations

import time
import uuid

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from triggerhub.aws.reference import LATEST
from triggerhub.deploy import rollback
from triggerhub.deploy.record import Deployed, Version
from triggerhub.deploy.registry import Registry
from triggerhub.errors import Conflict, NotFound
from triggerhub.hub.hub import Hub
from triggerhub.model import Json
from triggerhub.settings import DEPLOYED
from triggerhub.web import asked, shape
from triggerhub.web.deliveries import json


class Versions:
    """The routes under /functions/NAME that know of versions."""

    def __init__(self, hub: Hub, registry: Registry) -> None:
        self._hub = hub
        self._registry = registry

    def routes(self) -> list[Route]:
        return [
            Route("/functions/{name}/versions", self.versions),
            Route("/functions/{name}/rollback", self.rollback, methods=["POST"]),
        ]

    async def versions(self, request: Request) -> Response:
        """List what a function has been: its newest first, and after what runs unqualified."""
        return json(shape.dump([shape.timed(row, "created") for row in self.rows(request.path_params["name"])]))

    def rows(self, name: str) -> list[dict[str, Json]]:
        """Return the versions of a function; of one of the handlers folder the only one. NotFound."""
        deployed = self._deployed(name)
        if deployed is None:
            version = self._hub.project.functions[name].version
            return [{"version": version, "created": None, "description": "", "aliases": []}]
        numbers = sorted(deployed.versions, key=int, reverse=True)
        return [_row(deployed, one) for one in (deployed.latest, *(deployed.versions[number] for number in numbers))]

    async def rollback(self, request: Request) -> Response:
        """Make an earlier version what runs: unqualified, or by an alias."""
        order = await asked.fields(request, {"to": str, "alias": str})
        return json(shape.dump(await self.back(request.path_params["name"], order.get("to"), order.get("alias"))))

    async def back(self, name: str, to: str | None, alias: str | None) -> dict[str, Json]:
        """Make version *to*, or the one before, what runs; return which it is. NotFound, BadInput, Conflict."""
        if self._deployed(name) is None:
            source = self._hub.project.functions[name].source
            raise Conflict(
                f"{name} is a function of the handlers folder, which keeps no versions",
                hint=f"Put the earlier {source} back; the hub takes it over when it is saved.",
            )
        revision = str(uuid.uuid4())

        def back(before: Deployed | None) -> Deployed:
            if before is None:
                raise NotFound(f"no function {name!r}")
            if alias is not None:
                return rollback.alias_to(before, alias, to, revision=revision)
            return rollback.latest_as(before, to, now=time.time_ns() // 1_000_000, revision=revision)

        changed = await self._registry.change(name, back)
        assert changed is not None
        told = {"function": name, "alias": alias}
        if alias is not None:
            return {**told, "version": changed.aliases[alias].version}
        same = [n for n, one in changed.versions.items() if not changed.latest.differs(one) and to in (None, n)]
        return {**told, "version": max(same, key=int)}

    def _deployed(self, name: str) -> Deployed | None:
        function = self._hub.project.functions.get(name)
        if function is None:
            known = ", ".join(sorted(self._hub.project.functions)) or "none"
            raise NotFound(f"no function {name!r}", hint=f"This hub has: {known}.")
        return self._registry.functions.get(name) if function.source == DEPLOYED else None


def _row(deployed: Deployed, version: Version) -> dict[str, Json]:
    aliases = [name for name, one in deployed.aliases.items() if version.number in (one.version, *one.weights)]
    return {
        "version": version.number,
        "created": version.modified,
        "description": version.description,
        "runtime": version.runtime,
        "code": version.code[:12],
        "aliases": sorted(aliases),
        "current": version.number == LATEST,
    }
