"""Keep what functions write, as JSON lines in a file per day, and lend it to those who look.

Writing a line only adds to a list; a thread of its own carries it to the disk ten times a second.
When the disk is slow, full or broken, lines are dropped and counted and no handler ever waits; a
line says how many once lines can be written again. The hub's own log says once that it is so, and once
that it is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from itertools import groupby, islice
from json.encoder import encode_basestring
from pathlib import Path
from typing import Literal, TypeAlias, TypedDict

import anyio
import structlog

from triggerhub.model import Json, Millis
from triggerhub.settings import DAY, GB, MB, MINUTE, Function
from triggerhub.telemetry import report
from triggerhub.telemetry.archive import Archive, day_of

log = structlog.get_logger("output")

BUFFER = 16 * MB
"""The most text that waits for the disk, in characters."""
BEAT = 0.1
"""Seconds between two writes to the disk."""
CALM = 60.0
"""Seconds in which it is said once that lines cannot be written, however often they can in between."""
FOLLOWED = 1000
"""How many lines wait for a slow follower; the oldest go first …"""
BEHIND = 8 * MB
"""… and the most text of them, in characters."""
_LINE = 200
"""What a waiting line costs beside its text."""
SEARCHED = 1_000_000
"""Of lines in which a text is searched, the newest so many are looked at."""
SLACK: Millis = MINUTE
"""How far a clock that is set may put later lines before earlier ones."""
_UNSEEN = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

Line: TypeAlias = Mapping[str, Json]
"""time (milliseconds), function, version, request_id (or None), stream, text."""


class Wanted(TypedDict, total=False):
    """Which lines are read: those of a function, from a moment on, with a text in them; at most so many."""

    function: str | None
    since: Millis | None
    search: str | None
    limit: int


_Waiting: TypeAlias = tuple[Millis, str, str, str | None, str, str]


class OutputLog:
    """A ``runtime.Output``; works while its :meth:`open` is entered, and may be written to before and after."""

    def __init__(
        self,
        folder: Path,
        *,
        keep: Millis = 7 * DAY,
        keep_size: int = 1 * GB,
        buffer: int = BUFFER,
        now: Callable[[], Millis] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """*keep* and *keep_size* bound what stays on the disk, by age and in bytes."""
        self._archive = Archive(folder, keep=keep, keep_size=keep_size)
        self._cut = ""
        self._buffer = buffer
        self._now = now
        self._waiting: list[_Waiting] = []
        # Each counter has one writing thread: the first two the loop's, the others whoever flushes.
        self._taken = 0
        self._dropped = 0
        self._carried = 0
        self._said = 0
        self._flushing = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._followers: set[_Follower] = set()
        self._wrote: dict[str, int] = {}
        self.trouble: str | None = None
        """Why lines cannot be written at the moment, for people."""
        self._folder = folder
        self._lost_before = 0
        self._told: float | None = None
        self._silent_until = float("-inf")

    @property
    def dropped(self) -> int:
        """How many lines were dropped since the start."""
        return self._dropped

    def wrote(self, function: str | None = None) -> int:
        """Return how many lines all functions, or one, wrote since the start: what has not changed need not be read."""
        return sum(self._wrote.values()) if function is None else self._wrote.get(function, 0)

    @property
    def complaint(self) -> str | None:
        """Say that lines cannot be written at the moment, and why."""
        if self.trouble is None:
            return None
        lost = self._dropped - self._lost_before
        kept = f"{lost:,} lines are lost so far" if lost else "the newest wait in memory"
        return f"what functions write cannot be kept in {self._folder}: {self.trouble}; {kept}"

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[OutputLog]:
        """Carry lines to the disk until left; what is waiting then is written first."""
        thread = threading.Thread(target=self._carry, name="output", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._wake.set()
            with anyio.CancelScope(shield=True):
                # A disk that hangs must not hang the end of the hub: the thread is a daemon.
                await asyncio.to_thread(thread.join, 5)

    def write(
        self, function: Function, request_id: str | None, stream: Literal["stdout", "stderr", "hub"], text: str
    ) -> None:
        """See ``runtime.Output``; to be called on the loop's thread."""
        line = (self._now(), function.name, function.version, request_id, stream, text)
        self._wrote[function.name] = self._wrote.get(function.name, 0) + 1
        size = len(text) + _LINE
        if self._taken - self._carried + size > self._buffer:
            self._dropped += 1
        else:
            self._taken += size
            self._waiting.append(line)
            if not self._wake.is_set():
                self._wake.set()
        if self._followers:
            for follower in self._followers:
                follower.put(_line(line), function)

    def flush(self) -> None:
        """Write what is waiting to the disk; from any thread. On failure it stays waiting, see ``trouble``."""
        with self._flushing:
            # The loop's thread may add to the list meanwhile; a slice of it is taken at once.
            lines = self._waiting[:]
            try:
                for _, group in groupby(lines, key=lambda line: day_of(line[0])):
                    self._store(list(group))
                if unsaid := self._dropped - self._said:
                    text = f"{unsaid} log lines were dropped: {self.trouble or 'the disk did not keep up'}"
                    self._archive.append([(now := self._now(), _json((now, "", "", None, "hub", text)))])
                    self._said += unsaid
            except OSError as error:
                self.trouble = f"{error.strerror or error}"
            else:
                self.trouble = None
            self._tell_cut()
            self._tell(time.monotonic())

    def _tell_cut(self) -> None:
        """Say, once for each day of which there is less, that older lines made room before their time."""
        if self._archive.cut > self._cut:
            self._cut = self._archive.cut
            log.warning(
                "what functions wrote was removed before its time: there was too much of it",
                until=self._cut, folder=str(self._folder), hint="Have them write less; [hub] keep is no help here.",
            )  # fmt: skip

    def _tell(self, now: float) -> None:
        """Say once that lines cannot be written, and once that they can be again."""
        if self.trouble is None and self._told is not None:
            lost = self._dropped - self._lost_before
            log.warning("what functions write is kept again", lost=lost, seconds=round(now - self._told, 1))
            self._told, self._lost_before = None, self._dropped
        elif self.trouble is not None and self._told is None and now >= self._silent_until:
            log.warning("what functions write cannot be kept", folder=str(self._folder), why=self.trouble)
            self._told, self._silent_until = now, now + CALM

    def _store(self, lines: list[_Waiting]) -> None:
        self._archive.append([(line[0], _json(line)) for line in lines])
        del self._waiting[: len(lines)]
        self._carried += sum(len(line[5]) + _LINE for line in lines)

    def read(
        self,
        *,
        function: str | None = None,
        request_ids: Collection[str] | None = None,
        since: Millis | None = None,
        search: str | None = None,
        limit: int = 1000,
        hide: Callable[[str], str] = str,
    ) -> list[Line]:
        """Return the newest *limit* lines that fit, oldest first. Reads the disk: call it in a thread.

        *search* is a part of the text, in upper or lower case, that *hide* leaves in it.
        """
        self.flush()
        text = search.casefold() if search else None
        wanted = None if request_ids is None else frozenset(request_ids)
        found: deque[Line] = deque()
        for line in islice(self._archive.backwards(since), SEARCHED if text else None):
            if since is not None and line["time"] < since:
                if line["time"] < since - SLACK:
                    break
                continue
            fits = (function is None or line["function"] == function) and (
                wanted is None or line["request_id"] in wanted
            )
            if fits and (text is None or (text in line["text"].casefold() and text in hide(line["text"]).casefold())):
                found.appendleft(line)
                if len(found) >= limit:
                    break
        return list(found)

    @asynccontextmanager
    async def follow(self, function: str | None = None) -> AsyncGenerator[AsyncIterator[Line]]:
        """Lend the lines from now on; a slow reader loses the oldest and is told how many by a line."""
        follower = _Follower(function)
        self._followers.add(follower)
        try:
            yield follower.lines()
        finally:
            self._followers.discard(follower)

    def retain(self) -> None:
        """Remove what is too old or too much; the carrying thread does it at the start and then hourly."""
        with self._flushing, contextlib.suppress(OSError):
            self._archive.retain(self._now())

    def _carry(self) -> None:
        retained = float("-inf")
        while not self._stop.is_set():
            if time.monotonic() - retained > 3600:
                self.retain()
                retained = time.monotonic()
            self._wake.wait(3600)
            self._wake.clear()
            self.flush()
            # A broken disk is not tried ten times a second.
            self._stop.wait(BEAT if self.trouble is None else 1.0)
            if self._waiting or self._dropped > self._said:
                self._wake.set()
        self.flush()
        with self._flushing:
            self._archive.close()


class _Follower:
    def __init__(self, function: str | None) -> None:
        self._function = function
        self._lines: deque[tuple[Line, Function]] = deque()
        self._text = 0
        self._missed = 0
        self._came = asyncio.Event()

    def put(self, line: Line, function: Function) -> None:
        if self._function not in (None, function.name):
            return
        self._lines.append((line, function))
        self._text += len(line["text"])
        while len(self._lines) > FOLLOWED or self._text > BEHIND:
            self._take()
            self._missed += 1
        self._came.set()

    def _take(self) -> Line:
        line, _ = self._lines.popleft()
        self._text -= len(line["text"])
        return line

    async def lines(self) -> AsyncIterator[Line]:
        while True:
            await self._came.wait()
            self._came.clear()
            while self._lines:
                if self._missed:
                    missed, self._missed = self._missed, 0
                    line, function = self._lines[0]
                    text = report.said(f"{missed} lines skipped", None, level=report.least(function), now=line["time"])
                    yield {**line, "request_id": None, "stream": "hub", "text": text}
                    continue
                yield self._take()


def _line(line: _Waiting) -> Line:
    return dict(zip(("time", "function", "version", "request_id", "stream", "text"), line, strict=True))


def _json(line: _Waiting) -> bytes:
    time, function, version, request_id, stream, text = line
    whole = f'{{"time":{time},{_whose(function, version, request_id)},"stream":"{stream}","text":{_quoted(text)}}}\n'
    # JSON's own escape is how a lone surrogate can be written.
    return whole.encode("utf-8", "backslashreplace")


@lru_cache(maxsize=256)
def _whose(function: str, version: str, request_id: str | None) -> str:
    """Return the members that the lines of one call have in common."""
    request = "null" if request_id is None else _quoted(request_id)
    return f'"function":{_quoted(function)},"version":{_quoted(version)},"request_id":{request}'


def _quoted(text: str) -> str:
    """Write a JSON string; JSON escapes the old control characters only, here every other one goes, too."""
    quoted = encode_basestring(text)
    return quoted if quoted.isprintable() else _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)
