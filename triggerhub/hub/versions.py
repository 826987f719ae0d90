"""Know what the functions of the handlers folder were, and which are pinned to an earlier version.

What is kept of a version stands in the store, as does a pin: the version, and what the folder held when it was pinned.
A pin holds as long as the folder holds that. The code itself is in copies, which others look after.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import anyio
import anyio.to_thread
import structlog

from triggerhub.errors import ConfigError, Conflict, NotFound, StoreBroken, TriggerhubError
from triggerhub.model import Json, Millis
from triggerhub.policy import versions
from triggerhub.policy.versions import Kept
from triggerhub.settings import HOUR, Function, Project
from triggerhub.store import Store

log = structlog.get_logger("versions")

SCOPE = "folder-versions"


class Copies(Protocol):
    """Where the code of versions is kept. All of it blocks."""

    def describe(self, function: Function) -> tuple[Json, int]:
        """Return what is written down of a function's version, and its bytes. Raises ConfigError."""
        ...

    def restore(self, version: str, code: Json, current: Function) -> Function:
        """Return *current* with the code of *version*, which is whole. Raises ConfigError."""
        ...

    def note(self, pins: Mapping[str, tuple[str, str]]) -> None:
        """Let who looks while no hub runs know what is pinned, and over what. Raises ConfigError."""
        ...

    def remove(self, name: str, code: Json) -> None:
        """Remove a version's code."""
        ...

    def paths(self, name: str, code: Json) -> Iterator[Path]:
        """Yield the folders that a version is made of."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """Which version serves in the place of what the folder holds."""

    version: str
    over: str
    """The ``content`` that lay in the folder then."""
    function: Function
    """The version, ready to be served."""


class FolderVersions:
    """The versions of all functions of the handlers folder; without *copies* there is none to go back to."""

    def __init__(self, store: Store, now: Callable[[], Millis], copies: Copies | None = None) -> None:
        self._store, self._now, self._copies = store, now, copies
        self.lock = anyio.Lock()
        """Held while the project is read and changed: no copy goes meanwhile."""
        self._lying: dict[str, Function] = {}
        """What the folder holds, as it was read last."""
        self._serving: dict[str, str] = {}
        """The versions in force."""
        self._left: dict[tuple[str, str], Millis] = {}
        """When a version was no longer in force: calls may still be on it."""
        self._kept: dict[str, dict[str, Kept]] = {}
        self._pins: dict[str, Pin] = {}

    # what is in force

    async def begin(self, project: Project) -> Project:
        """Read what is kept; return the project with its pinned functions at their versions.

        One whose version cannot be had is not run: what lies in the folder was put aside for a reason.
        """
        pins, gone = dict[str, tuple[str, str]](), dict[str, str | None]()
        for key, text in (await self._store.checkpoints(SCOPE)).items():
            kind, _, rest = key.partition(":")
            try:
                record = json.loads(text)
                if kind == "pin":
                    pins[rest] = record["version"], record["over"]
                else:
                    name, _, version = rest.partition(":")
                    self._kept.setdefault(name, {})[version] = Kept(**record)
            except (ValueError, TypeError, KeyError) as error:
                log.error("a record of a version cannot be read; it is left out", record=key, why=repr(error))
                gone[key] = None
        gone |= await anyio.to_thread.run_sync(self._missing, {name: version for name, (version, _) in pins.items()})
        for name, (version, over) in pins.items():
            if (lying := project.functions.get(name)) is None:
                gone[f"pin:{name}"] = None
            else:
                self._pins[name] = Pin(version=version, over=over, function=await self._at_start(version, lying))
        await self._write(gone)
        project = self.applied(project)
        for function in project.functions.values():
            if why := function.lost or function.faulty:
                log.error("a function is not run", function=function.name, why=why, on_screen=True)
        await self.settled(project)
        return project

    def _missing(self, pinned: Mapping[str, str]) -> dict[str, str | None]:
        """Forget the versions whose copies are gone, but for those that are pinned; return their records' keys."""
        found = dict[str, str | None]()
        for name, kept in self._kept.items():
            for one in [one for one in kept.values() if one.version != pinned.get(name)]:
                if self._copies is None or not next(self._copies.paths(name, one.code)).is_dir():
                    del kept[one.version]
                    found[f"version:{name}:{one.version}"] = None
        return found

    async def _at_start(self, version: str, lying: Function) -> Function:
        try:
            return await self._restored(version, lying)
        except (NotFound, Conflict) as error:
            return replace(lying, version=version, lost=f"it is pinned to a version that cannot be had: {error}")

    def applied(self, project: Project) -> Project:
        """Take in what the folder holds now; return the project with its pinned functions at their versions."""
        self._lying = dict(project.functions)
        pinned = {}
        for name, pin in self._pins.items():
            lying, one = self._lying.get(name), pin.function
            if lying is not None and lying.content == pin.over:
                pinned[name] = replace(
                    lying, handler=one.handler, command=one.command, version=one.version, code=one.code,
                    needs=one.needs, opt=one.opt, lost=one.lost, faulty=one.faulty,
                )  # fmt: skip
        return replace(project, functions={**project.functions, **pinned}) if pinned else project

    async def settled(self, project: Project) -> None:
        """Write down what came into force; the pins of what was replaced by an edit are gone."""
        if self._copies is None:
            return
        now, changed = self._now(), dict[str, str | None]()
        self._serves({name: one.version for name, one in project.functions.items() if name in self._lying})
        for name, lying in self._lying.items():
            known = self._kept.setdefault(name, {})
            one = known.get(lying.version)
            if one is None:
                one = await self._described(lying, now)
            elif one.code.get("faulty") and not lying.faulty and (found := await self._described(lying, now)):
                one = replace(one, code=found.code)
            if one is None:
                continue
            latest = max((other.ran for other in known.values() if other.ran is not None), default=None)
            if self._serving.get(name) == lying.version and (one.ran is None or one.ran != latest):
                one = replace(one, ran=now)
            if one != known.get(lying.version):
                known[lying.version] = one
                changed[f"version:{name}:{lying.version}"] = json.dumps(asdict(one))
        for name, pin in list(self._pins.items()):
            there = self._lying.get(name)
            if there is None or (there.content != pin.over and self._serving.get(name) == there.version):
                holds = there.version if there is not None else None
                log.warning("the folder changed: a pin is gone", function=name, pinned=pin.version, folder=holds)
                del self._pins[name]
                changed[f"pin:{name}"] = None
        await self._write(changed)
        await self._note()

    def _serves(self, serving: Mapping[str, str]) -> None:
        for name, version in self._serving.items():
            if serving.get(name) != version:
                self._left[name, version] = self._now()
        self._serving = dict(serving)

    async def _described(self, function: Function, now: Millis) -> Kept | None:
        assert self._copies is not None
        try:
            code, size = await anyio.to_thread.run_sync(self._copies.describe, function)
        except ConfigError as error:
            log.error("a version cannot be gone back to later", function=function.name, why=error.message)
            return None
        return Kept(version=function.version, first=now, size=size, code=code)

    async def _note(self) -> None:
        """Say where others look what is pinned."""
        if self._copies is not None:
            try:
                pins = {name: (pin.version, pin.over) for name, pin in self._pins.items()}
                await anyio.to_thread.run_sync(self._copies.note, pins)
            except ConfigError as error:
                log.error("what is pinned could not be written for `triggerhub check`", why=error.message)

    async def _write(self, values: Mapping[str, str | None]) -> None:
        """Write records, if there are any; a full disk takes none, and what runs goes on all the same."""
        if not values:
            return
        try:
            with anyio.CancelScope(shield=True):
                await self._store.set_checkpoints(SCOPE, values)
        except StoreBroken:
            raise
        except TriggerhubError as error:
            log.error("records of versions could not be written", why=error.message)

    # going back

    async def earlier(self, name: str, to: str | None) -> Function:
        """Return a function at version *to*, or at the one before; that which lies in the folder is one, too.

        NotFound; Conflict where there is none, or its code is damaged or gone. Changes nothing.
        """
        lying, kept = self._lying.get(name), self._kept.get(name, {})
        if lying is None:
            raise NotFound(f"the handlers folder has no function {name!r}")
        if to is None:
            top = self._pins[name].version if name in self._pins else lying.version
            found = versions.before(kept, top) if top in kept else None
            if found is None:
                raise Conflict(
                    f"no version of {name} that ran before {top} is kept",
                    hint=f"`triggerhub functions versions {name}` shows what is; or save earlier files in the folder.",
                )
            to = found.version
        return lying if to == lying.version else await self._restored(to, lying)

    async def _restored(self, version: str, lying: Function) -> Function:
        kept = self._kept.get(lying.name, {})
        one = kept.get(version)
        if one is None or self._copies is None:
            known = ", ".join(other.version for other in versions.newest_first(kept)) or "none"
            raise NotFound(f"{lying.name} has no version {version!r}", hint=f"These are kept: {known}.")
        try:
            return await anyio.to_thread.run_sync(self._copies.restore, version, one.code, lying)
        except ConfigError as error:
            raise Conflict(error.message, hint=error.hint) from error

    async def pin(self, function: Function) -> None:
        """Keep a function at the version of :meth:`earlier`, durably; what lies in the folder needs no pin."""
        name, lying = function.name, self._lying[function.name]
        pin = None
        if function.version != lying.version:
            pin = Pin(version=function.version, over=lying.content, function=function)
        text = None if pin is None else json.dumps({"version": pin.version, "over": pin.over})
        with anyio.CancelScope(shield=True):
            await self._store.set_checkpoints(SCOPE, {f"pin:{name}": text})
        self._serves({**self._serving, name: function.version})
        if pin is not None:
            self._pins[name] = pin
            log.warning("a function is pinned", function=name, pinned=pin.version, folder=lying.version, on_screen=True)
        elif self._pins.pop(name, None):
            log.warning("a pin was lifted", function=name, folder=lying.version, on_screen=True)
        await self._note()

    # looking

    def pinned(self, name: str) -> dict[str, Json] | None:
        """Return the version that a function is pinned to, and the one that the folder holds; None where it is not."""
        pin, lying = self._pins.get(name), self._lying.get(name)
        return None if pin is None or lying is None else {"version": pin.version, "folder": lying.version}

    def pins(self) -> list[dict[str, Json]]:
        """Return what is pinned, as :meth:`pinned` does, with its name."""
        return [{"function": name, **found} for name in sorted(self._pins) if (found := self.pinned(name))]

    def rows(self, name: str) -> list[dict[str, Json]]:
        """Return the versions of a function, the newest first."""
        lying, pin, serving = self._lying.get(name), self._pins.get(name), self._serving.get(name)
        found = []
        for one in versions.newest_first(self._kept.get(name, {})):
            row = {
                "current": one.version == serving,
                "lies": lying is not None and one.version == lying.version,
                "pinned": pin is not None and one.version == pin.version,
            }
            words = versions.state(runs=row["current"], lies=row["lies"], pinned=row["pinned"], ran=one.ran is not None)
            found.append({"version": one.version, "created": one.first, "ran": one.ran, **row, "state": words})
        return found

    # keeping

    def folders(self) -> set[Path]:
        """Return the folders that kept versions are made of."""
        return {
            path
            for name, kept in self._kept.items()
            for one in kept.values()
            for path in (self._copies.paths(name, one.code) if self._copies else ())
        }

    async def prune(self) -> int:
        """Let go of versions that are too many or too old; returns how many."""
        if self._copies is None:
            return 0
        async with self.lock:
            now = self._now()
            self._left = {key: then for key, then in self._left.items() if now - then < HOUR}
            going = [(name, one) for name in self._kept for one in self._outdated(name, now)]
            if not going:
                return 0
            await self._write({f"version:{name}:{one.version}": None for name, one in going})
            for name, one in going:
                del self._kept[name][one.version]
                await anyio.to_thread.run_sync(self._copies.remove, name, one.code)
            log.info("old versions were removed", versions=len(going))
            return len(going)

    def _outdated(self, name: str, now: Millis) -> list[Kept]:
        kept, lying = self._kept[name], self._lying.get(name)
        needed = {version for of, version in self._left if of == name}
        needed |= {one for one in (self._serving.get(name), lying and lying.version) if one}
        if name in self._pins:
            needed.add(self._pins[name].version)
        return [kept[version] for version in versions.outdated(kept, needed, there=lying is not None, now=now)]
