"""Watch a folder; tell of every file that came to rest in it, in the shape of an S3 notification.

inotify only says where to look. What is told follows from the disk, compared with an inventory in
the store that is committed together with the events: so a change is told once, whether it happened a
moment ago, in a folder the kernel's watches were too late for, or while the hub was down.
"""

# Names are taken as the kernel gives them, and by the 100,000: os.path.
# ruff: noqa: PTH100, PTH111, PTH118
from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import anyio
from pydantic import AfterValidator, Field, ValidationInfo

from triggerhub import inotify, settings, source
from triggerhub.aws import s3
from triggerhub.aws.records import records
from triggerhub.errors import BadInput
from triggerhub.folder import Folder
from triggerhub.model import Event, Millis
from triggerhub.policy import baseline, globs, inventory
from triggerhub.policy.inventory import Change, Version
from triggerhub.policy.settling import Look, Settling

T = TypeVar("T")

EXCLUDE = (
    "**/.*", "**/.*/**", "**/*~", "**/#*#",
    "**/*.tmp", "**/*.part", "**/*.partial", "**/*.crdownload", "**/*.filepart", "**/*.swp", "**/*.swx",
)  # fmt: skip
RETRY = 10.0
"""The longest rest before inotify is asked again after it refused, in seconds."""
CHUNK = 500
"""Paths looked at in one go."""
BATCH = 200
"""Events committed in one go."""
OVERFLOW = 100_000
"""Notices kept since the last scan; beyond them another one is cheaper."""
CHECK = 1.0
"""Seconds between two looks at whether the folder is still the same folder, and the least rest after trouble."""


def _readable(pattern: str) -> str:
    globs.translate(pattern)
    return pattern


def _placed(path: str, info: ValidationInfo) -> str:
    if not path.strip():
        raise ValueError('expected the folder to watch, got ""')
    context = info.context or {}
    placed = os.path.join(context.get("project", ""), os.path.expanduser(path))
    data = context.get("data")
    if data is not None and os.path.commonpath([data, os.path.abspath(placed)]) == str(data):
        raise ValueError(f"{path!r} is in the hub's data folder, which changes with every event it stores")
    return placed


Glob = Annotated[str, AfterValidator(_readable)]


class Options(source.Options):
    """``[triggers.NAME]`` with ``type = "files"``."""

    path: Annotated[str, AfterValidator(_placed)]
    """The folder, relative to the project. One that is missing or removed is waited for."""
    include: tuple[Glob, ...] = Field(default=("**/*",), min_length=1)
    """Globs over paths relative to the folder, case-sensitive; ``**`` is any number of folders."""
    exclude: tuple[Glob, ...] = EXCLUDE
    """Globs that are left out; by default dotfiles, and what editors and downloads write on their way."""
    events: tuple[Change, ...] = Field(default=("created", "modified"), min_length=1)
    """What is told."""
    settle: source.Duration = 500
    """How long a file must stay as it is before it is told."""
    reconcile: source.Duration = 60_000
    """How often the whole folder is compared with what was told."""
    existing: Literal["skip", "emit"] = "skip"
    """What becomes of files that lie there at the first start."""


envelope = records


def check(options: Options, trigger: settings.Trigger) -> Iterable[source.Finding]:
    """Find combinations that cannot work."""
    if Path(options.path).exists() and not Path(options.path).is_dir():
        yield source.Finding(
            option="path", code="files-path", message=f"{options.path} is a file; a folder is watched", warning=True,
            hint="Name the folder that it is in, and the file in include.",
        )  # fmt: skip
    if options.reconcile < options.settle:
        yield source.Finding(
            option="reconcile", code="files-reconcile",
            message=f"expected at least settle ({options.settle} ms), got {options.reconcile} ms",
        )  # fmt: skip
    if options.existing == "emit" and "created" not in options.events:
        yield source.Finding(
            option="existing", code="files-existing", warning=True,
            message='"emit" tells files that lie there as created, which events leaves out',
            hint='Add "created" to events.',
        )  # fmt: skip
    selection = globs.Selection(options.include, options.exclude)
    for pattern in options.include:
        if not set(pattern) & set("*?[") and not selection.takes(pattern):
            yield source.Finding(
                option="include", code="files-excluded", warning=True, message=f"{pattern!r} is excluded",
                hint="exclude leaves out dotfiles and temporary files unless it is set.",
            )  # fmt: skip


def wrap(options: Options, trigger: str, body: bytes, now: Millis) -> Event:
    """Make the event of a file that is named by its path (relative to the folder), or take a record as it is."""
    if body.lstrip().startswith(b"{"):
        return Event(data=body, time=now)
    path = os.fsdecode(body).strip().strip('"')
    root = os.path.abspath(options.path)
    relative = os.path.relpath(os.path.join(root, path), root)
    folder = Folder(root, globs.Selection(("**/*",)), 0)
    try:
        told = None if relative.startswith("..") else Teller(folder, trigger).tell(relative, None, "created", now)
    except OSError as error:
        raise BadInput(f"{path!r} in {root} cannot be read: {error.strerror}") from error
    if told is None or told.event is None:
        raise BadInput(
            f"there is no file {path!r} in {root}",
            hint="Send the path of a file below the trigger's folder, or a whole record as JSON.",
        )
    # Sent by hand, it shall run even where that version of the file was told before.
    return Event(data=told.event.data, time=now)


def samples(options: Options, trigger: str, now: Millis) -> Mapping[str, Event]:
    """Return one event of each kind, of a file that need not exist."""
    record = partial(
        s3.record, bucket=trigger, key="folder/example file.txt", time=now, sequencer=s3.sequencer(now * 1_000_000),
        path=os.path.join(os.path.abspath(options.path), "folder/example file.txt"),
    )  # fmt: skip
    etag = hashlib.md5(b"Hello, world!", usedforsecurity=False).hexdigest()
    put = partial(record, event_name=s3.CREATED, size=13, etag=etag)
    return {
        "created": Event(data=put(change="created"), time=now),
        "modified": Event(data=put(change="modified"), time=now),
        "deleted": Event(data=record(event_name=s3.REMOVED, change="deleted"), time=now),
    }


async def run(ctx: source.Context, options: Options) -> None:
    """Watch until cancelled."""
    await Watch(ctx, options).run()


@dataclass(frozen=True, slots=True)
class Told:
    """A change ready to be committed; without an event where the change is not asked for."""

    path: str
    version: Version | None
    event: Event | None


class Teller:
    """Makes events of files."""

    def __init__(
        self, folder: Folder, bucket: str, events: Sequence[Change] = ("created", "modified", "deleted")
    ) -> None:
        self._folder = folder
        self._bucket = bucket
        self._events = events
        self._last = 0

    def tell(self, path: str, version: Version | None, change: Change, now: Millis) -> Told | None:
        """Return the change told; None where the file is no longer of that *version* (None: of any).

        Raises OSError where its content cannot be read.
        """
        if change not in self._events:
            return Told(path, None if change == "deleted" else version, None)
        self._last = max(self._last + 1, time.time_ns())
        record = partial(
            s3.record, bucket=self._bucket, key=path, time=now, path=os.path.join(self._folder.root, path),
            change=change, sequencer=s3.sequencer(self._last),
        )  # fmt: skip
        if change == "deleted":
            key = version and inventory.dedup_key(path, version, change)
            return Told(path, None, Event(data=record(event_name=s3.REMOVED), time=now, dedup_key=key))
        found = self._folder.tag(path, version)
        if found is None:
            return None
        version, etag = found
        data = record(event_name=s3.CREATED, size=version.size, etag=etag)
        return Told(path, version, Event(data=data, time=now, dedup_key=inventory.dedup_key(path, version, change)))


class Watch:
    """One run of a trigger: notices become looks, looks that have settled become events."""

    def __init__(self, ctx: source.Context, options: Options) -> None:
        self._ctx = ctx
        self._options = options
        self._root = os.path.abspath(ctx.project / options.path)
        self._selection = globs.Selection(options.include, options.exclude)
        self._scope = baseline.Scope(root=self._root, include=options.include, exclude=options.exclude)
        place = ctx.trigger.place
        self._folder = Folder(self._root, self._selection, options.settle / 1000, str(place) if place else None)
        self._teller = Teller(self._folder, ctx.trigger.name, options.events)
        # A small backlog is not to be overrun by one commit.
        self._batch = max(1, min(BATCH, ctx.trigger.backlog // 10))
        # Of our own: a slow disk must not take the threads of everybody else.
        self._looker = anyio.CapacityLimiter(1)
        self._troubles: dict[str, str] = {}

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            await self._load(time.time_ns())
            # What comes from now on is younger than the baseline, so it is told even after a crash.
            self._ctx.begun()
            while True:
                await self._open()
                self._settling = Settling(self._options.settle / 1000)
                self._noticed: dict[str, None] = {}
                self._heard = 0
                self._fresh: dict[str, float] = {}
                self._unread: dict[str, str] = {}
                self._check_at = self._scan_at = 0.0
                self._there = True
                self._watching = False
                self._roused, ready = anyio.Event(), anyio.Event()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._notify, ready)
                    # Watched before it is scanned, so that nothing falls between.
                    await ready.wait()
                    await self._follow()
                    tasks.cancel_scope.cancel()
        finally:
            self._folder.closed = True

    async def _load(self, now: int) -> None:
        stored = await self._ctx.checkpoints()
        known = await self._thread(inventory.read, stored)
        marker = stored.get(baseline.KEY)
        self._baseline = baseline.begin(marker, self._scope, now)
        self._folder.mounted = self._baseline.mounted
        left = await self._thread(lambda: [path for path in known if not self._selection.takes(path)])
        if marker is None or baseline.Baseline.decode(marker).scope.root != self._root:
            left = list(known)
        if left or marker != self._baseline.encode():
            changes: dict[str, str | None] = {inventory.key(path): None for path in left}
            await self._ctx.emit(checkpoints=changes | {baseline.KEY: self._baseline.encode()})
        for path in left:
            del known[path]
        self._known = await self._thread(inventory.Inventory, known)

    async def _open(self) -> None:
        while True:
            try:
                await self._thread(self._folder.open)
            except FileNotFoundError:
                self._trouble("folder", f"{self._root} does not exist; it is waited for")
                if self._baseline.since is not None and self._baseline.before is None:
                    await self._settle_baseline()  # nothing lay there
            except OSError as error:
                self._trouble("folder", f"{self._root} cannot be watched: {error.strerror}")
            else:
                self._trouble("folder", None)
                if self._folder.mounted != self._baseline.mounted:
                    self._baseline = replace(self._baseline, mounted=self._folder.mounted)
                    await self._ctx.emit(checkpoints={baseline.KEY: self._baseline.encode()})
                return
            await anyio.sleep(CHECK)

    async def _notify(self, ready: anyio.Event) -> None:
        """Take down what inotify says; where it cannot be had, say so and try again."""
        # The settle time hides how long a notice takes, so that an idle watch need not wake often.
        step = max(2, min(100, self._options.settle // 6))
        rest = CHECK
        while True:
            began = time.monotonic()
            try:
                async with inotify.watch(self._root, step=step) as notices:
                    self._watching = True
                    self._trouble("watch", None)
                    self._rescan()
                    ready.set()
                    while True:
                        self._notice(*await notices.take())
            except inotify.Refused as error:
                self._trouble("watch", f"{error}; until then the folder is only polled")
                rest = min(self._options.reconcile / 1000, RETRY)
            except inotify.Broken as error:
                self._ctx.log.debug("inotify is watched anew", why=str(error))
                # Beginning costs time in proportion to the folder: not again and again over the same name.
                rest = CHECK if time.monotonic() - began > 2 * RETRY else min(2 * rest, RETRY)
            self._watching = False
            self._rescan()
            ready.set()
            await anyio.sleep(rest)

    def _notice(self, paths: Iterable[str], gone: bool) -> None:
        before = len(self._noticed)
        self._noticed |= dict.fromkeys(paths)
        # What a scan found is not counted: a folder that is filled would be scanned again for every notice.
        self._heard += len(self._noticed) - before
        if self._heard > OVERFLOW:
            self._noticed.clear()
            self._rescan()
        if gone:
            # One made in its place may have the same inode, and is not watched.
            self._there = False
        self._roused.set()

    def _rescan(self) -> None:
        self._scan_at = 0.0
        self._roused.set()

    async def _follow(self) -> None:
        """Look wherever there is reason to, until the folder is not the one that was opened."""
        while self._there and await self._step():
            pass

    async def _step(self) -> bool:
        now = time.monotonic()
        if now >= self._check_at:
            self._check_at = now + CHECK
            return await self._thread(self._folder.same)
        if now >= self._scan_at:
            return await self._scan()
        if self._fresh and now >= next(iter(self._fresh.values())):
            return await self._walk([folder for folder, at in self._fresh.items() if at <= now], again=True)
        if paths := self._taken(now):
            return await self._look(paths)
        await self._rest()
        return True

    def _taken(self, now: float) -> list[str]:
        noticed = list(islice(self._noticed, CHUNK))
        for path in noticed:
            del self._noticed[path]
        return list(dict.fromkeys([*self._settling.due(now, CHUNK), *noticed]))

    async def _rest(self) -> None:
        moments = [self._check_at, self._scan_at, *list(self._fresh.values())[:1]]
        if (ripe := self._settling.next) is not None:
            moments.append(ripe)
        with anyio.move_on_after(max(0.0, min(moments) - time.monotonic())):
            await self._roused.wait()
        if self._roused.is_set():
            self._roused = anyio.Event()

    async def _look(self, paths: Sequence[str]) -> bool:
        seen = await self._thread(self._folder.look, paths)
        if seen is None:
            return False
        for path in seen.unknown:
            self._settling.forget(path)
        settled = []
        for look in seen.looks:
            if inventory.change(self._known.get(look.path), look.version) is None:
                self._settling.forget(look.path)
                self._unread.pop(look.path, None)
            elif self._settling.judge(look):
                settled.append(look)
        if lost := [path for path in seen.gone if self._known.is_folder(path)]:
            self._noticed |= dict.fromkeys(await self._thread(inventory.below, lost, self._known.snapshot()))
        for start in range(0, len(settled), self._batch):
            await self._commit(settled[start : start + self._batch])
        self._show_unread()
        return not seen.folders or await self._walk(seen.folders)

    async def _walk(self, folders: Sequence[str], *, again: bool = False) -> bool:
        # A second time, a little later: files may have come before the kernel's watch was there.
        done = set(folders) if again else set()
        for folder in done:
            del self._fresh[folder]
        files: dict[str, Version] = {}
        seen = await self._thread(self._folder.walk, folders, files.__setitem__, frozenset(self._fresh))
        if seen is None:
            return False
        later = time.monotonic() + CHECK
        self._fresh |= {folder: later for folder in seen.folders if folder not in done}
        self._noticed |= dict.fromkeys(path for path, v in files.items() if not v.same(self._known.get(path)))
        return True

    async def _scan(self) -> bool:
        began = time.monotonic()
        self._scan_at = math.inf  # one that is asked for meanwhile comes after this one
        self._heard = 0
        comparison = inventory.Comparison(self._known.snapshot())
        seen = await self._thread(self._folder.walk, [""], comparison.saw)
        if seen is None:
            return False
        if self._baseline.since is not None:
            await self._adopt(comparison.fresh)
        self._noticed |= dict.fromkeys([*await self._thread(comparison.news, seen.unknown), *self._unread])
        self._show_unread()
        rest = self._options.reconcile / 1000
        now = time.monotonic()
        rest = rest if self._watching else min(rest, max(CHECK, 10 * (now - began)))
        self._scan_at = min(self._scan_at, now + rest)
        self._trouble("unreadable", f"cannot be read: {', '.join(sorted(seen.unknown)[:3])}" if seen.unknown else None)
        return True

    async def _adopt(self, files: dict[str, Version]) -> None:
        """Move into the inventory, without a word, those of *files* that lay there before this trigger looked."""
        existing = baseline.Existing(self._baseline)
        if self._options.existing == "skip":
            old = await self._thread(lambda: [path for path, v in files.items() if existing.covers(path, v)])
            for start in range(0, len(old), 2 * CHUNK):
                await self._record({path: files.pop(path) for path in old[start : start + 2 * CHUNK]})
        await self._settle_baseline()

    async def _settle_baseline(self) -> None:
        self._baseline = self._baseline.done()
        await self._ctx.emit(checkpoints={baseline.KEY: self._baseline.encode()})

    async def _commit(self, looks: Sequence[Look]) -> None:
        """Tell what settled.

        What changed again under our eyes is looked at again instead; what cannot be read, with the next comparison.
        """
        told = await self._thread(self._tell, looks, self._ctx.now())
        for look, one in zip(looks, told, strict=True):
            if isinstance(one, OSError):
                self._unread[look.path] = one.strerror or type(one).__name__
                continue
            self._unread.pop(look.path, None)
            if one is None:
                self._noticed[look.path] = None
        ready = [one for one in told if isinstance(one, Told)]
        try:
            await self._record({one.path: one.version for one in ready}, [one.event for one in ready if one.event])
        except BadInput:
            for one in ready:
                try:
                    await self._record({one.path: one.version}, [one.event] if one.event else [])
                except BadInput as error:
                    # It will be refused for ever, and must not hold up the others.
                    self._ctx.log.error("the hub refuses an event", path=one.path, why=str(error))
                    await self._record({one.path: one.version})

    def _tell(self, looks: Sequence[Look], now: Millis) -> list[Told | OSError | None]:
        told: list[Told | OSError | None] = []
        for look in looks:
            known = self._known.get(look.path)
            change = inventory.change(known, look.version)
            try:
                told.append(change and self._teller.tell(look.path, look.version or known, change, now))
            except OSError as error:
                told.append(error)
        return told

    def _show_unread(self) -> None:
        some = [f"{path} ({why})" for path, why in islice(self._unread.items(), 3)]
        self._trouble("content", f"cannot be read: {', '.join(some)}" if some else None)

    async def _record(self, versions: Mapping[str, Version | None], events: Sequence[Event] = ()) -> None:
        if versions:
            await self._ctx.emit(
                *events, checkpoints={inventory.key(path): v and v.encode() for path, v in versions.items()}
            )
        for path, version in versions.items():
            self._known.put(path, version)

    def _trouble(self, kind: str, why: str | None) -> None:
        before = "; ".join(self._troubles.values())
        if why is None:
            self._troubles.pop(kind, None)
        else:
            self._troubles[kind] = why
        if (now := "; ".join(self._troubles.values())) != before:
            self._ctx.degraded(now or None)

    async def _thread(self, work: Callable[..., T], *args: Any) -> T:
        return await anyio.to_thread.run_sync(work, *args, limiter=self._looker, abandon_on_cancel=True)
