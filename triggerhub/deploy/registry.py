"""Hold the functions that were made through the Lambda API, change them durably, and hand them to the hub."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import structlog

from triggerhub import archive
from triggerhub.archive import UNZIPPED
from triggerhub.aws.reference import LATEST
from triggerhub.config import deployed as known
from triggerhub.config import interpreters
from triggerhub.crash import crash_point
from triggerhub.deploy import record
from triggerhub.deploy.canary import Tallies
from triggerhub.deploy.draft import Draft
from triggerhub.deploy.layers import Layers
from triggerhub.deploy.mappings import Mappings
from triggerhub.deploy.record import Deployed, EventConfig, LayerUse, Version
from triggerhub.deploy.shelf import Shelf, put_aside
from triggerhub.errors import BadInput, ConfigError, TriggerhubError
from triggerhub.settings import (
    AS_LAMBDA,
    DEPLOYED,
    MB,
    SECOND,
    Destination,
    Function,
    Leading,
    SystemLevel,
)
from triggerhub.store import Store

log = structlog.get_logger("deploy")

SCOPE = "lambda-function"
"""Where the store keeps the records, by name."""
LEVEL: SystemLevel = "INFO"
"""The least of lines in JSON, where nothing else is said."""
Change = Callable[[Deployed | None], Deployed | None]
Assemble = Callable[[Path, Sequence[Path], Callable[[], None]], Path]
"""Puts layers, the later over the earlier, together as one folder below another; returns it. Before it makes one that
is not there yet, it asks whether that may be."""
Serve = Callable[[Mapping[str, Function], set[str]], None]
"""Takes over all functions there are now; the set names those that are new, other or gone."""


class TooMuchCode(BadInput):
    """Code and layers together unpack to more than Lambda takes."""


class LayersFailed(TriggerhubError):
    """The layers of a function cannot be put together."""


class Registry:
    """All deployed functions. One change at a time; what a change answers is durable."""

    def __init__(
        self, store: Store, home: Path, *, assemble: Assemble, project: Path = Path(), sync: bool = True
    ) -> None:
        self._lock = anyio.Lock()
        self.shelf = Shelf(home, sync=sync)
        self.layers = Layers(store)
        self.mappings = Mappings(store, project, self._lock)
        self.tallies = Tallies(store)
        self.opt = home / "layers"
        """Where layers are put together for functions."""
        self._assemble = assemble
        self.functions: dict[str, Deployed] = {}
        self.served: dict[str, Function] = {}
        """What the hub serves, by its own name: a published version is ``name:number``, an alias ``name:alias``.
        What ``[defaults]`` says of functions is not in it; a ``concurrency`` of 0 is none of their own."""
        self.urls: dict[str, tuple[str, str]] = {}
        """Function and alias by the id of a function URL."""
        self._store = store
        self._data, self._sync = home.parent, sync
        self._left_out: list[str] = []
        self._whole = False
        """Whether everything was read that may need code."""
        self._unused: set[Path] = set()
        """The folders of layers that nothing needed at the last sweep."""
        self.generation = 0
        """Another number whenever there are other functions than before."""
        self._serve: Serve = lambda _functions, _changed: None

    async def load(self) -> None:
        """Read all records, and unpack what this boot has not unpacked; one that is damaged is left out and told."""
        whole = await self.layers.load()
        await self.mappings.load()
        await self.tallies.load()
        for name, text in (await self._store.checkpoints(SCOPE)).items():
            try:
                self.functions[name] = record.from_json(json.loads(text))
                self._index(name, None, self.functions[name])
            except (ValueError, TypeError, KeyError) as error:
                whole = False
                self._left_out.append(name)
                log.error(
                    "the record of a deployed function cannot be read; it is left out", function=name, why=repr(error)
                )
        await anyio.to_thread.run_sync(self._settle, whole)
        self._whole = whole

    def _settle(self, whole: bool) -> None:
        """Serve what was read; where that was not all, what nothing seems to need may be another record's."""
        try:
            self.shelf.collect(self.codes if whole else None)
        except OSError as error:
            log.warning("old code could not be removed", error=str(error))
        for deployed in self.functions.values():
            self.served |= self._made(deployed)
        try:
            self._name(self._names())
        except OSError as error:
            log.error("the names of deployed functions could not be written", error=str(error))

    @property
    def codes(self) -> set[str]:
        """The archives that functions and layers need."""
        return {code for one in self.functions.values() for code in one.codes} | self.layers.codes

    async def sweep(self, held: Callable[[], set[Path]]) -> int:
        """Remove code and layers' folders that nothing needed at the last sweep either, but for what *held* names.

        Returns how many. While a backup is made, nothing is removed: it may need what was there when it began. OSError.
        """
        if not self._whole or any(self._data.glob("backup.draft*")):
            return 0
        async with self._lock:
            needed = {one.opt for one in self.served.values() if one.opt is not None}
            gone = await anyio.to_thread.run_sync(self._swept, self.codes, needed | held())
        for folder in gone:
            await anyio.to_thread.run_sync(archive.remove, folder)
        return len(gone)

    def _swept(self, codes: Collection[str], held: Collection[Path]) -> list[Path]:
        gone = self.shelf.sweep(codes, held)
        folders = set(self.opt.iterdir()) if self.opt.is_dir() else set()
        unused = {one for one in folders if one not in held and not one.name.startswith(".")}
        gone += [put_aside(folder) for folder in unused & self._unused]
        self._unused = unused
        return gone

    def _names(self) -> set[str]:
        """Return what the hub calls all functions that there are, whether they can be run here or not."""
        return {*self._left_out, *(name for one in self.functions.values() for name in one.served)}

    def _name(self, names: set[str]) -> None:
        """Let configurations speak of *names*. OSError."""
        if known.names(self._data) != names:
            known.write(self._data, names, sync=self._sync)

    def serve_by(self, serve: Serve) -> None:
        """Tell *serve* of every change from now on."""
        self._serve = serve

    async def put(self, code: bytes | Draft) -> str:
        """Keep an archive of code; return its name. Raises BadArchive, StorageExceeded, OSError."""
        return await anyio.to_thread.run_sync(self.shelf.put, code)

    async def change(self, name: str, change: Change) -> Deployed | None:
        """Replace a function's record by what *change* makes of it; None removes it. Returns the new one.

        It is durable and served when this returns. Whatever *change* raises leaves everything as it was, and so does
        a store that is full. Cancelled: it has happened, or has not.
        """
        async with self._lock:
            before = self.functions.get(name)
            after = change(before)
            if after == before:
                return after
            made, text = ({}, None) if after is None else await anyio.to_thread.run_sync(self._prepared, after)
            names, now = (set() if one is None else one.served for one in (before, after))
            if now - names:
                await anyio.to_thread.run_sync(self._name, self._names() | now)
            with anyio.CancelScope(shield=True):
                crash_point("before-deploy")
                await self._store.set_checkpoints(SCOPE, {name: text})
                crash_point("after-deploy")
            if after is None:
                del self.functions[name]
            else:
                self.functions[name] = after
            self._index(name, before, after)
            self.generation += (before is None) != (after is None)
            gone = [served for served in self.served if served.partition(":")[0] == name]
            changed = {served for served in {*gone, *made} if self.served.get(served) != made.get(served)}
            for served in changed & set(gone):
                del self.served[served]
            # What is as it was stays the very thing that the hub has.
            self.served |= {served: one for served, one in made.items() if served in changed}
            if changed:
                self._serve(self.served, changed)
            if names - now:
                await anyio.to_thread.run_sync(self._forget)
            return after

    def _forget(self) -> None:
        """Let configurations speak no more of what is gone; where that cannot be written, the next start does it."""
        with suppress(OSError):
            self._name(self._names())

    def _index(self, name: str, before: Deployed | None, after: Deployed | None) -> None:
        for url in before.urls.values() if before else ():
            self.urls.pop(url.id, None)
        for alias, url in after.urls.items() if after else ():
            self.urls[url.id] = (name, alias)

    def _prepared(self, deployed: Deployed) -> tuple[dict[str, Function], str]:
        """Return what the hub runs of a function, and its record. Raises as :meth:`_made`."""
        return self._made(deployed), record.written(deployed)

    def _made(self, deployed: Deployed) -> dict[str, Function]:
        """Return what the hub runs of a function. Raises ConfigError, OSError for what is new in it and cannot be run.

        At a start, and of a version that the change is about, what was there before and cannot be run any more, for
        want of its interpreter, is left out and told. What is served as it was before is not tried: its calls say so.
        """
        made, before = {}, self.functions.get(deployed.name)
        for version in (deployed.latest, *deployed.versions.values()):
            name = deployed.serving(version.number)
            if name in self.served and before is not None and _alike(before, deployed, version):
                made[name] = self.served[name]
                continue
            try:
                if version.layers and self._is_new(version):
                    self.check_size(self.shelf.size(version.code), version.layers)
                function = self._function(deployed, version)
            except (OSError, TriggerhubError) as error:
                if before is None or _is_other(before, version):
                    raise
                log.error(
                    "a deployed function cannot be run",
                    function=deployed.name,
                    version=version.number,
                    why=str(error),
                )
            else:
                made[function.name] = function
        return made | self._aliases(deployed, made)

    def _aliases(self, deployed: Deployed, made: Mapping[str, Function]) -> dict[str, Function]:
        """Return what the hub serves of the aliases that lead to what is *made*: they have policies of their own."""
        found = {}
        for name, alias in deployed.aliases.items():
            leads = Leading(
                to=deployed.serving(alias.version),
                weights={deployed.serving(number): share for number, share in alias.weights.items()},
            )
            version = deployed.version(alias.version)
            if version is not None and all(one in made for one in leads.functions):
                served = deployed.serving(name)
                found[served] = replace(
                    made[leads.to], name=served, leads=leads, **_asynchronous(deployed, name, version)
                )
        return found

    def _function(self, deployed: Deployed, version: Version) -> Function:
        number = version.number
        code = self.shelf.unpack(version.code)
        wanted = interpreters.parse(version.runtime)
        runtime = wanted.runtime
        assert runtime is not None, "a runtime of the API is a name, never a path"
        return Function(
            name=deployed.serving(number),
            runtime=runtime,
            interpreter=interpreters.find(wanted, os.environ),
            handler=version.handler,
            command=(str(code / "bootstrap"),) if runtime == "provided" else (),
            version=number,
            code=code,
            opt=self._layered(version),
            source=DEPLOYED,
            timeout=version.timeout * SECOND,
            memory=version.memory * MB,
            tmp=version.storage * MB,
            concurrency=0 if deployed.reserved is None else max(deployed.reserved, 1),
            reserved="" if deployed.reserved is None else deployed.name,
            held=deployed.reserved == 0,
            warm=deployed.warm(number),
            reuse="fork" if version.snapped else "warm",
            loops=deployed.recursive,
            env={**_logging(version), **version.env},
            system_level=version.system_level or LEVEL,
            **_asynchronous(deployed, number, version),
        )

    def _room(self, version: Version) -> None:
        """Raise StorageExceeded where the disk has no room for a version's layers. What was accepted is not asked."""
        if self._is_new(version):
            # They are unpacked one by one, and then copied together.
            self.shelf.require(2 * sum(self.shelf.size(layer.code) for layer in version.layers))

    def _is_new(self, version: Version) -> bool:
        """Whether no function has a version's code and layers together yet."""
        had = (one for each in self.functions.values() for one in (each.latest, *each.versions.values()))
        return not any((one.code, one.layers) == (version.code, version.layers) for one in had)

    def check_size(self, unpacked: int, layers: Sequence[LayerUse]) -> None:
        """Raise TooMuchCode where code that unpacks to so many bytes is too much together with *layers*. Blocks."""
        total = unpacked + sum(self.shelf.size(layer.code) for layer in layers)
        if total > UNZIPPED:
            text = f"Function code combined with layers exceeds the maximum allowed size of {UNZIPPED} bytes."
            raise TooMuchCode(f"{text} The actual size is {total} bytes.")

    def _layered(self, version: Version) -> Path | None:
        if not version.layers:
            return None
        try:
            return self._assemble(
                self.opt, [self.shelf.path(layer.code) for layer in version.layers], partial(self._room, version)
            )
        except ConfigError as error:
            log.error("the layers of a function cannot be put together", why=str(error))
            raise LayersFailed("The layers cannot be put together; the hub's log says why.") from error


def _alike(before: Deployed, after: Deployed, version: Version) -> bool:
    """Whether the hub runs a version as it did: one of hundreds changes at a time."""
    number = version.number

    def besides(one: Deployed) -> tuple[object, ...]:
        return one.reserved, one.recursive, one.events.get(number), one.warm(number)

    return not _is_other(before, version) and besides(before) == besides(after)


def _is_other(before: Deployed, version: Version) -> bool:
    """Whether a version is new, or runs otherwise than it did."""
    was = before.version(version.number)
    return was is None or version.differs(was)


def _asynchronous(deployed: Deployed, qualifier: str, version: Version) -> dict[str, Any]:
    """Return what becomes of events by a qualifier, which leads to *version*."""
    events = deployed.events.get(qualifier, EventConfig(modified=0))
    retry = AS_LAMBDA
    if events.retries is not None:
        retry = replace(retry, attempts=1 + events.retries)
    if events.age is not None:
        retry = replace(retry, max_age=events.age * SECOND)
    return {
        "retry": retry,
        "on_success": _destinations(events.on_success),
        "on_failure": (*_destinations(events.on_failure), *_dead_letters(version)),
    }


def _logging(version: Version) -> dict[str, str]:
    """Return the variables that tell runtimes how to log, as Lambda sets them."""
    if version.log_format == "Text":
        return {}
    return {"AWS_LAMBDA_LOG_FORMAT": version.log_format, "AWS_LAMBDA_LOG_LEVEL": version.log_level or LEVEL}


def check_runtime(name: str) -> None:
    """Raise ConfigError where this host cannot run *name*. Blocks: the interpreter is asked."""
    wanted = interpreters.parse(name)
    if wanted.runtime not in ("python", "node", "provided"):
        raise ConfigError(f"nothing here runs {name}")
    interpreters.find(wanted, os.environ)


def _destinations(arn: str | None) -> tuple[Destination, ...]:
    """Return what an ARN names; only those of functions, queues and topics are let in."""
    return () if arn is None else (destination(arn),)


def destination(arn: str) -> Destination:
    """Return the function, or else the queue or topic, that an ARN names."""
    _, function, name = arn.partition(":function:")
    if function:
        return Destination(kind="function", target=name.removesuffix(f":{LATEST}"))
    return Destination(kind="arn", target=arn.removeprefix("arn:"))


def _dead_letters(version: Version) -> tuple[Destination, ...]:
    return (Destination(kind="dead", target=version.dead_letters),) if version.dead_letters else ()
