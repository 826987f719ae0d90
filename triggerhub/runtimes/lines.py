"""Read what processes write, line by line, and give each line to the request that was running.

The pipe may outlive the process that it was made for, since a grandchild can hold it: nothing here
waits for its end.
"""

from __future__ import annotations

import asyncio
import os
import time
from fcntl import ioctl
from termios import FIONREAD
from typing import IO, Literal

from triggerhub.policy.masking import CUT
from triggerhub.runtime import Output
from triggerhub.settings import KB, Function
from triggerhub.telemetry import report

KEPT = 512 * KB
"""How much of one invocation's output is kept, in bytes."""
LINES = 10_000
"""How many lines of one invocation are kept, whatever their length: each costs the hub a record, an empty one, too."""
LONGEST = 256 * KB
"""A longer line is broken, in bytes; its pieces are marked where."""
TAIL = 2 * KB
"""How much of the end of an output an error message tells, in bytes."""
_LOOKED = 8 * KB
"""How much of it is looked through: an interpreter that gives up writes a stack of its own after why."""
BREATH = 0.02
"""Seconds between two pieces of what nobody keeps, where no call waits for it to be read: its writer waits instead."""
_NOTHING = bytes(4)
_PIPE = 64 * KB
"""The most that a pipe holds: what was written before an answer is within the next so many bytes."""


class LinePipe:
    """The read end of a pipe (owned) whose lines go to an Output."""

    def __init__(self, end: int, function: Function, output: Output, stream: Literal["stdout", "stderr"]) -> None:
        self._end = end
        self._function = function
        self._output = output
        self._stream = stream
        self._request: str | None = None
        self._partial = b""
        self._room = KEPT
        self._left = LINES
        self._dropped = self._lines_dropped = 0
        self._open = True
        self._broken = False
        """Whether the beginning of what is partial was written already."""
        self._tail = b""
        self._awaited = True
        """Whether somebody waits for what is written by: a call, or a start."""
        self._breath: asyncio.TimerHandle | None = None
        """Until when nothing is read."""
        os.set_blocking(end, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(end, self._readable)

    def begin(self, request_id: str) -> None:
        """Give what comes from now on to this request, until ``end``.

        Nothing is read for it, as a rule: what was written between two requests the loop has taken in by now.
        """
        self._awaited = True
        if self._breath is not None:
            self.drain()
            self._go_on()
        self._turn(request_id)

    def end(self) -> None:
        """Take in what the request has written; what comes from now on belongs to none."""
        self.drain()
        self._turn(None)
        self._awaited = False

    def _turn(self, request_id: str | None) -> None:
        self._flush()
        self._request = request_id
        self._room, self._left = KEPT, LINES
        self._tail = b""

    @property
    def last_words(self) -> str:
        """The end of what the running request wrote, for error messages: its last 2 KB or so, marked where more was."""
        if len(self._tail) <= TAIL:
            return self._tail.decode("utf-8", "replace").strip()
        return CUT + self._tail[_between(self._tail, len(self._tail) - TAIL) :].decode("utf-8", "replace").rstrip()

    def told(self, what: bytes) -> bool:
        """Whether the end of what the running request wrote has *what* in it."""
        return what in self._tail

    def drain(self) -> None:
        """Take in everything that was written before this call, and no endless flood after it."""
        taken = 0
        # Asking what is there costs less than to be told by an error that nothing is.
        while self._open and taken < _PIPE and ioctl(self._end, FIONREAD, _NOTHING) != _NOTHING:
            size = self._read()
            if not size:
                break
            taken += size

    def close(self) -> None:
        """Take in what is there and stop."""
        self.drain()
        self._flush()
        self._shut()

    def _readable(self) -> None:
        self._read()
        if self._open and not self._awaited and self._room <= 0:
            self._loop.remove_reader(self._end)
            self._breath = self._loop.call_later(BREATH, self._go_on)

    def _go_on(self) -> None:
        """Read again as it comes."""
        if self._breath is not None:
            self._breath.cancel()
            self._breath = None
        if self._open:
            self._loop.add_reader(self._end, self._readable)

    def _read(self) -> int:
        try:
            data = os.read(self._end, _PIPE)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if not data:
            self._shut()
            return 0
        self._take(data)
        return len(data)

    def _take(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-_LOOKED:]
        if self._room <= 0:
            self._drop(data)
            return
        # No more are told apart than there may be: what is dropped costs next to nothing.
        *lines, rest = (self._partial + data).split(b"\n", self._left)
        self._partial = b""
        for line in lines:
            self._write(self._shortened(line))
        if self._room > 0 and b"\n" not in rest:
            self._partial = self._shortened(rest)
        elif rest:
            self._room = 0
            self._drop(rest)

    def _shortened(self, line: bytes) -> bytes:
        """Write of a line whatever is too much for one; return what is left."""
        while len(line) > LONGEST:
            ends = _between(line, LONGEST)
            self._write(line[:ends], broken=True)
            line = line[ends:]
        return line

    def _write(self, line: bytes, *, broken: bool = False) -> None:
        before, self._broken = self._broken, broken
        if len(line) >= self._room or not self._left:
            self._drop(line if broken else line + b"\n")
            # A line that does not fit ends the output: shorter ones after it would seem to follow.
            self._room = 0
            return
        self._room -= len(line) + 1
        self._left -= 1
        text = line.decode("utf-8", "replace").removesuffix("\r")
        text = f"{CUT if before else ''}{text}{CUT if broken else ''}"
        self._output.write(self._function, self._request, self._stream, text)

    def _flush(self) -> None:
        if self._partial:
            partial, self._partial = self._partial, b""
            self._write(partial)
        if self._dropped:
            told = report.dropped(
                self._dropped,
                self._lines_dropped,
                self._request,
                level=report.least(self._function),
                now=time.time_ns() // 1_000_000,
            )
            self._output.write(self._function, self._request, "hub", told)
            self._dropped = self._lines_dropped = 0

    def _drop(self, data: bytes) -> None:
        self._dropped += len(data)
        self._lines_dropped += data.count(b"\n")

    def _shut(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._end)
            if self._breath is not None:
                self._breath.cancel()
            os.close(self._end)


def _between(data: bytes, at: int) -> int:
    """Return the next place before or at *at* where a character of UTF-8 begins; *at* itself in what is none."""
    return next((place for place in range(at, max(at - 4, 0), -1) if data[place] & 0xC0 != 0x80), at)


def pipe(function: Function, output: Output, stream: Literal["stdout", "stderr"]) -> tuple[LinePipe, IO[bytes]]:
    """Make a pipe; return its reading end at work and the end to be written to, which the caller closes."""
    reading, writing = os.pipe()
    return LinePipe(reading, function, output, stream), os.fdopen(writing, "wb", buffering=0)
