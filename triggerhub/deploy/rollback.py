"""Go back to an earlier version of a function."""

from __future__ import annotations

from dataclasses import replace

from triggerhub.aws.reference import LATEST
from triggerhub.deploy.record import Alias, Deployed, Version
from triggerhub.errors import Conflict, NotFound
from triggerhub.model import Millis


def latest_as(deployed: Deployed, to: str | None, *, now: Millis, revision: str) -> Deployed:
    """Return the function with code and configuration of version *to* as its ``$LATEST``.

    None is the newest published version that differs from it, of those before the one that it is. NotFound, Conflict.
    """
    if to is None:
        numbers = sorted(deployed.versions, key=int, reverse=True)
        same = next((number for number in numbers if not deployed.latest.differs(deployed.versions[number])), None)
        earlier = numbers if same is None else numbers[numbers.index(same) + 1 :]
        to = next((number for number in earlier if deployed.latest.differs(deployed.versions[number])), None)
        if to is None:
            before = "" if same is None else f", before {same}"
            raise Conflict(
                f"{deployed.name} has no published version that differs from what runs{before}",
                hint="Publish versions, or deploy the code again.",
            )
    version = _published(deployed, to)
    return replace(deployed, latest=replace(version, number=LATEST, modified=now, revision=revision))


def alias_to(deployed: Deployed, name: str, to: str | None, *, revision: str) -> Deployed:
    """Return the function with its alias *name* at version *to* alone. NotFound, Conflict.

    None is the version that the alias led to before, where that is known and there, else the one published before.
    """
    alias = deployed.aliases.get(name)
    if alias is None:
        known = ", ".join(sorted(deployed.aliases)) or "none"
        raise NotFound(f"{deployed.name} has no alias {name!r}", hint=f"It has: {known}.")
    if to is None and alias.before in deployed.versions:
        to = alias.before
    if to is None:
        earlier = [
            number for number in deployed.versions if alias.version == LATEST or int(number) < int(alias.version)
        ]
        if not earlier:
            raise Conflict(f"{deployed.name} has no version before {alias.version}, where {name} leads to")
        to = max(earlier, key=int)
    _published(deployed, to)
    moved = Alias(version=to, description=alias.description, revision=revision)
    return replace(deployed, aliases={**deployed.aliases, name: moved})


def _published(deployed: Deployed, number: str) -> Version:
    version = deployed.versions.get(number)
    if version is None:
        known = ", ".join(sorted(deployed.versions, key=int)) or "none"
        raise NotFound(f"{deployed.name} has no version {number!r}", hint=f"It has published: {known}.")
    return version
