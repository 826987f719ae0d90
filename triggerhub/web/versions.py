"""Serve the versions of functions: the way back to one, and the careful way to the next."""

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
from triggerhub.errors import BadInput, Conflict, NotFound
from triggerhub.hub.canaries import Canaries
from triggerhub.hub.hub import Hub
from triggerhub.model import Json
from triggerhub.policy.canary import Terms
from triggerhub.policy.units import show_duration
from triggerhub.settings import DAY, DEPLOYED, MINUTE
from triggerhub.web import asked, shape
from triggerhub.web.deliveries import json

WEIGHT, MOST, LENGTH, LEAST = 10.0, 5.0, 10 * MINUTE, 20
"""Of a canary, where nothing else is said: percent of the calls, percent of them that may fail, how long, how many."""
LONGEST, CALLS = 30 * DAY, 1_000_000
"""The most of the last two."""
ORDER: dict[str, type | tuple[type, ...]] = {
    "alias": str, "to": str, "weight": (int, float), "max_errors": (int, float), "for": str, "min_calls": int,
}  # fmt: skip


class Versions:
    """The routes under /functions/NAME that know of versions."""

    def __init__(self, hub: Hub, registry: Registry, canaries: Canaries) -> None:
        self._hub = hub
        self._registry = registry
        self.canaries = canaries

    def routes(self) -> list[Route]:
        return [
            Route("/functions/{name}/versions", self.versions),
            Route("/functions/{name}/rollback", self.rollback, methods=["POST"]),
            Route("/functions/{name}/canary", self.canary, methods=["POST"]),
            Route("/functions/{name}/canary/end", self.end, methods=["POST"]),
        ]

    async def versions(self, request: Request) -> Response:
        """List what a function has been: its newest first, and after what runs unqualified."""
        found = []
        for row in self.rows(request.path_params["name"]):
            tried = [shape.timed(one, "began", "ended") for one in row["canaries"]]
            found.append(shape.timed(row, "created", "ran") | {"canaries": tried})
        return json(shape.dump(found))

    def rows(self, name: str) -> list[dict[str, Json]]:
        """Return the versions of a function; of one of the handlers folder those that are kept. NotFound."""
        deployed = self._deployed(name)
        if deployed is None:
            plain: dict[str, Json] = {"description": "", "aliases": [], "canaries": []}
            return [{**plain, **row} for row in self._hub.versions.rows(name)]
        numbers = sorted(deployed.versions, key=int, reverse=True)
        tried = self.canaries.rows(name)
        return [
            _row(deployed, one) | {"canaries": [row for row in tried if row["version"] == one.number]}
            for one in (deployed.latest, *(deployed.versions[number] for number in numbers))
        ]

    async def rollback(self, request: Request) -> Response:
        """Make an earlier version what runs: unqualified, or by an alias."""
        order = await asked.fields(request, {"to": str, "alias": str})
        return json(shape.dump(await self.back(request.path_params["name"], order.get("to"), order.get("alias"))))

    async def back(self, name: str, to: str | None, alias: str | None) -> dict[str, Json]:
        """Make version *to*, or the one before, what runs; return which it is. NotFound, BadInput, Conflict."""
        if self._deployed(name) is None:
            if alias is not None:
                raise BadInput(f"{name} is a function of the handlers folder, which has no aliases")
            version = await self._hub.rollback(name, to)
            return {"function": name, "alias": None, "version": version, "pinned": self._hub.versions.pinned(name)}
        if (
            alias is not None
            and to is None
            and any(row["alias"] == alias and row["state"] == "running" for row in self.canaries.rows(name))
        ):
            await self.canaries.end(name, alias, "rolled back")
            return {"function": name, "alias": alias, "version": self._registry.functions[name].aliases[alias].version}
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

    async def canary(self, request: Request) -> Response:
        """Give a new version a part of an alias's calls, until it is promoted or rolled back; the answer is its row."""
        order = await asked.fields(request, ORDER)
        name = request.path_params["name"]
        if self._deployed(name) is None:
            source = self._hub.project.functions[name].source
            raise Conflict(
                f"{name} is a function of the handlers folder, which has no aliases",
                hint=f"{source} is tried once when it is saved; until it starts, the version before goes on.",
            )
        weight = _within("weight", order.get("weight", WEIGHT), 0.1, 100)
        terms = Terms(
            most=_within("max_errors", order.get("max_errors", MOST), 0, 99.9),
            length=asked.duration(order["for"], "for") if "for" in order else LENGTH,
            least=int(_within("min_calls", order.get("min_calls", LEAST), 0, CALLS)),
        )
        if terms.length > LONGEST:
            raise BadInput(f"for: expected at most {show_duration(LONGEST)}, got {order['for']}")
        alias = await self.canaries.begin(name, order.get("alias"), order.get("to"), weight=weight / 100, terms=terms)
        return json(shape.dump(self._row_of(name, alias)))

    async def end(self, request: Request) -> Response:
        """End a canary now: ``promote`` it, or else take it back; the answer is its row."""
        order = await asked.fields(request, {"alias": str, "promote": bool})
        row = await self.ended(request.path_params["name"], order.get("alias"), promote=order.get("promote", False))
        return json(shape.dump(row))

    async def ended(self, name: str, alias: str | None, *, promote: bool) -> dict[str, Json]:
        """End the canary of an alias; None is the only one that runs. Returns its row. NotFound, Conflict."""
        self._deployed(name)
        if alias is None:
            tried = [row["alias"] for row in self.canaries.rows(name) if row["state"] == "running"]
            if len(tried) != 1:
                known = f"Name one of {', '.join(tried)}." if tried else None
                raise Conflict(f"{len(tried) or 'no'} aliases of {name} try a version now", hint=known)
            (alias,) = tried
        await self.canaries.end(name, alias, "promoted" if promote else "rolled back")
        return self._row_of(name, alias)

    def _row_of(self, name: str, alias: str) -> dict[str, Json]:
        (row,) = (row for row in self.canaries.rows(name) if row["alias"] == alias)
        return shape.timed(row, "began", "ended")

    def _deployed(self, name: str) -> Deployed | None:
        function = self._hub.project.functions.get(name)
        if function is None:
            known = ", ".join(sorted(self._hub.project.functions)) or "none"
            raise NotFound(f"no function {name!r}", hint=f"This hub has: {known}.")
        if function.source != DEPLOYED:
            return None
        base, qualified, _ = name.partition(":")
        if qualified:
            raise BadInput(f"{name} is a version or an alias of {base}", hint=f"Name the function: {base}.")
        return self._registry.functions.get(name)


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


def _within(name: str, value: float, least: float, most: float) -> float:
    if not least <= value <= most:
        raise BadInput(f"{name}: expected a number from {least:g} to {most:g}, got {value:g}")
    return value
