"""Give a new version a part of an alias's calls, and lead the alias to it, or back, once that is decided.

The terms stand in the function's record, so that beginning and end are one change each with the alias's weights.
What was counted is written down beside it every few seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Literal

import anyio
import structlog

from triggerhub.aws.reference import LATEST
from triggerhub.deploy.record import Alias, Canary, Deployed
from triggerhub.errors import BadInput, Conflict, NotFound
from triggerhub.model import Millis
from triggerhub.policy.canary import Tally, Terms
from triggerhub.store import Store

log = structlog.get_logger("deploy")

SCOPE = "lambda-canary"


def begun(
    deployed: Deployed, name: str | None, to: str | None, *, weight: float, terms: Terms, now: Millis, revision: str
) -> tuple[Deployed, str]:
    """Return the function with *weight* (0 to 1) of the calls of its alias *name* at version *to*, and the alias.

    None is the only alias there is, and the newest version that the alias does not lead to. BadInput, NotFound,
    Conflict.
    """
    if name is None:
        if len(deployed.aliases) != 1:
            known = ", ".join(sorted(deployed.aliases))
            hint = f"Name one of {known}." if known else "Make one by CreateAlias: it is what callers then name."
            raise BadInput(f"{deployed.name} has {'several' if known else 'no'} aliases", hint=hint)
        (name,) = deployed.aliases
    alias = _alias(deployed, name)
    if alias.version == LATEST:
        raise BadInput(f"{name} leads to $LATEST", hint="Lead it to a published version: UpdateAlias.")
    if alias.canary is not None and alias.canary.state == "running":
        raise Conflict(
            f"{name} of {deployed.name} tries version {alias.canary.version} already",
            hint=f"End that: triggerhub functions canary {deployed.name} --alias {name} --stop",
        )
    if alias.weights:
        raise Conflict(
            f"{name} of {deployed.name} sends a part of its calls to version {', '.join(alias.weights)} already",
            hint="Take that back by UpdateAlias with an empty RoutingConfig.",
        )
    if to is None:
        others = [number for number in deployed.versions if number != alias.version]
        if not others:
            raise BadInput(f"{deployed.name} has no version but {alias.version}", hint="Publish one: PublishVersion.")
        to = max(others, key=int)
    if to == alias.version:
        raise BadInput(f"{name} of {deployed.name} leads to version {to} as it is")
    if to not in deployed.versions:
        known = ", ".join(sorted(deployed.versions, key=int))
        raise NotFound(f"{deployed.name} has no version {to!r}", hint=f"It has published: {known}.")
    canary = Canary(id=revision, version=to, most=terms.most, length=terms.length, least=terms.least, began=now)
    made = replace(alias, weights={to: weight}, revision=revision, canary=canary)
    return _with(deployed, name, made), name


def ended(
    deployed: Deployed,
    name: str,
    state: Literal["promoted", "rolled back"],
    *,
    tally: Tally,
    why: str,
    now: Millis,
    revision: str,
    only: str | None = None,
) -> Deployed:
    """Return the function with its alias at one version again: the new one, or the one it was at. NotFound, Conflict.

    *only* is the id of the canary that is meant: where another one runs by now, or none, nothing changes.
    """
    alias = _alias(deployed, name)
    canary = alias.canary
    if canary is None or canary.state != "running":
        if only is not None:
            return deployed
        raise Conflict(f"{name} of {deployed.name} tries no version now")
    if only not in (None, canary.id):
        return deployed
    done = replace(canary, state=state, ended=now, calls=tally.calls, errors=tally.errors, why=why)
    version = canary.version if state == "promoted" else alias.version
    made = replace(alias, version=version, weights={}, revision=revision, canary=done, before=alias.at(version))
    return _with(deployed, name, made)


def running(functions: Mapping[str, Deployed]) -> Iterator[tuple[Deployed, str, Canary]]:
    """Yield the canaries that are not at their end: function, alias and canary."""
    for deployed in functions.values():
        for name, alias in deployed.aliases.items():
            if alias.canary is not None and alias.canary.state == "running":
                yield deployed, name, alias.canary


def _alias(deployed: Deployed, name: str) -> Alias:
    alias = deployed.aliases.get(name)
    if alias is None:
        known = ", ".join(sorted(deployed.aliases)) or "none"
        raise NotFound(f"{deployed.name} has no alias {name!r}", hint=f"It has: {known}.")
    return alias


def _with(deployed: Deployed, name: str, alias: Alias) -> Deployed:
    return replace(deployed, aliases={**deployed.aliases, name: alias})


class Tallies:
    """What was counted of canaries, by their ids."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tallies: dict[str, Tally] = {}

    async def load(self) -> None:
        """Read what was counted before; one that is damaged begins anew and is told."""
        for key, text in (await self._store.checkpoints(SCOPE)).items():
            try:
                self._tallies[key] = Tally(**json.loads(text))
            except (ValueError, TypeError) as error:
                log.error("what a canary counted cannot be read; it counts anew", canary=key, why=repr(error))

    def of(self, canary: Canary) -> Tally:
        """Return what was counted of a canary so far, or up to its end."""
        if canary.state != "running":
            return Tally(calls=canary.calls, errors=canary.errors, watched=(canary.ended or 0) - canary.began)
        return self._tallies.get(canary.id, Tally())

    async def keep(self, key: str, tally: Tally) -> None:
        """Write down what was counted. Cancelled: it is, or is not."""
        self._tallies[key] = tally
        with anyio.CancelScope(shield=True):
            await self._store.set_checkpoints(SCOPE, {key: json.dumps(asdict(tally))})

    async def drop_but(self, kept: set[str]) -> None:
        """Forget what was counted of canaries that are no more."""
        if gone := self._tallies.keys() - kept:
            with anyio.CancelScope(shield=True):
                await self._store.set_checkpoints(SCOPE, dict.fromkeys(gone))
            for key in gone:
                del self._tallies[key]
